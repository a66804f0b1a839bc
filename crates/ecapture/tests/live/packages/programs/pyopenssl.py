import socket, sys
from OpenSSL import SSL

transport = socket.create_connection(("localhost", int(sys.argv[1])))
# The name of this method for all versions of TLS, also in old releases.
connection = SSL.Connection(SSL.Context(SSL.SSLv23_METHOD), transport)
connection.set_connect_state()
connection.do_handshake()


def get(path):
    connection.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
    answer = b""
    while not answer.endswith(b"0\r\n\r\n") and not answer.endswith(b"\r\n\r\nok"):
        answer += connection.recv(4096)


get(b"/before")
print("open", flush=True)
sys.stdin.readline()
get(b"/secret-page")
