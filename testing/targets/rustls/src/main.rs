//! A TLS client by rustls. It sends a file to an echo server, with its length before it in 8 digits, once by each way
//! to write and read.
//!
//!     rustls_client port file [-tls12] [-keylog]
//!
//! `-keylog`: writes its own key log to $SSLKEYLOGFILE.

use std::env;
use std::fs;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, KeyLogFile, SignatureScheme};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(feature = "ring")]
    let provider = rustls::crypto::ring::default_provider();
    #[cfg(not(feature = "ring"))]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    let versions = if has("-tls12") { &[&rustls::version::TLS12][..] } else { &[&rustls::version::TLS13] };
    let provider = Arc::new(provider);
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    if has("-keylog") {
        config.key_log = Arc::new(KeyLogFile::new());
    }
    thread::sleep(Duration::from_secs(2)); // whoever captures attaches meanwhile
    let body = fs::read(&arguments[1])?;
    let mut socket = TcpStream::connect(("127.0.0.1", arguments[0].parse()?))?;
    let mut connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let length = format!("{:08}", body.len()).into_bytes();

    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    stream.write_all(&[&length[..], &body].concat())?;
    let mut answer = vec![0; body.len()];
    stream.read_exact(&mut answer)?;
    assert!(answer == body);

    write_in_pieces(&mut stream, [&length, &body])?;
    assert!(read_where_it_is(&mut connection, &mut socket, body.len())? == body);
    connection.send_close_notify();
    connection.complete_io(&mut socket)?;
    Ok(())
}

/// By vectored writes, some parts of which are empty.
fn write_in_pieces(stream: &mut impl Write, parts: [&[u8]; 2]) -> io::Result<()> {
    let (mut first, mut second) = (parts[0], parts[1]);
    while !first.is_empty() || !second.is_empty() {
        let (near, far) = second.split_at(second.len() / 2);
        let all = [IoSlice::new(first), IoSlice::new(&[]), IoSlice::new(near), IoSlice::new(far)];
        let written = stream.write_vectored(&all)?;
        let of_first = written.min(first.len());
        first = &first[of_first..];
        second = &second[written - of_first..];
    }
    stream.flush()
}

/// From the buffer of the library, without a copy of it.
fn read_where_it_is(
    connection: &mut ClientConnection,
    socket: &mut TcpStream,
    length: usize,
) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while all.len() < length {
        connection.read_tls(socket)?;
        connection.process_new_packets().map_err(io::Error::other)?;
        let mut reader = connection.reader();
        while let Ok(bytes) = reader.fill_buf() {
            let count = bytes.len();
            if count == 0 {
                break;
            }
            all.extend_from_slice(bytes);
            reader.consume(count);
        }
    }
    Ok(all)
}

/// Accepts every certificate.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
