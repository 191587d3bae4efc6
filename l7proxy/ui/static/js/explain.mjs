// What the policy says of a request now, and how that differs from what was recorded.

import { problem } from "./stream.mjs";

/** The agent's question for a recorded request; `nameOf` says whom it should take an end for. */
export function questionFor(request, nameOf = byName) {
  return {
    from: nameOf(request.from),
    to: nameOf(request.to),
    port: request.port ?? 0,
    method: request.method || "GET",
    target: request.target || "/",
    headers: request.host ? [["Host", request.host]] : [],
  };
}

/** A workload, the host, or an address of the world. */
function byName(peer) {
  if (peer.kind === "workload") return peer.id;
  return peer.name === "host" ? "host" : peer.address || peer.name;
}

/** A workload by its labels, which those who took its place have too. */
export function byLabels(peer) {
  const labels = (peer.labels ?? []).filter((label) => !label.includes(","));
  if (!labels.length) return byName(peer);
  return [...labels, `io.kubernetes.pod.namespace=${peer.namespace}`].join(",");
}

/** The agent's document, as `explain -o json` and people read it. Throws Error with a message. */
export async function explain(request, { fetch = globalThis.fetch.bind(globalThis) } = {}) {
  let response = await ask(fetch, questionFor(request));
  // The agent may know the workload no more, by this name.
  if (response.status === 400) response = await ask(fetch, questionFor(request, byLabels));
  if (!response.ok) throw new Error(await problem(response));
  return response.json();
}

async function ask(fetch, question) {
  try {
    return await fetch("/api/explain", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(question),
    });
  } catch {
    throw new Error("The server of this page does not answer");
  }
}

const REFUSED_AT_L4 = 28;

/** The lines of an answer that say something, as [label, text], the most telling first. */
export function linesOf({ answer, exit_code: code, meaning, road_reason: why, notes }) {
  const road = code === REFUSED_AT_L4 ? "refused" : answer.road;
  return [
    ["Reason", meaning],
    ["Policy", answer.policy],
    ["Rule", answer.rule],
    ["Road", why ? `${road}: ${why}` : road],
    ["Backend", answer.backend],
    ["Note", (notes ?? []).join("; ")],
  ].filter(([, text]) => text);
}

/** Whether the request would now fare otherwise than it did. */
export function differs(request, { answer }) {
  const was = request.kind === "refused" ? "DROPPED" : "FORWARDED";
  return answer.verdict !== was;
}
