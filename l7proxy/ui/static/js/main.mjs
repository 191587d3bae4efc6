// Puts the page together: the stream feeds the state, the state is drawn once a second.

import { Detail } from "./detail.mjs";
import { byId, say, set } from "./dom.mjs";
import { readLine } from "./flows.mjs";
import * as format from "./format.mjs";
import { Graph } from "./graph.mjs";
import { List, rows } from "./list.mjs";
import { Requests, filter } from "./requests.mjs";
import { Shown, narrowed } from "./shown.mjs";
import { FlowStream } from "./stream.mjs";
import { showRoads, showTotals } from "./totals.mjs";
import { Traffic } from "./traffic.mjs";

const DRAW_MS = 1000;
const SOON_MS = 150;
const STATUS_MS = 5000;
const IDLE_NAMES = 12;

const requests = new Requests();
const detail = new Detail();
const graph = new Graph(byId("map"), select);
const shown = new Shown();
const list = new List(byId("list"), (request) => detail.open(request));

let skew = 0; // the server's clock less this browser's, in milliseconds
let traffic = new Traffic(now());
let lost = 0;
let selected = null;
let held = false; // the list, by the button
let reading = false; // the list, since the pointer or the focus is in it
let drawing = null;
let known = { status: null, workloads: null };
let away = "";

function now() {
  return Date.now() + skew;
}

function arrived(lines) {
  for (const line of lines) {
    const read = readLine(line);
    if (read === null) continue;
    if (read.lost !== undefined) lost += read.lost;
    else if (requests.add(read.request)) traffic.add(read.request, now());
  }
  drawSoon();
}

function opened(date) {
  if (date !== null) skew = date - Date.now();
  if (away) requests.reopened();
  else traffic = new Traffic(now());
  away = "";
  connection("live", "live");
  refresh();
}

function ended(message) {
  away = message;
  connection("away", "trying again");
  draw();
}

function connection(state, text) {
  set(byId("connection"), { "data-state": state });
  say(byId("connection"), text);
}

/** What the agent says of itself; where it says nothing, what is known stays. */
async function refresh() {
  const [status, found] = await Promise.all([ask("/api/status"), ask("/api/workloads")]);
  known = { status: status ?? known.status, workloads: found?.workloads ?? known.workloads };
  draw();
}

async function ask(path) {
  try {
    const response = await fetch(path, { cache: "no-store" });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

function select(selection) {
  const same = JSON.stringify(selection) === JSON.stringify(selected);
  selected = same ? null : selection;
  // Who looks at a workload wants its traffic, not only what was refused of it.
  if (selected !== null) document.querySelector("input[value=all]").checked = true;
  draw();
}

function drawSoon() {
  drawing ??= setTimeout(draw, SOON_MS);
}

function draw() {
  clearTimeout(drawing);
  drawing = null;
  const snapshot = traffic.snapshot(now());
  showTotals(snapshot, lost);
  showRoads(known.status?.roads, snapshot);
  showHeader();
  showEmpty(snapshot);
  const edges = shown.pick(snapshot.edges, selected);
  showSpan(snapshot, edges.length);
  graph.update(narrowed(snapshot, edges), selected);
  showSelection(snapshot);
  if (!held && !reading) showList();
}

function showHeader() {
  const { status } = known;
  say(byId("node"), status?.node ?? "");
  const policy = status?.policy;
  say(
    byId("policy"),
    policy
      ? `${format.plural(policy.policies, "policy", "policies")}, ` +
          `${format.plural(policy.rules, "rule")}, revision ${policy.revision}`
      : "",
  );
  const errors = status?.errors ?? [];
  const faults = errors.length ? `The last good policies stay in force: ${errors.join("; ")}` : "";
  const problem = away || faults;
  say(byId("problem"), problem);
  byId("problem").hidden = !problem;
}

function showSpan({ edges, span }, count) {
  const few = count < edges.length ? `, ${count} of ${edges.length} pairs` : "";
  say(byId("span"), edges.length ? `the last ${Math.ceil(span)} s${few}` : "");
}

function showEmpty({ nodes }) {
  const empty = nodes.length === 0;
  byId("empty").hidden = !empty;
  byId("map").hidden = empty;
  if (empty) {
    say(byId("empty-title"), away ? "No agent" : "No traffic now");
    say(byId("empty-text"), away ? away : waiting());
  }
  const busy = new Set(nodes.map(({ id }) => id));
  const idle = (known.workloads ?? [])
    .filter(({ namespace, name }) => !busy.has(`${namespace}/${name}`))
    .map(({ name }) => name);
  const more = idle.length > IDLE_NAMES ? ` and ${idle.length - IDLE_NAMES} more` : "";
  byId("idle").hidden = idle.length === 0;
  say(byId("idle"), `Without traffic: ${idle.slice(0, IDLE_NAMES).join(", ")}${more}`);
}

function waiting() {
  if (known.workloads === null) return "";
  const count = known.workloads.length;
  if (!count) return "The agent knows no workloads: see workloads in its configuration.";
  return (
    `The agent knows ${format.plural(count, "workload")}. ` +
    "Requests between them appear here as they are made."
  );
}

function showSelection({ nodes, edges }) {
  byId("selection").hidden = selected === null;
  if (selected === null) return;
  const name = (id) => nodes.find((node) => node.id === id)?.name ?? id;
  const edge = edges.find(({ id }) => id === selected.edge);
  const text = edge ? `${name(edge.from)} → ${name(edge.to)}` : name(selected.node);
  say(byId("selection-text"), text);
}

function showList() {
  const show = document.querySelector("input[name=show]:checked").value;
  const text = byId("search").value;
  const found = requests.newest(filter({ show, text, selected }), rows());
  list.show(found);
  byId("nothing").hidden = found.length > 0;
  const narrowed = text.trim() || selected !== null;
  const nothing = { refused: "Nothing was refused.", failed: "Nothing failed.", all: "No requests." };
  say(byId("nothing"), narrowed ? "No request matches the filter." : nothing[show]);
}

function hold(on) {
  held = on;
  set(byId("hold"), { "aria-pressed": on });
  say(byId("hold"), on ? "Resume" : "Pause");
  draw();
}

/** Rows must not move away under a pointer or from behind the focus. */
function read(on) {
  reading = on;
  byId("reading").hidden = !on;
  if (!on) drawSoon();
}

byId("list").addEventListener("pointerenter", ({ pointerType }) => read(pointerType === "mouse"));
byId("list").addEventListener("pointerleave", () => read(false));
byId("list").addEventListener("focusin", ({ target }) => read(target.matches(":focus-visible")));
byId("list").addEventListener("focusout", () => read(false));
byId("hold").addEventListener("click", () => hold(!held));
byId("search").addEventListener("input", showList);
byId("unselect").addEventListener("click", () => select(selected));
for (const input of document.querySelectorAll("input[name=show]")) {
  input.addEventListener("change", showList);
}
new ResizeObserver(drawSoon).observe(byId("map").parentElement);
setInterval(draw, DRAW_MS);
setInterval(refresh, STATUS_MS);
draw();
new FlowStream().run({ opened, arrived, ended });
