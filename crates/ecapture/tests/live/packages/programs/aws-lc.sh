# In the source of the crate aws-lc-sys: makes `client` of the file $1, with AWS-LC linked in and without symbols.
set -e
cmake -S aws-lc -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DBUILD_TESTING=OFF -DBUILD_TOOL=OFF \
	-DDISABLE_GO=ON -DDISABLE_PERL=ON >build.log
make -C build -j"$(nproc)" ssl >>build.log
cc -O2 -s -Iaws-lc/include -o client "$1" build/ssl/libssl.a build/crypto/libcrypto.a -lstdc++ -lpthread
