// The reference of the framing test: Node's http server (llhttp, strict). It prints its port, and then a line for every
// request that its handler saw whole: the client's port, method, target in hex, length of the body.
'use strict';
const http = require('http');

const server = http.createServer({ insecureHTTPParser: false }, (request, response) => {
  const client = request.socket.remotePort;
  let length = 0;
  request.on('data', (chunk) => { length += chunk.length; });
  request.on('end', () => {
    const target = Buffer.from(request.url, 'latin1').toString('hex');
    process.stdout.write(`${client} ${request.method} ${target} ${length};\n`);
    response.end();
  });
  request.on('error', () => {});
});
server.on('clientError', (error, socket) => { setTimeout(() => socket.destroy(), 100); });
server.listen(0, '127.0.0.1', () => { process.stdout.write(`${server.address().port}\n`); });
process.stdin.on('end', () => process.exit(0)).resume();
