// Requests become nodes, edges and rates: counts of each second, kept for one minute.

export const WINDOW_S = 60;

// An edge is forgotten when it has been quiet for this long, or when there are more than this.
const QUIET_MS = 30 * 60_000;
const MAX_EDGES = 400;

// Latencies are counted in buckets that are 4% apart, so percentiles are right to 3%.
const BUCKETS_PER_DOUBLING = 16;

/** Counts of one edge, or of everything, by second. */
class Counts {
  #slots = new Array(WINDOW_S).fill(null);

  add(request, second) {
    const at = second % WINDOW_S;
    let slot = this.#slots[at];
    if (slot?.second !== second) {
      slot = { second, count: 0, kinds: new Map(), roads: new Map(), latencies: new Map() };
      this.#slots[at] = slot;
    }
    const { weight } = request;
    slot.count += weight;
    increase(slot.kinds, request.kind, weight);
    if (request.road) increase(slot.roads, request.road, weight);
    // Our own refusals are quick: they would make a slow server look fast.
    if (request.kind === "served" && request.latency > 0) {
      increase(slot.latencies, bucketOf(request.latency), weight);
    }
  }

  /** The sums of the window that ends with the second `now`; rates are for `span` seconds. */
  sum(now, span) {
    const sum = { count: 0, kinds: new Map(), roads: new Map(), latencies: new Map() };
    for (const slot of this.#slots) {
      if (slot === null || slot.second > now || slot.second <= now - WINDOW_S) continue;
      sum.count += slot.count;
      for (const part of ["kinds", "roads", "latencies"]) merge(sum[part], slot[part]);
    }
    const refused = sum.kinds.get("refused") ?? 0;
    const failed = sum.kinds.get("failed") ?? 0;
    return {
      count: sum.count,
      rate: sum.count / span,
      refused,
      refusedRate: refused / span,
      refusedShare: sum.count ? refused / sum.count : 0,
      failed,
      failedShare: sum.count ? failed / sum.count : 0,
      p50: percentile(sum.latencies, 0.5),
      p99: percentile(sum.latencies, 0.99),
      roads: [...sum.roads].map(([road, count]) => ({ road, rate: count / span })),
    };
  }
}

/** What is known of the traffic. Times are in milliseconds since the epoch. */
export class Traffic {
  #all = new Counts();
  #edges = new Map();
  #start;

  /** `start`: when watching began; earlier requests that come in move it back. */
  constructor(start) {
    this.#start = start;
  }

  add(request, now) {
    const time = Math.min(request.time ?? now, now);
    this.#start = Math.min(this.#start, time);
    const id = edgeId(request.from.id, request.to.id);
    let edge = this.#edges.get(id);
    if (edge === undefined) {
      if (this.#edges.size >= MAX_EDGES) this.#forget();
      edge = { id, from: request.from, to: request.to, counts: new Counts(), last: time };
      this.#edges.set(id, edge);
    }
    edge.last = Math.max(edge.last, time);
    const second = Math.floor(time / 1000);
    if (second <= Math.floor(now / 1000) - WINDOW_S) return;
    edge.counts.add(request, second);
    this.#all.add(request, second);
  }

  /** Nodes, edges and totals of the last minute, or since the start if that is less. */
  snapshot(now) {
    const second = Math.floor(now / 1000);
    // The second that has begun is counted as far as it has gone.
    const from = Math.max(this.#start, (second - WINDOW_S + 1) * 1000);
    const span = Math.max(1, (now - from) / 1000);
    const nodes = new Map();
    const edges = [];
    for (const { id, from, to, counts, last } of this.#edges.values()) {
      if (last < now - QUIET_MS) {
        this.#edges.delete(id);
        continue;
      }
      nodes.set(from.id, from).set(to.id, to);
      edges.push({ id, from: from.id, to: to.id, ...counts.sum(second, span) });
    }
    return { span, nodes: [...nodes.values()], edges, totals: this.#all.sum(second, span) };
  }

  #forget() {
    const oldest = [...this.#edges.values()].reduce((a, b) => (b.last < a.last ? b : a));
    this.#edges.delete(oldest.id);
  }
}

/** The edge between two peers; a NUL is in no name. */
export function edgeId(from, to) {
  return `${from}\0${to}`;
}

function bucketOf(seconds) {
  return Math.round(Math.log2(seconds * 1e9) * BUCKETS_PER_DOUBLING);
}

/** The latency in seconds that `share` of the requests do not exceed; null without any. */
function percentile(latencies, share) {
  let left = 0;
  for (const count of latencies.values()) left += count;
  if (left === 0) return null;
  left = Math.ceil(left * share);
  for (const bucket of [...latencies.keys()].sort((a, b) => a - b)) {
    left -= latencies.get(bucket);
    if (left <= 0) return 2 ** (bucket / BUCKETS_PER_DOUBLING) / 1e9;
  }
  return null;
}

function increase(counts, key, by = 1) {
  counts.set(key, (counts.get(key) ?? 0) + by);
}

function merge(into, counts) {
  for (const [key, count] of counts) increase(into, key, count);
}
