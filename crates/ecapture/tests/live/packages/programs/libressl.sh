# In the source of the crate libtls-sys, which has that of LibreSSL: makes `client` of the file $1, with LibreSSL linked in.
set -e
mkdir -p build
tar -xzf libressl-*.tar.gz -C build --strip-components=1
cd build
./configure --quiet --disable-shared >../build.log
make -C crypto -j"$(nproc)" >>../build.log 2>&1
make -C ssl -j"$(nproc)" >>../build.log 2>&1
cd ..
cc -O2 -Ibuild/include -o client "$1" build/ssl/.libs/libssl.a build/crypto/.libs/libcrypto.a -lpthread
