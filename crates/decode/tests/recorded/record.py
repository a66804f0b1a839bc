#!/usr/bin/env python3
"""Records what real programs say to each other, as the client sees it inside of TLS.

    record.py NAME...      # or all; needs the programs, and for Python clients their packages

Writes NAME.stream: for each call `>` (sent by the client) or `<`, the length in four bytes, big endian, and the bytes.
"""
import os, shutil, socket, ssl, struct, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def wait_for(port):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            return socket.create_connection(('127.0.0.1', port)).close()
        except OSError:
            time.sleep(0.05)
    sys.exit(f'nothing listens on {port}')


class Proxy:
    """Passes one connection on to a server and writes down what goes through it."""

    def __init__(self, name, server, starttls=None):
        self.calls = []
        self.lock = threading.Lock()
        self.name, self.server, self.starttls = name, server, starttls
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        client, _ = self.listener.accept()
        server = socket.create_connection(('127.0.0.1', self.server))
        if self.starttls:
            client, server = self.switch(client, server)
        threads = [threading.Thread(target=self.pump, args=a) for a in ((client, server, b'>'), (server, client, b'<'))]
        [t.start() for t in threads]
        [t.join() for t in threads]

    def switch(self, client, server):
        """The part before TLS is passed on, not written down; then TLS on both sides."""
        if self.starttls == 'mysql':
            client.sendall(server.recv(65536))
        server.sendall(client.recv(65536))
        if self.starttls == 'postgres':
            client.sendall(server.recv(1))
        inner = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        inner.check_hostname, inner.verify_mode = False, ssl.CERT_NONE
        outer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        outer.load_cert_chain('cert.pem', 'key.pem')
        return outer.wrap_socket(client, server_side=True), inner.wrap_socket(server)

    def pump(self, source, sink, way):
        while True:
            try:
                data = source.recv(65536)
            except OSError:
                data = b''
            if not data:
                try:
                    sink.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                return
            with self.lock:
                self.calls.append((way, data))
            sink.sendall(data)

    def save(self):
        self.thread.join(10)
        with open(os.path.join(HERE, self.name + '.stream'), 'wb') as file:
            for way, data in self.calls:
                file.write(way + struct.pack('>I', len(data)) + data)
        print(self.name, len(self.calls), 'calls', sum(len(d) for _, d in self.calls), 'bytes')


def start(*command, **more):
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)


def run(*command, **more):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **more)


def client(source, port):
    run(sys.executable, '-c', source, str(port))


def nghttp(name, arguments, options=()):
    port = free_port()
    os.makedirs('www', exist_ok=True)
    for n in range(5):
        open(f'www/{n}.txt', 'w').write(f'file {n}\n' * 100)
    server = start('nghttpd', '--no-tls', '-d', 'www', *options, str(port))
    wait_for(port)
    proxy = Proxy(name, port)
    run(*[a.format(port=proxy.port) for a in arguments])
    proxy.save()
    server.kill()


def h2_nghttp():
    nghttp('h2_nghttp', ['nghttp', '-n'] + [f'http://127.0.0.1:{{port}}/{n}.txt' for n in range(5)] +
           ['http://127.0.0.1:{port}/missing'], ['--push=/0.txt=/1.txt', '--trailer=x-trailer: end', '-b', '20'])


NODE_SERVER = '''
const http2 = require('http2'), zlib = require('zlib');
const text = 'The quick brown fox jumps over the lazy dog. '.repeat(20);
const coders = { gzip: zlib.gzipSync, deflate: zlib.deflateSync, br: zlib.brotliCompressSync };
http2.createServer().on('stream', (stream, headers) => {
  const name = headers[':path'].slice(1);
  stream.on('error', () => {});
  if (coders[name]) {
    stream.respond({ ':status': 200, 'content-encoding': name });
    stream.end(coders[name](text));
  } else if (name == 'events') {
    stream.respond({ ':status': 200, 'content-type': 'text/event-stream' });
    stream.write('data: one\\n\\n');
    stream.end('id: 2\\ndata: two\\n\\n: comment\\n\\n');
  } else if (name == 'trailers') {
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '42' }));
    stream.end('body');
  } else {
    stream.additionalHeaders({ ':status': 103, link: '</style.css>' });
    stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
  }
}).listen(+process.argv[1], '127.0.0.1');
'''
NODE_CLIENT = '''
const session = require('http2').connect('http://127.0.0.1:' + process.argv[1]);
const names = ['gzip', 'deflate', 'br', 'events', 'trailers', 'refused'];
let open = names.length;
for (const name of names) {
  const stream = session.request({ ':method': 'POST', ':path': '/' + name, authorization: 'Bearer ' + name });
  stream.on('error', () => {}).on('close', () => --open || session.close()).resume();
  stream.end('sent to ' + name);
}
'''


