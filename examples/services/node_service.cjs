// An HTTP service that knows nothing of Joey or OpenTelemetry. `node_telemetry.cjs` says how to run it. Then open
// http://127.0.0.1:8000/search a few times, and the application "shop" in Joey.

const http = require("node:http");

const server = http.createServer((request, response) => {
  // One request in ten misses the cache.
  const delay = Math.random() < 0.9 ? 5 : 50;
  setTimeout(() => response.end(`found ${request.url}\n`), delay);
});
server.listen(Number(process.env.PORT ?? 8000), "127.0.0.1");
