// The npm package `ws` on Node: forwards each message at /pub unchanged to all subscribers at /sub with the same query.
const { WebSocketServer } = require("ws");

const topics = new Map();
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]), perMessageDeflate: false });
server.on("connection", (socket, request) => {
  const { pathname, search } = new URL(request.url, "http://127.0.0.1");
  if (!topics.has(search)) topics.set(search, new Set());
  const viewers = topics.get(search);
  if (pathname === "/pub") {
    socket.on("message", (message) => viewers.forEach((viewer) => viewer.send(message, { binary: true })));
  } else {
    viewers.add(socket);
    socket.on("close", () => viewers.delete(socket));
  }
});
