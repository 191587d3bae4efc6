// Node's fetch and http module doing a plan: node node_client.mjs CLIENT PLAN.json.
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";

const [client, file] = process.argv.slice(2);
const plan = JSON.parse(readFileSync(file, "utf8"));
const pause = () => new Promise((resolve) => setTimeout(resolve, 50));

const content = (size) => {
  let text = "";
  for (let number = 0; text.length < size; number++) text += String(number).padStart(8, "0") + "\n";
  return Buffer.from(text.slice(0, size));
};

const answer = (status, headers, body) => ({
  status, headers,
  ...(body && { length: body.length, sha256: createHash("sha256").update(body).digest("hex") }),
});

async function* parts(exchange) {
  const body = content(exchange.body);
  const third = Math.floor(body.length / 3) + 1;
  for (let at = 0; at < body.length; at += third) {
    if (exchange.slow) await pause();
    yield body.subarray(at, at + third);
  }
}

async function withFetch(url, exchange) {
  const options = { method: exchange.method, headers: exchange.headers, redirect: "manual",
    signal: AbortSignal.timeout(10_000) };
  if (exchange.chunked) Object.assign(options, { body: ReadableStream.from(parts(exchange)), duplex: "half" });
  else if (exchange.body) options.body = content(exchange.body);
  const found = await fetch(url, options);
  const headers = [...found.headers].sort();
  if (exchange.early) {
    const reader = found.body.getReader();
    await reader.read();
    await reader.cancel();
    return answer(found.status, headers);
  }
  return answer(found.status, headers, Buffer.from(await found.arrayBuffer()));
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

const pairs = (raw) => Array.from({ length: raw.length / 2 }, (_, at) => [raw[2 * at].toLowerCase(), raw[2 * at + 1]]);

const withHttp = (url, exchange) => new Promise((resolve, reject) => {
  const { hostname, port } = new URL(url);
  // The target as it is, which a URL object would normalise.
  const path = url.slice(url.indexOf("/", "http://".length));
  const headers = { ...exchange.headers, ...(exchange.expect && { Expect: "100-continue" }) };
  if (exchange.body && !exchange.chunked) headers["Content-Length"] = exchange.body;
  const request = http.request({ hostname, port, path, agent, method: exchange.method, headers, timeout: 10_000 });
  let interim = 0;
  request.on("timeout", () => request.destroy(new Error("timeout")));
  request.on("error", reject);
  request.on("response", (found) => {
    const got = [];
    found.on("error", (error) => !exchange.early && reject(error));
    found.on("data", (piece) => {
      got.push(piece);
      if (exchange.early) {
        found.destroy();
        resolve(answer(found.statusCode, pairs(found.rawHeaders)));
      }
    });
    found.on("end", () => resolve({ ...answer(found.statusCode, pairs(found.rawHeaders), Buffer.concat(got)),
      trailers: pairs(found.rawTrailers), interim }));
  });
  const send = async () => {
    for await (const part of exchange.chunked ? parts(exchange) : [content(exchange.body)]) request.write(part);
    request.end();
  };
  if (exchange.expect) {
    request.on("continue", () => { interim = 100; send(); });
    request.flushHeaders();
  } else if (exchange.body) send();
  else request.end();
});

// A masked text frame of at most 125 bytes; the three words come back unmasked.
const frame = (word) => {
  const mask = randomBytes(4);
  const bytes = Buffer.from(Buffer.from(word).map((byte, at) => byte ^ mask[at & 3]));
  return Buffer.concat([Buffer.from([0x81, 0x80 | bytes.length]), mask, bytes]);
};

const talk = (url) => new Promise((resolve, reject) => {
  const { hostname, port, pathname } = new URL(url);
  const headers = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": randomBytes(16).toString("base64") };
  const request = http.request({ hostname, port, path: pathname, headers, timeout: 10_000 });
  request.on("timeout", () => request.destroy(new Error("timeout")));
  request.on("error", reject);
  request.on("response", (found) => { found.resume(); found.on("end", () => resolve(answer(found.statusCode, []))); });
  request.on("upgrade", (found, socket, first) => {
    let got = first;
    const wanted = 3 * 2 + "hello".length + 100;
    socket.on("error", reject);
    const look = () => {
      if (got.length < wanted) return;
      socket.destroy();
      resolve(answer(found.statusCode, [], got));
    };
    socket.on("data", (piece) => { got = Buffer.concat([got, piece]); look(); });
    for (const word of ["hello", "", "w".repeat(100)]) socket.write(frame(word));
    look();
  });
  request.end();
});

for (const [server, base] of Object.entries(plan.servers)) {
  for (const exchange of plan.exchanges) {
    const answers = [];
    let error = null;
    try {
      for (let time = 0; time < exchange.times; time++) {
        const ask = client === "fetch" ? withFetch : exchange.websocket ? talk : withHttp;
        answers.push(await ask(base + exchange.target, exchange));
      }
    } catch (problem) {
      error = problem.cause?.code ?? problem.code ?? problem.name;
    }
    console.log(JSON.stringify({ server, exchange: exchange.name, answers, error }));
  }
}
process.exit(0);
