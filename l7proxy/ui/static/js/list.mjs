// The stream of requests: rows, newest first, kept from one update to the next.

import { ONE_COLUMN, html } from "./dom.mjs";
import * as format from "./format.mjs";

/** How many rows are worth having: few where they make the whole page longer. */
export const rows = () => (ONE_COLUMN.matches ? 30 : 150);

export class List {
  #host;
  #open;
  #rows = new Map();

  /** Rows go into the list element `host`; `open` is called with the request of a row. */
  constructor(host, open) {
    this.#host = host;
    this.#open = open;
  }

  /** Shows these requests in this order. */
  show(requests) {
    const wanted = new Set(requests);
    for (const [request, row] of this.#rows) {
      if (wanted.has(request)) continue;
      row.remove();
      this.#rows.delete(request);
    }
    let next = this.#host.firstElementChild;
    for (const request of requests) {
      const row = this.#rows.get(request);
      if (row !== undefined && row === next) {
        next = next.nextElementSibling;
      } else {
        this.#host.insertBefore(row ?? this.#newRow(request), next);
      }
    }
  }

  #newRow(request) {
    const button = html(
      "button",
      { type: "button", class: request.kind },
      html(
        "span",
        { class: "what" },
        html("span", { class: "status" }, statusOf(request)),
        html("span", { class: "target" }, html("b", {}, request.method), " ", request.target),
        html("time", {}, format.clock(request.time)),
      ),
      html(
        "span",
        { class: "who" },
        html("span", {}, `${request.from.name} → ${request.to.name}`),
        html("span", { class: "why" }, whyOf(request)),
      ),
    );
    button.addEventListener("click", () => this.#open(request));
    const row = html("li", {}, button);
    this.#rows.set(request, row);
    return row;
  }
}

/** The status that the client got, or in a word what it got instead. */
export function statusOf({ status, kind }) {
  return status === null ? (kind === "served" ? "–" : "none") : String(status);
}

/** Who decided, and how in short. */
export function whyOf(request) {
  const latency = request.latency === null ? "" : format.duration(request.latency);
  const decider = format.decider(request);
  if (request.kind === "served") return [decider, latency].filter(Boolean).join(" · ");
  const reason = format.words(request.reason);
  if (request.kind === "failed") return reason || "failed";
  const audit = request.kind === "audit" ? "audit" : "";
  // A rule's name tells more than that there was one.
  return [audit, decider, request.rule ? "" : reason].filter(Boolean).join(" · ") || "refused";
}
