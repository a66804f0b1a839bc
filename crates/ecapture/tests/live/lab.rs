//! Where programs of a test run: a private libssl, a certificate, servers on free ports.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::capture::{Capture, ROOMY, own_cgroup};
use crate::process::{Finished, Running, output_of, wait_for};

/// A private place. Programs that run there use its own copy of libssl, so no other traffic is captured.
pub struct Lab {
    directory: TempDir,
    /// The copy.
    pub libssl: PathBuf,
}

/// A server that runs in a lab.
pub struct Server {
    pub running: Running,
    pub port: u16,
}

/// A program of testing/targets.
pub fn target(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing/targets/build").join(name);
    path.canonicalize()
        .unwrap_or_else(|_| panic!("{} is not built: run make -C testing/targets", path.display()))
}

/// The libssl that programs of this machine use.
pub fn system_libssl() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let needed = output_of("ldd", &[target("tls_client").to_str().expect("UTF-8")]);
        let line = needed.lines().find(|line| line.contains("libssl.so")).expect("tls_client uses libssl");
        let path = line.split_ascii_whitespace().find(|word| word.starts_with('/')).expect("a path");
        PathBuf::from(path).canonicalize().expect("libssl exists")
    })
}

/// Name under which programs look for libssl.
pub const SONAME: &str = "libssl.so.3";

impl Lab {
    pub fn new() -> Self {
        own_cgroup();
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("chmod");
        let at = directory.path().canonicalize().expect("a path");
        fs::create_dir(at.join("lib")).expect("a directory");
        let libssl = at.join("lib").join(SONAME);
        fs::copy(system_libssl(), &libssl).expect("copy libssl");
        let (cert, key) = certificate();
        fs::copy(cert, at.join("cert.pem")).expect("copy the certificate");
        fs::copy(key, at.join("key.pem")).expect("copy the key");
        Self { directory, libssl }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().expect("a path").join(name)
    }

    /// Makes a file in it.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).expect("write a file");
        path
    }

    /// A program that uses the private libssl. It runs in the lab and talks to this machine only.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path()).env("LD_LIBRARY_PATH", self.path("lib"));
        for proxy in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command
    }

    /// Captures the programs of this lab.
    pub fn capture(&self) -> Capture {
        Capture::of(&self.libssl)
    }

    /// The same, for much traffic.
    pub fn capture_much(&self) -> Capture {
        Capture::of_much(&self.libssl, ROOMY)
    }

    /// Starts `tls_server`.
    pub fn server(&self, options: &[&str]) -> Server {
        let running = Running::start(self.command(target("tls_server")).args(options).arg("0"));
        let port = ready_port(&running);
        Server { running, port }
    }

    /// Runs `tls_client` against a server of this machine; answers its process id.
    #[track_caller]
    pub fn client(&self, port: u16, path: &str, options: &[&str]) -> u32 {
        let running = self.start_client(port, path, options);
        let pid = running.pid();
        running.finish().succeeded();
        pid
    }

    /// Starts `tls_client`.
    pub fn start_client(&self, port: u16, path: &str, options: &[&str]) -> Running {
        let mut command = self.command(target("tls_client"));
        Running::start(command.args(options).args(["127.0.0.1", &port.to_string(), path]))
    }

    /// Runs curl; answers its process id and how it ended.
    #[track_caller]
    pub fn curl(&self, arguments: &[&str]) -> (u32, Finished) {
        let running = Running::start(
            self.command("curl").args(["-sk", "--max-time", "20", "--noproxy", "*"]).args(arguments),
        );
        (running.pid(), running.finish().succeeded())
    }

    /// Starts nginx with the files of `www`, on both loopback addresses.
    pub fn nginx(&self, options: &str) -> Server {
        let (mut command, port) = self.nginx_command(options);
        let running = Running::start(&mut command);
        wait_for_port(port);
        Server { running, port }
    }

    /// nginx with the files of `www`, on both loopback addresses, and its port.
    pub fn nginx_command(&self, options: &str) -> (Command, u16) {
        let port = free_port();
        fs::create_dir_all(self.path("www")).expect("a directory");
        let at = self.directory.path().canonicalize().expect("a path");
        let at = at.display();
        self.file("nginx.conf", format!(
            "daemon off; master_process off; pid {at}/nginx.pid; error_log {at}/error.log;\n\
             events {{}}\n\
             http {{ access_log off; types {{}} default_type text/plain; client_body_temp_path {at}/1; proxy_temp_path {at}/2;\n\
             fastcgi_temp_path {at}/3; uwsgi_temp_path {at}/4; scgi_temp_path {at}/5; root {at}/www;\n\
             ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;\n\
             server {{ listen 127.0.0.1:{port} ssl {options}; listen [::1]:{port} ssl {options}; }} }}\n"
        ));
        let mut command = self.command("nginx");
        command.env("PATH", with_sbin()).arg("-c").arg(self.path("nginx.conf"));
        (command, port)
    }

    /// Starts an HTTPS server in Python that answers with the class `Handler` of the given source.
    pub fn https_server(&self, handler: &str) -> Server {
        self.python_server(&format!("{handler}{SERVE_HTTPS}"))
    }

    /// Starts a Python program that prints `ready PORT`. It finds certificate and key in its directory.
    pub fn python_server(&self, source: &str) -> Server {
        let running = Running::start(self.command("/usr/bin/python3").arg("-c").arg(source));
        let port = ready_port(&running);
        Server { running, port }
    }
}

/// Serves `Handler` with the certificate of the directory; for sources that import `http.server` and `ssl`.
const SERVE_HTTPS: &str = r"
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
server.socket = context.wrap_socket(server.socket, server_side=True)
print('ready', server.server_port, flush=True)
server.serve_forever()
";

fn with_sbin() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// The port of a server that says `ready PORT`.
pub fn ready_port(running: &Running) -> u16 {
    running.line("\"ready\"", |line| line.strip_prefix("ready ")?.parse().ok())
}

/// A port that nobody uses.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Waits until something listens.
pub fn wait_for_port(port: u16) {
    wait_for("a server", || TcpStream::connect(("127.0.0.1", port)).ok());
}

/// A certificate for this machine and its key, made once and kept with the build.
fn certificate() -> &'static (PathBuf, PathBuf) {
    static FILES: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    FILES.get_or_init(|| {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("certificate");
        if !kept.exists() {
            let made = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory").keep();
            let text = |name: &str| made.join(name).to_str().expect("UTF-8").to_owned();
            let (cert, key) = (text("cert.pem"), text("key.pem"));
            let command =
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=localhost";
            let mut arguments: Vec<&str> = command.split(' ').collect();
            arguments.extend([
                "-addext",
                "subjectAltName=DNS:localhost,IP:127.0.0.1",
                "-keyout",
                &key,
                "-out",
                &cert,
            ]);
            output_of("openssl", &arguments);
            if fs::rename(&made, &kept).is_err() {
                let _ = fs::remove_dir_all(&made); // another run was faster
            }
        }
        (kept.join("cert.pem"), kept.join("key.pem"))
    })
}

/// Reads a file of another process or the kernel that may vanish.
pub fn read_text(path: impl AsRef<Path>) -> String {
    let mut text = String::new();
    if let Ok(mut file) = fs::File::open(path) {
        let _ = file.read_to_string(&mut text);
    }
    text
}

/// Writes a line to a program.
pub fn say(to: &mut impl Write, line: &str) {
    to.write_all(line.as_bytes()).and_then(|()| to.flush()).expect("write to a program");
}
