// The answers by Node's http module, with trailers and a WebSocket echo: node server.mjs HOST PORT.
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { gzipSync } from "node:zlib";

// Not repeated by /echo, as in answers.py, and what Envoy says of its peer, which is the proxy.
const UNTOLD = new Set(["connection", "keep-alive", "te", "transfer-encoding", "upgrade", "expect",
  "content-length", "proxy-connection", "x-forwarded-for", "x-forwarded-proto", "x-request-id", "x-envoy-internal",
  "x-envoy-external-address"]);
const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
const content = (size) => {
  let text = "";
  for (let number = 0; text.length < size; number++) text += String(number).padStart(8, "0") + "\n";
  return Buffer.from(text.slice(0, size));
};
const LARGE = content(1_000_000);
const TEXT = { "Content-Type": "text/plain" };

const send = (answer, status, headers, body = Buffer.alloc(0)) => {
  answer.writeHead(status, { ...headers, "Content-Length": body.length });
  answer.end(body);
};

const echo = (request, answer, body) => {
  const fields = [];
  for (let at = 0; at < request.rawHeaders.length; at += 2) {
    const name = request.rawHeaders[at].toLowerCase();
    if (!UNTOLD.has(name)) fields.push([name, request.rawHeaders[at + 1]]);
  }
  fields.sort();
  const told = { method: request.method, target: request.url, headers: fields, length: body.length,
    sha256: createHash("sha256").update(body).digest("hex") };
  send(answer, 200, { "Content-Type": "application/json" }, Buffer.from(JSON.stringify(told)));
};

const large = (request, answer) => {
  const asked = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  if (!asked) return send(answer, 200, TEXT, LARGE);
  const [first, last] = [Number(asked[1]), Math.min(Number(asked[2] || LARGE.length), LARGE.length - 1)];
  if (first >= LARGE.length) return send(answer, 416, { "Content-Range": `bytes */${LARGE.length}` });
  return send(answer, 206, { ...TEXT, "Content-Range": `bytes ${first}-${last}/${LARGE.length}` },
    LARGE.subarray(first, last + 1));
};

const parts = async (answer, headers, pieces, slow) => {
  answer.writeHead(200, headers);
  for (const piece of pieces) {
    if (slow) await pause();
    answer.write(piece);
  }
  answer.end();
};

const many = () => {
  const fields = [["Set-Cookie", "a=1; Path=/"], ["Set-Cookie", "b=2; Path=/"], ["X-Long", "l".repeat(3000)]];
  for (let number = 0; number < 30; number++) fields.push([`X-Many-${number}`, `value ${number}`]);
  return fields.flat();
};

const PATHS = {
  "/small": (request, answer) => send(answer, 200, TEXT, Buffer.from("small\n")),
  "/large": large,
  "/chunked": (request, answer) =>
    parts(answer, TEXT, Array.from({ length: 10 }, (_, at) => LARGE.subarray(at * 999, at * 999 + 999)), false),
  "/slow": (request, answer) => parts(answer, TEXT, ["one\n", "two\n", "three\n"], true),
  "/events": (request, answer) => parts(answer, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" },
    [0, 1, 2].map((number) => `id: ${number}\ndata: event ${number}\n\n`), true),
  "/cached": (request, answer) => request.headers["if-none-match"] === '"fixed"'
    ? answer.writeHead(304, { ETag: '"fixed"' }).end()
    : send(answer, 200, { ...TEXT, ETag: '"fixed"' }, Buffer.from("cached\n")),
  "/moved": (request, answer) => send(answer, 302, { ...TEXT, Location: "/small" }, Buffer.from("moved\n")),
  "/empty": (request, answer) => answer.writeHead(204, { "X-Reason": "nothing to say" }).end(),
  "/gzip": (request, answer) => send(answer, 200, { ...TEXT, "Content-Encoding": "gzip" }, gzipSync(LARGE.subarray(0, 5000))),
  "/headers": (request, answer) => answer.writeHead(200, many()).end("many headers\n"),
  "/trailers": (request, answer) => {
    // Node throws where trailers are promised to HTTP/1.0, which has none.
    if (request.httpVersion === "1.0") return send(answer, 200, TEXT, Buffer.from("with a trailer\n"));
    answer.writeHead(200, { ...TEXT, Trailer: "X-Sum" });
    answer.write("with a trailer\n");
    answer.addTrailers({ "X-Sum": "15" });
    return answer.end();
  },
};

const server = createServer((request, answer) => {
  const got = [];
  request.on("data", (piece) => got.push(piece));
  request.on("error", () => {});
  request.on("end", () => {
    const path = request.url.split("?")[0];
    if (path.startsWith("/echo")) return echo(request, answer, Buffer.concat(got));
    return (PATHS[path] ?? ((_, out) => send(out, 404, TEXT, Buffer.from("nothing here\n"))))(request, answer);
  });
});

// Frames of at most 125 bytes, which is what the clients send here (RFC 6455 5.2).
server.on("upgrade", (request, socket) => {
  const accept = createHash("sha1")
    .update(request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
  socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
    `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let held = Buffer.alloc(0);
  socket.on("error", () => {});
  socket.on("data", (piece) => {
    held = Buffer.concat([held, piece]);
    while (held.length >= 6 && held.length >= 6 + (held[1] & 0x7f)) {
      const size = held[1] & 0x7f;
      const text = Buffer.from(held.subarray(6, 6 + size).map((byte, at) => byte ^ held[2 + (at & 3)]));
      socket.write(Buffer.concat([Buffer.from([held[0], size]), text]));
      if ((held[0] & 0x0f) === 8) return socket.end();
      held = held.subarray(6 + size);
    }
  });
});
server.keepAliveTimeout = 60_000;
server.listen(Number(process.argv[3]), process.argv[2]);
