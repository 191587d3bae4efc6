import assert from "node:assert/strict";
import { test } from "node:test";

import { Requests, filter } from "../../../l7proxy/ui/static/js/requests.mjs";
import { edgeId } from "../../../l7proxy/ui/static/js/traffic.mjs";
import { peer, refused, request } from "./make.mjs";

const failed = (changes) => request({ kind: "failed", verdict: "ERROR", status: 504, ...changes });
const targets = (found) => found.map(({ target }) => target);

function kept(...all) {
  const requests = new Requests();
  for (const each of all) requests.add(each);
  return requests;
}

test("the newest comes first, whatever became of it", () => {
  const requests = kept(
    request({ target: "/1" }),
    refused({ target: "/2" }),
    request({ target: "/3" }),
    failed({ target: "/4" }),
  );
  assert.deepEqual(targets(requests.newest(filter({}), 9)), ["/4", "/3", "/2", "/1"]);
  assert.deepEqual(targets(requests.newest(filter({}), 2)), ["/4", "/3"]);
});

test("many served requests do not push out the few refused", () => {
  const requests = kept(refused({ target: "/refused" }));
  for (let at = 0; at < 10_000; at += 1) requests.add(request());
  const found = requests.newest(filter({ show: "refused" }), 9);
  assert.deepEqual(targets(found), ["/refused"]);
  assert.ok(requests.newest(filter({}), 1e6).length <= 2001);
});

test("what a stream repeats after it was opened again is no news", () => {
  const old = refused({ id: "old" });
  const requests = kept(old);
  assert.equal(requests.add(refused({ id: "old" })), true, "two requests at the same time");
  requests.reopened();
  assert.equal(requests.add({ ...old }), false);
  assert.equal(requests.add(refused({ id: "new" })), true);
  assert.equal(requests.add(refused({ id: "new" })), true);
});

test("refused, failed, all", () => {
  const all = [request(), refused(), failed(), refused({ kind: "audit" })];
  const kinds = (show) => all.filter(filter({ show })).map(({ kind }) => kind);
  assert.deepEqual(kinds("refused"), ["refused", "audit"]);
  assert.deepEqual(kinds("failed"), ["failed"]);
  assert.equal(kinds("all").length, 4);
});

test("every word must be somewhere in the request", () => {
  const found = (text) => filter({ text })(refused({ target: "/Users/root", to: peer("users") }));
  for (const text of ["", "  ", "ROOT", "users 403", "no-root users-api", "rule-blocked get"])
    assert.ok(found(text), text);
  for (const text of ["rooot", "root 200", ".*"]) assert.ok(!found(text), text);
});

test("a workload selects both directions, an edge one", () => {
  const there = request();
  const back = request({ from: peer("users"), to: peer("frontend") });
  const other = request({ from: peer("a"), to: peer("b") });
  const among = (selected) => [there, back, other].filter(filter({ selected }));
  assert.deepEqual(among({ node: "shop/users" }), [there, back]);
  assert.deepEqual(among({ edge: edgeId("shop/frontend", "shop/users") }), [there]);
});
