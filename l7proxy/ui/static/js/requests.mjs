// The last requests, and which of them are asked for.

import { edgeId } from "./traffic.mjs";

// Refused requests are kept apart: many served ones must not push out the few refused.
const KEPT = 1000;

/** The newest requests that were served, and the newest that were not. */
export class Requests {
  #served = [];
  #others = [];
  #arrived = 0;
  #before = new Set();

  /** False for one that was there before the stream was opened again. */
  add(request) {
    if (this.#before.has(request.id)) return false;
    const kept = request.kind === "served" ? this.#served : this.#others;
    this.#arrived += 1;
    kept.push({ request, order: this.#arrived });
    if (kept.length > 2 * KEPT) kept.splice(0, kept.length - KEPT);
    return true;
  }

  /** The stream starts again with its last requests: those that are known are no news. */
  reopened() {
    this.#before = new Set([...this.#served, ...this.#others].map(({ request }) => request.id));
  }

  /** At most `limit` requests that `wanted` (see `filter`) accepts, newest first. */
  newest(wanted, limit) {
    const found = [];
    let [a, b] = [this.#served.length - 1, this.#others.length - 1];
    while (found.length < limit && (a >= 0 || b >= 0)) {
      const served = b < 0 || (a >= 0 && this.#served[a].order > this.#others[b].order);
      const { request } = served ? this.#served[a--] : this.#others[b--];
      if (wanted(request)) found.push(request);
    }
    return found;
  }
}

const SHOWN = {
  refused: (request) => request.kind === "refused" || request.kind === "audit",
  failed: (request) => request.kind === "failed",
  all: () => true,
};

/**
 * The predicate for what is shown. `show` is a key of SHOWN; every word of `text` must be in the
 * request; `selected` is null, { node: id } or { edge: id }.
 */
export function filter({ show = "all", text = "", selected = null }) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const kind = SHOWN[show];
  return (request) =>
    kind(request) && isAtSelected(request, selected) && hasWords(request, words);
}

function isAtSelected({ from, to }, selected) {
  if (selected?.node !== undefined) return from.id === selected.node || to.id === selected.node;
  if (selected?.edge !== undefined) return edgeId(from.id, to.id) === selected.edge;
  return true;
}

function hasWords(request, words) {
  if (words.length === 0) return true;
  const { from, to } = request;
  const parts = [
    ...[from.id, from.address, to.id, to.address, request.method, request.host, request.target],
    ...[request.status, request.verdict, request.kind, request.reason, request.policy],
    ...[request.rule, request.road, request.port],
  ];
  const text = parts.join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}
