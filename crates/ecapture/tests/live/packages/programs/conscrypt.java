import java.io.InputStream;
import java.security.SecureRandom;
import java.security.cert.X509Certificate;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509TrustManager;

/** Loads the library that is in the package, and connects when it is told to. */
public class conscrypt {
    static final TrustManager ANYONE = new X509TrustManager() {
        public void checkClientTrusted(X509Certificate[] chain, String type) {}
        public void checkServerTrusted(X509Certificate[] chain, String type) {}
        public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
    };

    public static void main(String[] arguments) throws Exception {
        SSLContext context = SSLContext.getInstance("TLS", new org.conscrypt.OpenSSLProvider());
        context.init(null, new TrustManager[] {ANYONE}, new SecureRandom());
        System.out.println("open");
        System.in.read();
        int port = Integer.parseInt(arguments[0]);
        SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket("127.0.0.1", port);
        String request = "GET /secret-page HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        socket.getOutputStream().write(request.getBytes());
        InputStream answer = socket.getInputStream();
        while (answer.read() != -1) {}
    }
}
