// server.js VERSION [KEYLOG]: an HTTPS server for HTTP/1, HTTP/2 and gRPC.
const fs = require('fs');

const [version, keylog] = process.argv.slice(2);
const options = {
  allowHTTP1: true,
  cert: fs.readFileSync('cert.pem'),
  key: fs.readFileSync('key.pem'),
  minVersion: 'TLSv' + version,
  maxVersion: 'TLSv' + version,
};
const server = require('http2').createSecureServer(options, (request, response) => {
  if (request.headers['content-type'] !== 'application/grpc') return response.end('ok');
  response.writeHead(200, { 'content-type': 'application/grpc' });
  response.addTrailers({ 'grpc-status': '0' });
  response.end(Buffer.alloc(5)); // one empty message
});
if (keylog) server.on('keylog', line => fs.appendFileSync(keylog, line));
server.keepAliveTimeout = 0;
server.listen(0, '127.0.0.1', () => console.log('ready ' + server.address().port));