def h2_node():
    port = free_port()
    server = start('node', '-e', NODE_SERVER, str(port))
    wait_for(port)
    proxy = Proxy('h2_node', port)
    run('node', '-e', NODE_CLIENT, str(proxy.port))
    proxy.save()
    server.kill()


def h2_continuation():
    nghttp('h2_continuation', ['nghttp', '-n', '--continuation', 'http://127.0.0.1:{port}/1.txt'])


GRPC_SERVER = '''
import sys, grpc
from concurrent import futures
class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        def unary(request, context):
            if request == b'\\x0a\\x04fail':
                context.abort(grpc.StatusCode.NOT_FOUND, 'no such thing')
            return b'\\x0a' + bytes([len(request)]) + request
        def stream(requests, context):
            for request in requests:
                yield request
        if details.method.endswith('Stream'):
            return grpc.stream_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)
server = grpc.server(futures.ThreadPoolExecutor(2), compression=grpc.Compression.Gzip)
server.add_generic_rpc_handlers([Handler()])
server.add_insecure_port('127.0.0.1:' + sys.argv[1])
server.start()
server.wait_for_termination()
'''
GRPC_CLIENT = '''
import sys, grpc
with grpc.insecure_channel('127.0.0.1:' + sys.argv[1]) as channel:
    say = channel.unary_unary('/lab.Greeter/Say')
    say(b'\\x0a\\x05hello')
    say(b'\\x0a\\x64' + b'x' * 100, compression=grpc.Compression.Gzip)
    say(b'')
    try:
        say(b'\\x0a\\x04fail')
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND
    stream = channel.stream_stream('/lab.Greeter/Stream')
    assert len(list(stream(iter([b'\\x08\\x01', b'\\x08\\x02', b'\\x08\\x03'])))) == 3
'''


def grpc():
    port = free_port()
    server = start(sys.executable, '-c', GRPC_SERVER, str(port))
    wait_for(port)
    proxy = Proxy('grpc', port)
    client(GRPC_CLIENT, proxy.port)
    proxy.save()
    server.kill()


WEBSOCKET_SERVER = '''
import sys, asyncio, websockets
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory as Deflate
async def echo(socket):
    async for message in socket:
        await socket.send(message)
async def main():
    extensions = None if sys.argv[2] == 'plain' else [Deflate(server_no_context_takeover=sys.argv[2] == 'forget')]
    async with websockets.serve(echo, '127.0.0.1', int(sys.argv[1]), compression=None, extensions=extensions):
        await asyncio.Future()
asyncio.run(main())
'''
WEBSOCKET_CLIENT = '''
import sys, asyncio, websockets
async def main():
    async with websockets.connect('ws://127.0.0.1:' + sys.argv[1] + '/chat', proxy=None) as socket:
        for message in ['hello', 'hello hello hello ' * 20, 'hello hello hello ' * 20, bytes(range(256)), ['one ', 'two ', 'three']]:
            await socket.send(message)
            await socket.recv()
        await (await socket.ping(b'are you there'))
        await socket.close(1000, 'done')
asyncio.run(main())
'''


def websocket(kind):
    port = free_port()
    server = start(sys.executable, '-c', WEBSOCKET_SERVER, str(port), kind)
    wait_for(port)
    proxy = Proxy('websocket_' + kind, port)
    client(WEBSOCKET_CLIENT, proxy.port)
    proxy.save()
    server.kill()


def redis():
    port = free_port()
    server = start('redis-server', '--port', str(port), '--save', '', '--requirepass', 'hunter2')
    wait_for(port)
    commands = ['AUTH hunter2', 'SET key "a value"', 'GET key', 'GET missing', 'INCR key', 'RPUSH list a b c', 'LRANGE list 0 -1',
                'CONFIG SET requirepass hunter3', 'HELLO 3 AUTH default hunter3', 'HSET hash f 1 g 2.5', 'HGETALL hash', 'SADD set x',
                'SMEMBERS set', 'ZADD z 1.5 m', 'ZSCORE z m', 'MULTI', 'PING', 'EXEC', 'NOSUCH 1']
    proxy = Proxy('redis', port)
    run('redis-cli', '-p', str(proxy.port), input='\n'.join(commands).encode())
    proxy.save()
    server.kill()


def certificate():
    run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
        '-subj', '/CN=localhost', '-keyout', 'key.pem', '-out', 'cert.pem', stderr=subprocess.DEVNULL)


