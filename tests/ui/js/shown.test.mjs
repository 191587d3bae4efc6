import assert from "node:assert/strict";
import { test } from "node:test";

import { MOST, Shown, narrowed } from "../../../l7proxy/ui/static/js/shown.mjs";

function edge(name, count = 1, refused = 0) {
  return { id: name, from: `${name}-client`, to: `${name}-server`, count, refused };
}

const ids = (edges) => edges.map(({ id }) => id);
const some = (count, requests = 1) =>
  Array.from({ length: count }, (_, at) => edge(`edge-${at}`, requests));

test("all are shown while there is room, quiet ones too", () => {
  const edges = some(MOST, 0);
  assert.deepEqual(new Shown().pick(edges, null), edges);
});

test("what is refused comes before what is busy, and that before the rest", () => {
  const refused = edge("refused", 1, 1);
  const busy = edge("busy", 100);
  const shown = ids(new Shown().pick([...some(MOST), busy, refused], null));
  assert.equal(shown.length, MOST);
  assert.ok(shown.includes("refused") && shown.includes("busy"));
});

test("what is shown stays while it has traffic", () => {
  const shown = new Shown();
  const first = some(MOST);
  shown.pick(first, null);
  const busier = edge("busier", 100, 100);
  assert.ok(!ids(shown.pick([...first, busier], null)).includes("busier"));
  first[3].count = 0;
  const now = ids(shown.pick([...first, busier], null));
  assert.ok(now.includes("busier") && !now.includes("edge-3"));
});

test("what is selected is shown in any case", () => {
  const shown = new Shown();
  const edges = [...some(MOST, 9), edge("quiet", 0)];
  assert.ok(!ids(shown.pick(edges, null)).includes("quiet"));
  assert.ok(ids(shown.pick(edges, { edge: "quiet" })).includes("quiet"));
  assert.ok(ids(shown.pick(edges, { node: "quiet-server" })).includes("quiet"));
});

test("nodes without an edge that is shown are left out", () => {
  const nodes = [{ id: "a-client" }, { id: "a-server" }, { id: "b-server" }];
  const { nodes: left, edges } = narrowed({ nodes, edges: [], span: 1 }, [edge("a")]);
  assert.deepEqual([ids(left), ids(edges)], [["a-client", "a-server"], ["a"]]);
});
