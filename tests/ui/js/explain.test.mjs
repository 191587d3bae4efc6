import assert from "node:assert/strict";
import { test } from "node:test";

import { differs, explain, linesOf, questionFor } from "../../../l7proxy/ui/static/js/explain.mjs";
import { refused, request } from "./make.mjs";

const WORLD = { id: "reserved:world", kind: "reserved", name: "world", address: "198.51.100.7" };
const HOST = { id: "reserved:host", kind: "reserved", name: "host", address: "10.0.0.9" };

test("a question names workloads, the host and addresses as explain knows them", () => {
  const question = questionFor(request({ target: "/a?b=1", host: "users:8080" }));
  assert.deepEqual(question, {
    ...{ from: "shop/frontend", to: "shop/users", port: 80, method: "GET", target: "/a?b=1" },
    headers: [["Host", "users:8080"]],
  });
  assert.equal(questionFor(request({ from: WORLD })).from, "198.51.100.7");
  assert.equal(questionFor(request({ from: HOST })).from, "host");
});

test("a connection without a request can be asked about too", () => {
  const { method, target, headers } = questionFor(request({ method: "", target: "", host: "" }));
  assert.deepEqual([method, target, headers], ["GET", "/", []]);
});

const ANSWER = { verdict: "DROPPED", road: "proxy", policy: "p", rule: null, backend: null };

test("an answer's lines: what says nothing is left out, what never came so far has no road", () => {
  const found = { answer: ANSWER, exit_code: 22, meaning: "m", road_reason: "w", notes: ["a", "b"] };
  assert.deepEqual(linesOf(found), [
    ...[["Reason", "m"], ["Policy", "p"], ["Road", "proxy: w"], ["Note", "a; b"]],
  ]);
  assert.equal(linesOf({ ...found, exit_code: 28 })[2][1], "refused: w");
});

test("it is said when the answer is not what was recorded", () => {
  assert.ok(!differs(refused(), { answer: ANSWER }));
  assert.ok(differs(request(), { answer: ANSWER }));
  assert.ok(!differs(request({ kind: "failed" }), { answer: { ...ANSWER, verdict: "FORWARDED" } }));
});

test("a workload that is gone is asked about by its labels", async () => {
  const from = { ...request().from, labels: ["app=frontend", "note=a,b"] };
  const asked = [];
  const fetch = async (target, { body }) => {
    asked.push(JSON.parse(body));
    const status = asked.length === 1 ? 400 : 200;
    return new Response(JSON.stringify({ answer: ANSWER }), { status });
  };
  assert.deepEqual(await explain(request({ from }), { fetch }), { answer: ANSWER });
  assert.deepEqual(
    asked.map((question) => [question.from, question.to]),
    [
      ["shop/frontend", "shop/users"],
      ["app=frontend,io.kubernetes.pod.namespace=shop", "shop/users"],
    ],
  );
});

test("what the agent says against a question is told", async () => {
  const fetch = async () => new Response('{"error": "no workload"}', { status: 400 });
  await assert.rejects(explain(request(), { fetch }), { message: "no workload" });
});
