fn main() {
    println!("{}", openssl_src::source_dir().display());
}
