import assert from "node:assert/strict";
import { test } from "node:test";

import { Traffic, WINDOW_S, edgeId } from "../../../l7proxy/ui/static/js/traffic.mjs";
import { NOW, peer, refused, request } from "./make.mjs";

function watched(requests, now = NOW, start = NOW - 3_600_000) {
  const traffic = new Traffic(start);
  for (const each of requests) traffic.add(each, now);
  return traffic;
}

function many(count, make) {
  return Array.from({ length: count }, (_, at) => make(at));
}

test("requests become nodes and directed edges", () => {
  const back = { from: peer("users"), to: peer("frontend") };
  const { nodes, edges } = watched([request(), request(), request(back)]).snapshot(NOW);
  assert.deepEqual(nodes.map(({ id }) => id).sort(), ["shop/frontend", "shop/users"]);
  assert.deepEqual(
    edges.map(({ id, count }) => [id, count]),
    [
      [edgeId("shop/frontend", "shop/users"), 2],
      [edgeId("shop/users", "shop/frontend"), 1],
    ],
  );
});

test("a rate is for the last minute", () => {
  for (const now of [NOW, NOW + 250, NOW + 750]) {
    const times = many(400, (at) => NOW + 875 - at * 250).filter((time) => time < now);
    const { edges, totals, span } = watched(times.map((time) => request({ time })), now).snapshot(now);
    assert.ok(span > WINDOW_S - 1.01 && span <= WINDOW_S, String(span));
    assert.ok(Math.abs(edges[0].rate - 4) < 0.02, String(edges[0].rate));
    assert.equal(totals.rate, edges[0].rate);
  }
});

test("a rate is right before a minute has gone by", () => {
  const traffic = watched(many(10, (at) => request({ time: NOW - at * 500 })), NOW, NOW - 5000);
  assert.equal(traffic.snapshot(NOW).span, 5);
  assert.equal(traffic.snapshot(NOW).totals.rate, 2);
});

test("records from before the page was opened say how long they cover", () => {
  const traffic = watched(many(10, (at) => request({ time: NOW - at * 1000 })), NOW, NOW);
  assert.equal(traffic.snapshot(NOW).span, 9);
});

test("what is older than the window is an edge, but no rate", () => {
  const traffic = watched([request({ time: NOW - 61_000 })]);
  const [edge] = traffic.snapshot(NOW).edges;
  assert.deepEqual([edge.count, edge.rate, edge.p50, edge.refusedShare], [0, 0, null, 0]);
});

test("traffic that ends becomes quiet after a minute", () => {
  const traffic = watched([request({ time: NOW })]);
  assert.equal(traffic.snapshot(NOW + 59_000).edges[0].count, 1);
  assert.equal(traffic.snapshot(NOW + 60_000).edges[0].count, 0);
  traffic.add(request({ time: NOW + 60_000 }), NOW + 60_000);
  assert.equal(traffic.snapshot(NOW + 60_000).edges[0].count, 1);
});

test("what has been quiet for half an hour is forgotten", () => {
  const traffic = watched([request({ time: NOW })]);
  assert.equal(traffic.snapshot(NOW + 29 * 60_000).nodes.length, 2);
  assert.equal(traffic.snapshot(NOW + 31 * 60_000).nodes.length, 0);
});

test("shares of what was refused and what failed", () => {
  const failed = request({ kind: "failed", latency: null });
  const audited = request({ kind: "audit" });
  const [edge] = watched([refused(), request(), failed, audited]).snapshot(NOW).edges;
  assert.deepEqual([edge.refusedShare, edge.failedShare, edge.count], [0.25, 0.25, 4]);
});

test("percentiles are right to three percent", () => {
  const latencies = many(1000, (at) => (at + 1) / 1000);
  const [edge] = watched(latencies.map((latency) => request({ latency }))).snapshot(NOW).edges;
  assert.ok(Math.abs(edge.p50 / 0.5 - 1) < 0.03, String(edge.p50));
  assert.ok(Math.abs(edge.p99 / 0.99 - 1) < 0.03, String(edge.p99));
});

test("only what was served has a latency that counts", () => {
  const failed = request({ kind: "failed", latency: 30 });
  const [edge] = watched([refused({ latency: 0.00002 }), failed]).snapshot(NOW).edges;
  assert.deepEqual([edge.p50, edge.p99], [null, null]);
});

test("roads are counted apart", () => {
  const traffic = watched([request(), request({ road: "proxy" }), request({ road: "" })]);
  const roads = traffic.snapshot(NOW).totals.roads.map(({ road }) => road);
  assert.deepEqual(roads, ["kernel", "proxy"]);
});

test("a clock that is ahead counts as now", () => {
  const traffic = watched([request({ time: NOW + 9_000 }), request({ time: null })]);
  assert.equal(traffic.snapshot(NOW).totals.count, 2);
});

test("edges are bounded: the longest quiet goes first", () => {
  const names = many(450, (at) => peer(`client-${at}`));
  const requests = names.map((from, at) => request({ from, time: NOW - 50_000 + at }));
  const { edges } = watched(requests).snapshot(NOW);
  assert.equal(edges.length, 400);
  assert.equal(edges[0].from, "shop/client-50");
  assert.equal(edges.at(-1).from, "shop/client-449");
});

test("names that are special to JavaScript are names", () => {
  const from = { ...peer("__proto__"), id: "__proto__" };
  const to = { ...peer("constructor"), id: "constructor" };
  const { nodes, edges } = watched([request({ from, to })]).snapshot(NOW);
  assert.deepEqual(nodes.map(({ name }) => name), ["__proto__", "constructor"]);
  assert.equal(edges[0].count, 1);
});

test("a record counts for as many requests as it stands for", () => {
  const { edges, totals } = watched([request({ weight: 40 }), request(), refused()]).snapshot(NOW);
  assert.equal(totals.count, 42);
  assert.equal(totals.refused, 1);
  assert.equal(edges[0].count, 42);
});
