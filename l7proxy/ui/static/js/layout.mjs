// Where nodes, edges and labels go: clients before servers, in layers, by dagre.

import dagre from "../vendor/dagre.mjs";

export const NODE_HEIGHT = 44;

// From the left, a label lies on its edge, one line above and one below; from the top, beside it.
export const LABELS = { LR: { width: 124, height: 36 }, TB: { width: 92, height: 46 } };
const LABEL_GAP = 8;

const CHARACTER = 8;
const WIDTHS = { least: 84, most: 170 };
const CORNER = 14;
const LOOP = 11;
const LOOP_REACH = 20;
const MARGIN = 14;
const APART = { LR: { nodesep: 30, ranksep: 48 }, TB: { nodesep: 16, ranksep: 42 } };

// Smaller text cannot be read: a larger map is moved about in its frame.
const SCALES = { least: 0.8, most: 1.25 };

/** How many characters of a name fit into a node. */
export const NAME_CHARACTERS = Math.floor((WIDTHS.most - 24) / CHARACTER);

/** The width of a node with this name, in pixels. */
export function nodeWidth(name) {
  const wanted = Math.round(Array.from(name).length * CHARACTER) + 24;
  return Math.min(WIDTHS.most, Math.max(WIDTHS.least, wanted));
}

/**
 * The layout that is shown largest in a frame, from the left or from the top, with its `scale`.
 * `height` is Infinity where the frame grows with what is in it.
 */
export function fitted(nodes, edges, { width, height }) {
  const measured = (direction) => {
    const places = layout(nodes, edges, direction);
    return { ...places, fit: Math.min(width / places.width, height / places.height) };
  };
  let best = measured("LR");
  if (best.fit < 1) {
    const other = measured("TB");
    if (other.fit > best.fit) best = other;
  }
  return { ...best, scale: Math.min(SCALES.most, Math.max(SCALES.least, best.fit)) };
}

/**
 * Places `nodes` ({ id, name }) and `edges` ({ id, from, to }), from the left ("LR") or from the
 * top ("TB").
 *
 * Gives width and height, a Map of nodes to { x, y, width } (their middle), and one of edges to
 * { points, axis, x, y } (their label's middle), for `pathOf`. The same input gives the same places.
 */
export function layout(nodes, edges, direction) {
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({
    ...{ rankdir: direction, marginx: MARGIN, marginy: MARGIN, edgesep: 12 },
    ...APART[direction],
  });
  // dagre keeps names as keys of plain objects, where "__proto__" is none: give it numbers.
  const numbers = new Map(byId(nodes).map((node, at) => [node.id, String(at)]));
  for (const { id, name } of byId(nodes)) {
    graph.setNode(numbers.get(id), { width: nodeWidth(name), height: NODE_HEIGHT });
  }
  const labels = new Map();
  for (const { id, from, to } of byId(edges)) {
    const label = labelOf(from === to, direction);
    labels.set(id, label);
    graph.setEdge(numbers.get(from), numbers.get(to), label);
  }
  dagre.layout(graph);
  const places = new Map([...numbers].map(([id, at]) => [id, graph.node(at)]));
  for (const { id, from, to } of edges) {
    const label = labels.get(id);
    const ends = [places.get(from), places.get(to)];
    const way = from === to ? looped(label, ends[0], direction) : routed(label, ...ends, direction);
    Object.assign(label, way);
  }
  const { width, height } = graph.graph();
  return { direction, width, height, nodes: places, edges: labels };
}

/** What dagre makes room for. */
function labelOf(isLoop, direction) {
  const { width, height } = LABELS[direction];
  if (direction === "LR") return { width, height, labelpos: "c" };
  // Beside a node it has the loop before it, which dagre does not know of.
  if (isLoop) return { width: width + 2 * LOOP_REACH, height, labelpos: "c" };
  return { width, height, labelpos: "r", labeloffset: LABEL_GAP };
}

/** The points of an edge that runs straight along its label, and straight out of its ends. */
function routed({ points, x, y }, from, to, direction) {
  const [main, across] = direction === "LR" ? ["x", "y"] : ["y", "x"];
  const middle = { x, y }[main];
  const inner = points.slice(1, -1).flatMap((point) => {
    if (Math.abs(point[main] - middle) > 1) return [point];
    const length = LABELS[direction][direction === "LR" ? "width" : "height"];
    const onwards = (to[main] > from[main] ? 0.4 : -0.4) * length;
    return [
      { [main]: middle - onwards, [across]: point[across] },
      { [main]: middle + onwards, [across]: point[across] },
    ];
  });
  const [start, end] = [port(from, inner[0], main, across), port(to, inner.at(-1), main, across)];
  return { points: [start, ...inner, end], axis: main };
}

/** An edge from a node to itself: out, as far as its label, and back. */
function looped({ x, y }, node, direction) {
  const [axis, across] = direction === "LR" ? ["y", "x"] : ["x", "y"];
  const side = node[axis] + (direction === "LR" ? NODE_HEIGHT : node.width) / 2;
  const reach = direction === "LR" ? y : side + LOOP_REACH;
  const points = [LOOP, 0, -LOOP].map((aside) => ({
    [axis]: aside === 0 ? reach : side,
    [across]: node[across] + aside,
  }));
  return direction === "LR" ? { points, axis } : { points, axis, x: x + LOOP_REACH };
}

/** Where an edge to `next` leaves a node: of the side that looks there, the nearest point. */
function port(node, next, main, across) {
  const size = { x: node.width, y: NODE_HEIGHT };
  const side = next[main] > node[main] ? 1 : -1;
  const room = Math.max(0, size[across] / 2 - CORNER);
  const shift = Math.min(room, Math.max(-room, next[across] - node[across]));
  return { [main]: node[main] + (side * size[main]) / 2, [across]: node[across] + shift };
}

function byId(things) {
  return [...things].sort((a, b) => (a.id < b.id ? -1 : 1));
}
