// The map: nodes and edges as SVG, kept from one update to the next, so that focus stays.

import { ONE_COLUMN, say, set, svg } from "./dom.mjs";
import * as format from "./format.mjs";
import { LABELS, NAME_CHARACTERS, NODE_HEIGHT, fitted, nodeWidth } from "./layout.mjs";
import { arrowOf, pathOf } from "./lines.mjs";

const LINE_PX = 15;
const BESIDE_LINE_PX = [-8, 0, 17];

export class Graph {
  #host;
  #select;
  #root = svg("svg", { role: "group", "aria-label": "Who asks whom" });
  #edgeLayer = svg("g");
  #labelLayer = svg("g");
  #nodeLayer = svg("g");
  #nodes = new Map();
  #edges = new Map();
  #shape = "";
  #direction = "LR";

  /** Draws into `host`; `select` is called with { node: id } or { edge: id }. */
  constructor(host, select) {
    this.#host = host;
    this.#select = select;
    this.#root.append(this.#edgeLayer, this.#labelLayer, this.#nodeLayer);
    host.append(this.#root);
  }

  /** Shows a snapshot of the traffic; `selected` as `select` was called with, or null. */
  update({ nodes, edges }, selected) {
    const { clientWidth: width, clientHeight } = this.#host;
    if (width === 0 || nodes.length === 0) return; // not on the page
    const height = ONE_COLUMN.matches ? Infinity : clientHeight;
    const ids = [nodes, edges].map((things) => things.map(({ id }) => id));
    const shape = JSON.stringify([width, height, ids]);
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#keepOnly(this.#nodes, nodes);
      this.#keepOnly(this.#edges, edges);
      this.#place(nodes, edges, { width, height });
    }
    const near = neighbourhood(edges, selected);
    for (const edge of edges) this.#showEdge(edge, nodes, selected, near);
    for (const node of nodes) {
      const { group } = this.#nodes.get(node.id);
      set(group, {
        "aria-pressed": selected?.node === node.id,
        class: `node ${node.kind}${near && !near.nodes.has(node.id) ? " dim" : ""}`,
      });
    }
  }

