import assert from "node:assert/strict";
import { test } from "node:test";

import { readFlow, readLine } from "../../../l7proxy/ui/static/js/flows.mjs";

const FLOW = {
  time: "2026-09-21T13:33:20.250000000Z",
  verdict: "FORWARDED",
  IP: { source: "10.0.0.1", destination: "10.0.0.2" },
  l4: { TCP: { source_port: 40000, destination_port: 80 } },
  source: { namespace: "shop", labels: ["k8s:app=frontend"], pod_name: "frontend" },
  destination: { namespace: "shop", labels: [], pod_name: "users" },
  l7: {
    type: "RESPONSE",
    latency_ns: "2100000",
    http: { method: "GET", url: "http://users/a/../b?x=%2f#y", protocol: "HTTP/1.1", code: 200 },
  },
  traffic_direction: "INGRESS",
  extensions: {
    value: { road: "proxy", reason: "rule-allowed", policy: "users-api", rule: "read", backend: null },
  },
};

test("a record has everything that the page shows", () => {
  const request = readFlow(FLOW);
  assert.equal(request.time, Date.UTC(2026, 8, 21, 13, 33, 20, 250));
  assert.deepEqual(
    [request.from.id, request.from.name, request.from.namespace, request.from.address],
    ["shop/frontend", "frontend", "shop", "10.0.0.1"],
  );
  assert.deepEqual(request.from.labels, ["app=frontend"]);
  assert.deepEqual([request.method, request.host, request.status], ["GET", "users", 200]);
  assert.deepEqual([request.road, request.policy, request.rule], ["proxy", "users-api", "read"]);
  assert.equal(request.latency, 0.0021);
  assert.deepEqual([request.port, request.kind, request.backend], [80, "served", ""]);
});

test("a target is kept as it was sent", () => {
  assert.equal(readFlow(FLOW).target, "/a/../b?x=%2f#y");
  const other = structuredClone(FLOW);
  other.l7.http.url = "ftp://x/";
  assert.deepEqual([readFlow(other).host, readFlow(other).target], ["", "ftp://x/"]);
});

test("verdicts become kinds", () => {
  const kinds = ["DROPPED", "ERROR", "AUDIT", "FORWARDED", "TRACED"].map(
    (verdict) => readFlow({ ...FLOW, verdict }).kind,
  );
  assert.deepEqual(kinds, ["refused", "failed", "audit", "served", "served"]);
});

test("reserved identities are one node each, addresses apart", () => {
  const ends = [
    { identity: 2, labels: ["reserved:world"] },
    { identity: 1 },
    { labels: ["reserved:kube-apiserver"] },
  ].map((source) => readFlow({ ...FLOW, source }).from);
  assert.deepEqual(ends.map(({ name }) => name), ["world", "host", "kube-apiserver"]);
  assert.equal(ends[0].id, "reserved:world");
  assert.equal(readFlow({ ...FLOW, source: undefined }).from.name, "10.0.0.1");
});

test("lost records are counted, as number or as text", () => {
  assert.deepEqual(readLine('{"lost_events":{"num_events_lost":"12"}}'), { lost: 12 });
  assert.deepEqual(readLine('{"lost_events":{"num_events_lost":3}}'), { lost: 3 });
  assert.deepEqual(readLine('{"lost_events":{}}'), { lost: 0 });
});

test("what is no record is nothing, and no fault", () => {
  for (const line of ["", "{", "null", "7", "[]", '{"flow":7}', '{"flow":null}', '{"node_status":{}}'])
    assert.equal(readLine(line), null, line);
});

test("fields of wrong types do no harm", () => {
  for (const wrong of [null, 7, "x", [], [7], { x: 1 }, true]) {
    for (const key of Object.keys(FLOW)) {
      const request = readFlow({ ...FLOW, [key]: wrong });
      assert.equal(typeof request.target, "string");
      assert.equal(typeof request.from.name, "string");
      assert.ok(request.time === null || Number.isFinite(request.time), `${key} ${wrong}`);
    }
  }
});
