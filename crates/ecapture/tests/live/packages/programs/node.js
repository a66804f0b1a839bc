const https = require('https');
const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });

function get(path, then) {
  const options = { host: 'localhost', port: process.argv[2], path, agent, rejectUnauthorized: false };
  https.get(options, response => response.on('data', () => {}).on('end', () => setImmediate(then)));
}

get('/before', () => {
  console.log('open');
  process.stdin.once('data', () => get('/secret-page', () => process.exit()));
});