  #keepOnly(elements, things) {
    const ids = new Set(things.map(({ id }) => id));
    for (const [id, parts] of elements) {
      if (ids.has(id)) continue;
      Object.values(parts).forEach((part) => part.remove?.());
      elements.delete(id);
    }
  }

  #place(nodes, edges, frame) {
    const { scale, direction, ...places } = fitted(nodes, edges, frame);
    this.#direction = direction;
    set(this.#root, {
      viewBox: `0 0 ${places.width} ${places.height}`,
      width: Math.floor(places.width * scale),
      height: Math.floor(places.height * scale),
    });
    for (const node of nodes) {
      const parts = this.#nodes.get(node.id) ?? this.#newNode(node);
      const { x, y } = places.nodes.get(node.id);
      set(parts.group, { transform: `translate(${x},${y})` });
    }
    for (const edge of edges) {
      const parts = this.#edges.get(edge.id) ?? this.#newEdge(edge);
      const { points, axis, x, y } = places.edges.get(edge.id);
      Object.assign(parts, { points, axis });
      set(parts.label, { transform: `translate(${x},${y})` });
      set(parts.touch, { d: pathOf(points, axis) });
      const { width, height } = LABELS[direction];
      set(parts.box, { x: -width / 2, y: -height / 2, width, height });
    }
  }

  #newNode({ id, kind, name, namespace }) {
    const width = nodeWidth(name);
    const group = svg(
      "g",
      { tabindex: 0, role: "button", "aria-label": namespace ? `${name} in ${namespace}` : name },
      svg("title", {}, id),
      svg("rect", {
        ...{ x: -width / 2, y: -NODE_HEIGHT / 2, width, height: NODE_HEIGHT },
        rx: kind === "workload" ? 8 : NODE_HEIGHT / 2,
      }),
      svg("text", { y: namespace ? -2 : 4.5, class: "name" }, format.shorten(name, NAME_CHARACTERS)),
      svg("text", { y: 13, class: "sub" }, format.shorten(namespace, 22)),
    );
    this.#pressable(group, { node: id });
    this.#nodeLayer.append(group);
    const parts = { group };
    this.#nodes.set(id, parts);
    return parts;
  }

  #newEdge({ id }) {
    const line = svg("path", { class: "line" });
    const head = svg("polygon", { class: "arrow" });
    const touch = svg("path", { class: "touch" });
    const texts = ["rate", "share", "sub"].map((name) => svg("text", { class: name }));
    const box = svg("rect", { rx: 6 });
    const label = svg("g", { tabindex: 0, role: "button" }, box, ...texts);
    const group = svg("g", {}, line, head, touch);
    this.#pressable(label, { edge: id });
    touch.addEventListener("click", () => this.#select({ edge: id }));
    this.#edgeLayer.append(group);
    this.#labelLayer.append(label);
    const parts = { group, line, head, touch, label, box, texts };
    this.#edges.set(id, parts);
    return parts;
  }

  #showEdge(edge, nodes, selected, near) {
    const { group, line, head, label, texts, points, axis } = this.#edges.get(edge.id);
    const width = edge.count ? Math.min(7, 1.6 + 1.5 * Math.log10(1 + 4 * edge.rate)) : 1.2;
    const size = 7 + 1.2 * width;
    set(line, { d: pathOf(points, axis, size * 0.8), "stroke-width": width.toFixed(2) });
    set(head, { points: arrowOf(points, axis, size) });
    const dim = near && !near.edges.has(edge.id) ? " dim" : "";
    const quiet = edge.count ? "" : " quiet";
    const share = edge.refusedShare;
    set(group, { class: `edge${quiet}${dim}${share === 1 ? " closed" : ""}` });
    set(label, {
      class: `label${quiet}${dim}${share ? " refusing" : edge.failed ? " failing" : ""}`,
      "aria-pressed": selected?.edge === edge.id,
      "aria-label": spoken(edge, nodes),
    });
    // The root of the share: one refused in a hundred must be seen.
    group.style.setProperty("--share", `${Math.round(100 * Math.sqrt(share))}%`);
    this.#write(texts, edge);
  }

  /** On the edge: above and below its line. Beside it: one below the other. */
  #write([rate, share, latency], edge) {
    const beside = this.#direction === "TB";
    const left = -LABELS.TB.width / 2;
    const lines = beside
      ? [rateOf(edge), shareOf(edge), latencyOf(edge)]
      : [[rateOf(edge), shareOf(edge)].filter(Boolean).join(" · "), "", latencyOf(edge)];
    const used = lines.filter(Boolean).length;
    let line = 0;
    [rate, share, latency].forEach((element, index) => {
      const y = beside ? 5 + (line - (used - 1) / 2) * LINE_PX : BESIDE_LINE_PX[index];
      set(element, { x: beside ? left : 0, y, "text-anchor": beside ? "start" : "middle" });
      say(element, lines[index]);
      if (lines[index]) line += 1;
    });
  }

  #pressable(element, selection) {
    const press = () => this.#select(selection);
    element.addEventListener("click", press);
    element.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      press();
    });
  }
}

function rateOf(edge) {
  return edge.count ? format.rate(edge.rate) : "quiet";
}

function shareOf(edge) {
  if (edge.refused) return `${format.percent(edge.refusedShare)} refused`;
  return edge.failed ? `${format.percent(edge.failedShare)} failed` : "";
}

function latencyOf(edge) {
  return edge.p50 === null ? "" : format.durations(edge.p50, edge.p99);
}

function spoken(edge, nodes) {
  const name = (id) => nodes.find((node) => node.id === id)?.name ?? id;
  const latency = `, p50 ${format.duration(edge.p50)}, p99 ${format.duration(edge.p99)}`;
  const traffic = [rateOf(edge), shareOf(edge)].filter(Boolean).join(", ");
  const said = `${name(edge.from)} to ${name(edge.to)}: ${traffic}`;
  return edge.p50 === null ? said : said + latency;
}

/** What belongs to the selection, the rest is dimmed; null where nothing is selected. */
function neighbourhood(edges, selected) {
  if (selected === null) return null;
  const touched = edges.filter(({ id, from, to }) =>
    selected.edge === undefined ? [from, to].includes(selected.node) : id === selected.edge,
  );
  const nodes = new Set(touched.flatMap(({ from, to }) => [from, to]));
  if (selected.node !== undefined) nodes.add(selected.node);
  return { edges: new Set(touched.map(({ id }) => id)), nodes };
}
