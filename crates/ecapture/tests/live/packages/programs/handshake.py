import socket, sys
from OpenSSL import SSL

transport = socket.create_connection(("localhost", int(sys.argv[1])))
connection = SSL.Connection(SSL.Context(SSL.SSLv23_METHOD), transport)
connection.set_connect_state()
connection.do_handshake()
connection.shutdown()
