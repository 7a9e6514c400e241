// uWebSockets, as inside Bun: forwards each message at /pub unchanged to all subscribers at /sub of the same channel. A
// text message sets the channel of the messages that follow it; these are also sent to its parent channels.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    const { pathname, search } = new URL(request.url);
    const channels = search.slice(1).split(",");
    if (!server.upgrade(request, { data: { publishes: pathname === "/pub", channels } })) {
      return new Response("WebSocket only\n", { status: 400 });
    }
  },
  websocket: {
    perMessageDeflate: false,
    sendPings: false,
    idleTimeout: 0,
    backpressureLimit: 64 << 20,
    open(socket) {
      if (!socket.data.publishes) socket.data.channels.forEach((channel) => socket.subscribe(channel));
    },
    message(socket, message) {
      if (typeof message === "string") {
        const parts = message.split("/");
        socket.data.channels = parts.map((_, at) => parts.slice(0, at + 1).join("/"));
      } else {
        for (const channel of socket.data.channels) server.publish(channel, message);
      }
    },
  },
});
