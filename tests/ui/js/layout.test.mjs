import assert from "node:assert/strict";
import { test } from "node:test";

import { LABELS, NODE_HEIGHT, fitted, layout } from "../../../l7proxy/ui/static/js/layout.mjs";
import { arrowOf, pathOf } from "../../../l7proxy/ui/static/js/lines.mjs";

const NODES = ["a", "b", "c", "d"].map((id) => ({ id, name: id }));
const EDGES = [
  ...[["a", "b"], ["a", "c"], ["b", "d"], ["c", "d"], ["d", "a"], ["c", "c"]],
].map(([from, to]) => ({ id: from + to, from, to }));

function boxes({ nodes, edges, direction }) {
  const labels = [...edges.values()].map(({ x, y }) => ({ x, y, ...LABELS[direction] }));
  return [...[...nodes.values()].map((node) => ({ ...node, height: NODE_HEIGHT })), ...labels];
}

function overlap(a, b) {
  const apart = (main, size) => Math.abs(a[main] - b[main]) >= (a[size] + b[size]) / 2 - 0.01;
  return !apart("x", "width") && !apart("y", "height");
}

for (const direction of ["LR", "TB"]) {
  test(`${direction}: no node and no label lies on another`, () => {
    const all = boxes(layout(NODES, EDGES, direction));
    for (const [at, box] of all.entries())
      for (const other of all.slice(at + 1)) assert.ok(!overlap(box, other));
  });

  test(`${direction}: edges begin and end at the sides of their nodes`, () => {
    const { nodes, edges } = layout(NODES, EDGES, direction);
    for (const { id, from, to } of EDGES) {
      const { points } = edges.get(id);
      for (const [point, name] of [[points[0], from], [points.at(-1), to]]) {
        const node = nodes.get(name);
        const [dx, dy] = [Math.abs(point.x - node.x), Math.abs(point.y - node.y)];
        assert.ok(dx <= node.width / 2 + 0.01 && dy <= NODE_HEIGHT / 2 + 0.01, id);
        assert.ok(dx > node.width / 2 - 0.01 || dy > NODE_HEIGHT / 2 - 0.01, id);
      }
    }
  });
}

test("clients stand before servers", () => {
  const { nodes } = layout(NODES, EDGES.slice(0, 4), "LR");
  const x = (id) => nodes.get(id).x;
  assert.ok(x("a") < x("b") && x("b") < x("d") && x("c") < x("d"));
});

test("the order of the input does not matter", () => {
  const places = (nodes, edges) => [...layout(nodes, edges, "LR").nodes].sort();
  assert.deepEqual(places(NODES, EDGES), places(NODES.toReversed(), EDGES.toReversed()));
});

test("names that are special to JavaScript are laid out as others", () => {
  const nodes = ["__proto__", "constructor", "toString"].map((id) => ({ id, name: id }));
  const edges = [{ id: "__proto__", from: "__proto__", to: "constructor" }];
  const places = layout(nodes, edges, "TB");
  assert.equal(places.nodes.size, 3);
  assert.ok(Number.isFinite(places.edges.get("__proto__").x));
});

test("a wide frame has it from the left, a narrow one from the top", () => {
  const chain = EDGES.slice(0, 4);
  assert.equal(fitted(NODES, chain, { width: 1200, height: 600 }).direction, "LR");
  const phone = fitted(NODES, chain, { width: 340, height: Infinity });
  assert.equal(phone.direction, "TB");
  assert.ok(phone.width * phone.scale <= 340);
  assert.equal(fitted(NODES, chain, { width: 40, height: 40 }).scale, 0.8);
});

test("a line ends where its arrow begins", () => {
  const points = [{ x: 0, y: 0 }, { x: 50, y: 20 }, { x: 100, y: 20 }];
  assert.equal(pathOf(points, "x", 8), "M0.0,0.0C25.0,0.0 25.0,20.0 50.0,20.0L92.0,20.0");
  assert.equal(arrowOf(points, "x", 10), "100.0,20.0 90.0,25.0 90.0,15.0");
  assert.equal(arrowOf(points.toReversed(), "x", 10), "0.0,0.0 10.0,5.0 10.0,-5.0");
});
