// The line of numbers on top.

import { byId, html, say } from "./dom.mjs";
import * as format from "./format.mjs";

/** Shows the totals of a snapshot, and how many records were lost since the page was opened. */
export function showTotals({ totals, span }, lost) {
  say(byId("total-rate"), format.rate(totals.rate));
  say(byId("total-refused"), format.rate(totals.refusedRate));
  say(byId("total-failed"), format.rate(totals.failed / span));
  say(byId("total-lost"), format.count(lost));
  say(byId("total-share"), totals.refused ? `${format.percent(totals.refusedShare)} of all` : "none");
  const latency = `p50 ${format.duration(totals.p50)} · p99 ${format.duration(totals.p99)}`;
  say(byId("total-latency"), totals.p50 === null ? "no answers" : latency);
  say(byId("lost-note"), lost ? "rates are too low" : "nothing missing");
  byId("total-refused").classList.toggle("some", totals.refused > 0);
  byId("total-failed").classList.toggle("some", totals.failed > 0);
  byId("total-lost").classList.toggle("some", lost > 0);
}

/** Shows for each road the requests that take it now, and the connections that ever took it. */
export function showRoads(connections, { totals }) {
  const rates = new Map(totals.roads.map(({ road, rate }) => [road, rate]));
  const roads = [...new Set([...Object.keys(connections ?? {}), ...rates.keys()])];
  const row = (label, cells) =>
    html("tr", {}, html("th", { scope: "row" }, label), ...cells.map((text) => html("td", {}, text)));
  byId("roads").replaceChildren(
    html("tr", {}, html("td"), ...roads.map((road) => html("th", { scope: "col" }, road))),
    row("requests", roads.map((road) => (rates.has(road) ? format.rate(rates.get(road)) : "–"))),
    row("connections", roads.map((road) => format.count(connections?.[road] ?? 0))),
  );
}
