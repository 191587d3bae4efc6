// Requests for the tests of this folder.

let port = 1024;

export const NOW = Date.UTC(2026, 8, 21, 12);

export function peer(name) {
  return { id: `shop/${name}`, kind: "workload", name, namespace: "shop", address: "10.0.0.1" };
}

/** A request that was served a second ago, but for `changes`. */
export function request(changes = {}) {
  port += 1;
  return {
    ...{ id: `request ${port}`, time: NOW - 1000, clientPort: port, port: 80 },
    ...{ from: peer("frontend"), to: peer("users"), method: "GET", host: "users", target: "/a" },
    ...{ protocol: "HTTP/1.1", status: 200, verdict: "FORWARDED", kind: "served" },
    ...{ reason: "rule-allowed", policy: "users-api", rule: "read", road: "kernel", backend: "" },
    ...{ latency: 0.002, weight: 1, requestBytes: 1, responseBytes: 2, direction: "ingress" },
    ...changes,
  };
}

export function refused(changes = {}) {
  return request({
    ...{ kind: "refused", verdict: "DROPPED", status: 403, reason: "rule-blocked" },
    ...{ rule: "no-root", latency: null },
    ...changes,
  });
}
