// uWebSockets, as it is inside Bun: what comes in at /pub goes to everybody at /sub with the same query, as it is.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    const { pathname, search } = new URL(request.url);
    if (!server.upgrade(request, { data: { publishes: pathname === "/pub", topic: search } })) {
      return new Response("WebSocket only\n", { status: 400 });
    }
  },
  websocket: {
    perMessageDeflate: false,
    sendPings: false,
    idleTimeout: 0,
    backpressureLimit: 64 << 20,
    open(socket) {
      if (!socket.data.publishes) socket.subscribe(socket.data.topic);
    },
    message(socket, message) {
      server.publish(socket.data.topic, message);
    },
  },
});
