// One request in full: what was recorded of it, and what the policy says of it now.

import { byId, html, say } from "./dom.mjs";
import { differs, explain, linesOf } from "./explain.mjs";
import * as format from "./format.mjs";

const VERDICTS = { served: "Served", refused: "Refused", failed: "Failed", audit: "Audited" };

export class Detail {
  #dialog = byId("detail");
  #shown = null;

  constructor() {
    byId("detail-close").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    this.#dialog.addEventListener("close", () => (this.#shown = null));
  }

  /** Opens the dialog and asks the agent. */
  async open(request) {
    this.#shown = request;
    say(byId("detail-title"), `${request.method} ${request.target}`.trim() || "A connection");
    fill(byId("happened"), happened(request));
    byId("answer").replaceChildren(html("p", { class: "note" }, "Asking the agent …"));
    if (!this.#dialog.open) this.#dialog.showModal();
    let shown;
    try {
      shown = answered(request, await explain(request));
    } catch (error) {
      shown = [html("p", { class: "callout" }, error.message)];
    }
    if (this.#shown === request) byId("answer").replaceChildren(...shown);
  }
}

function happened(request) {
  const { from, to, port, status, reason, latency } = request;
  const verdict = VERDICTS[request.kind];
  const client = [from.id.replace(/^reserved:/, ""), from.address].filter(Boolean).join(", ");
  const server = [to.id.replace(/^reserved:/, ""), to.address].filter(Boolean).join(", ");
  return [
    ["Verdict", status === null ? verdict : `${verdict} with status ${status}`],
    ["Reason", format.words(reason)],
    ["Policy", request.policy],
    ["Rule", request.rule],
    ["From", client],
    ["To", port === null ? server : `${server}, port ${port}`],
    ["Host", request.host],
    ["Road", request.road],
    ["Backend", request.backend],
    ["First byte", latency === null ? "" : `after ${format.duration(latency)}`],
    ["Time", request.time === null ? "" : new Date(request.time).toLocaleString()],
  ].filter(([, text]) => text);
}

function answered(request, found) {
  const { answer, nearest } = found;
  const refused = answer.verdict === "DROPPED";
  const parts = [
    html(
      "p",
      { class: `verdict ${refused ? "refused" : "served"}` },
      refused ? "Refused" : "Served",
      html("span", { class: "note" }, ` ${format.words(answer.reason)}`),
    ),
    fill(html("dl", { class: "facts" }), linesOf(found)),
  ];
  if (nearest) {
    parts.push(
      html("h4", {}, "Nearest rule that did not match"),
      html("p", { class: "callout nearest" }, nearest),
    );
  }
  if (differs(request, found)) {
    parts.push(
      html(
        "p",
        { class: "callout" },
        "This is not what was recorded: the policy has changed since, the request failed later, " +
          "or a rule looks at headers, of which the record holds Host alone.",
      ),
    );
  }
  return parts;
}

function fill(list, pairs) {
  list.replaceChildren(
    ...pairs.map(([label, text]) => html("div", {}, html("dt", {}, label), html("dd", {}, text))),
  );
  return list;
}
