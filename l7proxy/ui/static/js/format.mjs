// Numbers and names in the words that people read.

/** Requests per second, or per minute where they are rare. */
export function rate(perSecond) {
  if (perSecond <= 0) return "0/s";
  if (perSecond < 0.095) return `${Math.max(1, Math.round(perSecond * 60))}/min`;
  if (perSecond < 9.95) return `${perSecond.toFixed(1)}/s`;
  return `${count(Math.round(perSecond))}/s`;
}

/** A whole number, from ten thousand on in thousands. */
export function count(value) {
  if (value < 10_000) return String(value);
  if (value < 1_000_000) return `${Math.round(value / 1000)}k`;
  return `${(value / 1_000_000).toFixed(1)}M`;
}

/** A length of time in seconds; a dash for none. */
export function duration(seconds) {
  if (seconds === null) return "–";
  const milliseconds = seconds * 1000;
  if (milliseconds < 0.995) return `${Math.max(1, Math.round(milliseconds * 1000))} µs`;
  if (milliseconds < 9.95) return `${milliseconds.toFixed(1)} ms`;
  if (milliseconds < 999.5) return `${Math.round(milliseconds)} ms`;
  return `${seconds.toFixed(1)} s`;
}

/** Two lengths of time, with the unit once if both have the same. */
export function durations(a, b) {
  const [[first, unit], [second, other]] = [a, b].map((each) => duration(each).split(" "));
  return unit === other ? `${first} / ${second} ${other}` : `${first} ${unit} / ${second} ${other}`;
}

/** A share from 0 to 1 in percent: what is not all or nothing never looks so. */
export function percent(share) {
  if (share <= 0) return "0%";
  if (share < 0.01) return "<1%";
  if (share < 1 && share > 0.99) return ">99%";
  return `${Math.round(share * 100)}%`;
}

/** The time of day, here where the reader is. */
export function clock(milliseconds) {
  if (milliseconds === null) return "";
  const time = new Date(milliseconds);
  return [time.getHours(), time.getMinutes(), time.getSeconds()]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
}

/** A reason's name as words. */
export function words(reason) {
  return reason.replaceAll("-", " ");
}

/** Who decided: policy and rule, as far as they are known. */
export function decider({ policy, rule }) {
  return [policy, rule].filter(Boolean).join(" › ");
}

/** `one` or `many` with its number. */
export function plural(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

/** Text of at most `length` characters, cut in the middle: the names of pods differ at the end. */
export function shorten(text, length) {
  const letters = Array.from(text);
  if (letters.length <= length) return text;
  const tail = Math.floor((length - 1) * 0.4);
  const head = length - 1 - tail;
  return [...letters.slice(0, head), "…", ...letters.slice(letters.length - tail)].join("");
}
