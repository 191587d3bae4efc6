import assert from "node:assert/strict";
import { test } from "node:test";

import { FlowStream, lines } from "../../../l7proxy/ui/static/js/stream.mjs";

const encoder = new TextEncoder();

function body(...pieces) {
  return new ReadableStream({
    start(controller) {
      for (const piece of pieces)
        controller.enqueue(typeof piece === "string" ? encoder.encode(piece) : piece);
      controller.close();
    },
  });
}

async function read(...pieces) {
  const found = [];
  for await (const batch of lines(body(...pieces))) found.push(...batch);
  return found;
}

test("lines are put together from pieces", async () => {
  assert.deepEqual(await read("a\nb", "c\n", "\n", "d\ne"), ["a", "bc", "d"]);
});

test("a character may lie in two pieces", async () => {
  const bytes = encoder.encode("ä😀\n");
  const pieces = Array.from(bytes, (byte) => Uint8Array.of(byte));
  assert.deepEqual(await read(...pieces), ["ä😀"]);
});

test("a line beyond reason is left out", async () => {
  const long = "x".repeat(1 << 20);
  const found = await read("a\n", long, "y", "\nb\n");
  assert.deepEqual([found[0], found.at(-1)], ["a", "b"]);
  assert.ok(found.every((line) => line.length <= 1 << 20));
});

function response(...pieces) {
  return new Response(body(...pieces), { headers: { Date: "Mon, 21 Sep 2026 12:00:00 GMT" } });
}

/** What a stream tells when its requests are answered by `answers` in turn. */
async function followed(...answers) {
  const told = [];
  const waits = [];
  const fetch = async (target) => {
    told.push(target);
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    return answer;
  };
  await new FlowStream({ fetch, pause: async (wait) => waits.push(wait) }).run({
    opened: (date) => told.push(date),
    arrived: (batch) => told.push(batch),
    ended: (message) => {
      told.push(message);
      return answers.length > 0;
    },
  });
  return { told, waits };
}

const ASKED = "/api/flows?last=500";
const DATE = Date.UTC(2026, 8, 21, 12);

test("a stream that ends is opened again", async () => {
  const { told } = await followed(response("a\n"), response("b\n"));
  const gone = "The agent has gone away";
  assert.deepEqual(told, [ASKED, DATE, ["a"], gone, ASKED, DATE, ["b"], gone]);
});

test("it waits longer the longer nobody answers, and not for ever", async () => {
  const refused = () => new Response('{"error": "no agent"}', { status: 502 });
  const answers = [new TypeError("refused"), ...Array.from({ length: 6 }, refused)];
  const { told, waits } = await followed(...answers, response());
  assert.match(told[1], /^The server of this page does not answer/);
  assert.equal(told[3], "no agent");
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 5000, 5000, 5000]);
  const again = await followed(refused(), refused(), response(), refused(), refused());
  assert.deepEqual(again.waits, [500, 1000, 500, 1000]);
});

test("an answer that is not ours has its status to tell", async () => {
  const { told } = await followed(new Response("<html>", { status: 500 }));
  assert.equal(told[1], "the answer has status 500");
});
