// The agent's flows as they come, opened again whenever they end.

const LAST = 500;
const WAIT_FIRST_MS = 500;
const WAIT_MOST_MS = 5000;
const LINE_CHARACTERS = 1 << 20;

/** The lines of a body of UTF-8; one without an end is cut off, one beyond reason is left out. */
export async function* lines(body) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const piece of chunks(body)) {
    const parts = (rest + decoder.decode(piece, { stream: true })).split("\n");
    rest = parts.pop();
    if (rest.length > LINE_CHARACTERS) rest = "";
    yield parts.filter(Boolean);
  }
}

/** Not every browser lets a stream be iterated. */
async function* chunks(body) {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * Follows the flows for as long as the page is open.
 *
 * `opened(date)` is called when a stream begins, with the server's time in milliseconds or null;
 * `arrived(lines)` with what came; `ended(message)` when there is none, with the reason.
 */
export class FlowStream {
  #fetch;
  #pause;

  constructor({ fetch = globalThis.fetch.bind(globalThis), pause = sleep } = {}) {
    this.#fetch = fetch;
    this.#pause = pause;
  }

  async run({ opened, arrived, ended }) {
    let wait = WAIT_FIRST_MS;
    for (;;) {
      const message = await this.#once(opened, arrived, () => (wait = WAIT_FIRST_MS));
      if (ended(message) === false) return;
      await this.#pause(wait);
      wait = Math.min(2 * wait, WAIT_MOST_MS);
    }
  }

  /** One stream, from its request to its end; why it ended. */
  async #once(opened, arrived, began) {
    let response;
    try {
      response = await this.#fetch(`/api/flows?last=${LAST}`, { cache: "no-store" });
    } catch {
      return "The server of this page does not answer; start it again with: l7proxy ui";
    }
    if (!response.ok) return problem(response);
    began();
    opened(Date.parse(response.headers.get("Date")) || null);
    try {
      for await (const batch of lines(response.body)) arrived(batch);
    } catch {
      // The connection broke off, which ends the stream as a regular end does.
    }
    return "The agent has gone away";
  }
}

/** What the server said was wrong. */
export async function problem(response) {
  try {
    const { error } = await response.json();
    if (typeof error === "string") return error;
  } catch {
    // Not from our server, or cut short: the status has to do.
  }
  return `the answer has status ${response.status}`;
}

function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