def postgres():
    port, at = free_port(), os.getcwd()
    certificate()
    os.chmod('key.pem', 0o600)
    for name in (at, 'key.pem', 'cert.pem'):
        shutil.chown(name, 'postgres')
    binaries = subprocess.check_output(['pg_config', '--bindir'], text=True).strip()
    open('password', 'w').write('hunter2')
    run(f'{binaries}/initdb', '-D', f'{at}/pg', '-A', 'scram-sha-256', '--pwfile', f'{at}/password', user='postgres')
    server = start(f'{binaries}/postgres', '-D', f'{at}/pg', '-p', str(port), '-k', at, '-c', 'ssl=on',
                   '-c', f'ssl_cert_file={at}/cert.pem', '-c', f'ssl_key_file={at}/key.pem', '-c', 'fsync=off', user='postgres')
    wait_for(port)
    proxy = Proxy('postgres', port, 'postgres')
    script = '''
create table t (id int, name text);
insert into t select n, 'name ' || n from generate_series(1, 5) n;
select * from t where id > 2;
create role r password 'hunter3';
select nothing from t;
copy t from stdin;
6\tsix
\\.
copy t to stdout;
begin; update t set name = 'x'; rollback;
'''
    subprocess.run(['psql', '-X', '-w', f'host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres sslmode=require'],
                   input=script.encode(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   env={**os.environ, 'PGPASSWORD': 'hunter2'})
    proxy.save()
    proxy = Proxy('postgres_extended', port, 'postgres')
    client(POSTGRES_CLIENT, proxy.port)
    proxy.save()
    server.terminate()


POSTGRES_CLIENT = '''
import ssl, sys, pg8000.native
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
connection = pg8000.native.Connection('postgres', '127.0.0.1', port=int(sys.argv[1]), password='hunter2', ssl_context=context)
connection.run('select :a::int + :b::int as sum', a=40, b=2)
statement = connection.prepare('select n from generate_series(1, :most) n')
statement.run(most=3), statement.run(most=4)
connection.close()
'''


def mysql():
    port, at = free_port(), os.getcwd()
    certificate()
    data = f'{at}/my'
    os.makedirs(data)
    open('init.sql', 'w').write("create database lab;\ncreate user lab@localhost identified by 'hunter2';\n"
                                "grant all on *.* to lab@localhost;\n")
    share = os.environ.get('MYSQL_SHARE', '/usr/share/mysql')
    with open('boot.sql', 'w') as boot:
        boot.write('create database mysql;\nuse mysql;\n')
        for name in ('mysql_system_tables.sql', 'mysql_performance_tables.sql', 'mysql_system_tables_data.sql'):
            boot.write(open(f'{share}/{name}').read())
    common = ['mariadbd', '--no-defaults', '--user=root', f'--datadir={data}', f'--lc-messages-dir={share}/english', f'--socket={at}/s',
              f'--pid-file={at}/p']
    run(*common, '--bootstrap', stdin=open('boot.sql'), stderr=subprocess.DEVNULL)
    server = start(*common, f'--port={port}', '--bind-address=127.0.0.1', f'--init-file={at}/init.sql',
                   f'--ssl-cert={at}/cert.pem', f'--ssl-key={at}/key.pem')
    wait_for(port)
    proxy = Proxy('mysql', port, 'mysql')
    script = '''
create table t (id int, name varchar(20));
insert into t values (1, 'one'), (2, 'two'), (3, null);
select * from t;
select nothing from t;
create user x identified by 'hunter3';
prepare s from 'select ? + 1';
set @a = 41;
execute s using @a;
use mysql;
select 1; select 2;
'''
    subprocess.run(['mariadb', '--no-defaults', '-f', '-h', '127.0.0.1', '-P', str(proxy.port), '-u', 'lab', '-phunter2', '--ssl', 'lab'],
                   input=script.encode(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    proxy.save()
    proxy = Proxy('mysql_prepared', port, 'mysql')
    client(MYSQL_CLIENT, proxy.port)
    proxy.save()
    server.terminate()
    server.wait()


MYSQL_CLIENT = '''
import sys, mysql.connector
connection = mysql.connector.connect(host='127.0.0.1', port=int(sys.argv[1]), user='lab', password='hunter2', database='lab',
                                     use_pure=True, ssl_verify_cert=False)
cursor = connection.cursor(prepared=True)
for least in (1, 2):
    cursor.execute('select id, name from t where id > %s', (least,))
    cursor.fetchall()
cursor.close()
cursor = connection.cursor()
cursor.execute('create procedure two() begin select 1; select 2; end')
cursor.callproc('two')
connection.cmd_change_user('lab', 'hunter2', 'lab')
connection.cmd_ping()
connection.close()
'''


RECORDINGS = {
    'h2_nghttp': h2_nghttp, 'h2_node': h2_node, 'h2_continuation': h2_continuation, 'grpc': grpc, 'redis': redis, 'postgres': postgres, 'mysql': mysql,
    **{'websocket_' + kind: lambda kind=kind: websocket(kind) for kind in ('plain', 'keep', 'forget')},
}

for name in sys.argv[1:] or RECORDINGS:
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        RECORDINGS[name]()
        os.chdir('/')
