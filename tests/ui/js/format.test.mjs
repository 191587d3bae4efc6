import assert from "node:assert/strict";
import { test } from "node:test";

import * as format from "../../../l7proxy/ui/static/js/format.mjs";

function table(convert, pairs) {
  for (const [input, output] of pairs) assert.equal(convert(input), output, String(input));
}

test("rates", () => {
  table(format.rate, [
    ...[[0, "0/s"], [0.001, "1/min"], [0.05, "3/min"], [0.094, "6/min"], [0.095, "0.1/s"]],
    ...[[3.44, "3.4/s"], [9.94, "9.9/s"], [9.96, "10/s"], [1234, "1234/s"], [12345, "12k/s"]],
  ]);
});

test("lengths of time", () => {
  table(format.duration, [
    ...[[null, "–"], [1e-9, "1 µs"], [0.00064, "640 µs"], [0.0009999, "1.0 ms"]],
    ...[[0.0021, "2.1 ms"], [0.0099, "9.9 ms"], [0.00996, "10 ms"], [0.9999, "1.0 s"]],
    ...[[1.44, "1.4 s"]],
  ]);
  assert.equal(format.durations(0.002, 0.0051), "2.0 / 5.1 ms");
  assert.equal(format.durations(0.0005, 0.0051), "500 µs / 5.1 ms");
});

test("shares: what is not all or nothing never looks so", () => {
  table(format.percent, [
    ...[[0, "0%"], [0.0001, "<1%"], [0.01, "1%"], [0.5, "50%"], [0.99, "99%"]],
    ...[[0.9999, ">99%"], [1, "100%"]],
  ]);
});

test("counts", () => {
  table(format.count, [[0, "0"], [9999, "9999"], [12_345, "12k"], [4_400_000, "4.4M"]]);
});

test("names are shortened by characters, not by halves of them", () => {
  assert.equal(format.shorten("users", 5), "users");
  assert.equal(format.shorten("users-7d9f8b6c4-x08kq", 11), "users-…08kq");
  assert.equal(format.shorten("users", 1), "…");
  assert.equal(format.shorten("😀😀😀", 2), "😀…");
});

test("who decided", () => {
  assert.equal(format.decider({ policy: "users-api", rule: "read" }), "users-api › read");
  assert.equal(format.decider({ policy: "users-api", rule: "" }), "users-api");
  assert.equal(format.decider({ policy: "", rule: "" }), "");
});
