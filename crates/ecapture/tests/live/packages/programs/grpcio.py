import sys
import grpc

credentials = grpc.ssl_channel_credentials(open("cert.pem", "rb").read())
channel = grpc.secure_channel("localhost:" + sys.argv[1], credentials)
channel.unary_unary("/before")(b"")
print("open", flush=True)
sys.stdin.readline()
channel.unary_unary("/secret-page")(b"")
