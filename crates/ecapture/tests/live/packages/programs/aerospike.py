import sys
import aerospike

tls = {"enable": True, "cafile": "cert.pem"}
try:
    aerospike.client({"hosts": [("127.0.0.1", int(sys.argv[1]), "localhost")], "tls": tls}).connect()
except aerospike.exception.AerospikeError:
    pass  # an HTTPS server does not answer what it asks
