// What a line of the agent's stream says: a request that was decided, or records that were lost.

/** How a request ended, from the record's verdict. */
const KINDS = { DROPPED: "refused", ERROR: "failed", AUDIT: "audit" };

/** Reserved identities of Hubble that have no label in a record. */
const RESERVED = { 1: "host", 2: "world" };

/**
 * Reads one line of GetFlowsResponse JSON.
 * Gives { request } or { lost } (a number of records), or null for what is neither.
 */
export function readLine(text) {
  let line;
  try {
    line = JSON.parse(text);
  } catch {
    return null;
  }
  if (line === null || typeof line !== "object") return null;
  if (line.lost_events) return { lost: number(line.lost_events.num_events_lost) ?? 0 };
  return line.flow && typeof line.flow === "object" ? { request: readFlow(line.flow) } : null;
}

/**
 * A request as the page uses it. Every field is there; text that the record lacks is "", a number
 * or a time that it lacks is null. `time` is in milliseconds since the epoch, `latency` in seconds;
 * `weight` is how many requests the record stands for.
 */
export function readFlow(flow) {
  const http = flow.l7?.http ?? {};
  const known = flow.extensions?.value ?? {};
  const url = splitUrl(string(http.url));
  const from = readPeer(flow.source, string(flow.IP?.source));
  const to = readPeer(flow.destination, string(flow.IP?.destination));
  const clientPort = number(flow.l4?.TCP?.source_port);
  const port = number(flow.l4?.TCP?.destination_port);
  const verdict = string(flow.verdict);
  const latency = number(flow.l7?.latency_ns);
  return {
    id: [flow.time, from.address, clientPort, to.address, port].join(" "),
    time: Date.parse(flow.time) || null,
    from,
    to,
    clientPort,
    port,
    method: string(http.method),
    host: url.host,
    target: url.target,
    protocol: string(http.protocol),
    status: number(http.code),
    verdict,
    kind: KINDS[verdict] ?? "served",
    reason: string(known.reason),
    policy: string(known.policy),
    rule: string(known.rule),
    road: string(known.road),
    backend: string(known.backend),
    latency: latency === null ? null : latency / 1e9,
    weight: Math.max(1, number(known.stands_for) ?? 1),
    requestBytes: number(known.request_bytes),
    responseBytes: number(known.response_bytes),
    direction: string(flow.traffic_direction).toLowerCase(),
  };
}

/** One end: `id` tells it from every other, `name` and `namespace` are for people. */
function readPeer(endpoint, address) {
  const peer = endpoint ?? {};
  const labels = Array.isArray(peer.labels) ? peer.labels.map(String) : [];
  if (peer.pod_name) {
    const name = string(peer.pod_name);
    const namespace = string(peer.namespace) || "default";
    const own = labels.filter((each) => each.startsWith("k8s:")).map((each) => each.slice(4));
    return { id: `${namespace}/${name}`, kind: "workload", name, namespace, address, labels: own };
  }
  const label = labels.find((each) => each.startsWith("reserved:"));
  const reserved = label?.slice("reserved:".length) ?? RESERVED[peer.identity];
  const name = reserved ?? (address || "unknown");
  return { id: `reserved:${name}`, kind: "reserved", name, namespace: "", address };
}

/** Host and target as they were sent: a URL parser would normalise them. */
function splitUrl(url) {
  const match = /^https?:\/\/([^/?#]*)(.*)$/s.exec(url);
  return match ? { host: match[1], target: match[2] } : { host: "", target: url };
}

function string(value) {
  return typeof value === "string" ? value : "";
}

/** A number, also one that proto3 JSON writes as text; null for anything else. */
function number(value) {
  if (typeof value === "string" && value !== "") value = Number(value);
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
