async function get(path) {
  const url = `https://localhost:${process.argv[2]}${path}`;
  await (await fetch(url, { tls: { rejectUnauthorized: false } })).text();
}

await get('/before');
console.log('open');
process.stdin.once('data', async () => { await get('/secret-page'); process.exit(); });
