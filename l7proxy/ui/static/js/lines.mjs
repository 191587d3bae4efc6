// How an edge is drawn through the points that its layout gives it.

/**
 * A path through `points` that leaves and meets each of them along the main axis, "x" or "y", and
 * ends `gap` pixels before the last, where the arrow's head begins. Three points that come back to
 * where they started are a loop.
 */
export function pathOf(points, main, gap = 0) {
  const across = main === "x" ? "y" : "x";
  const tip = points.at(-1);
  const ends = [...points.slice(0, -1), { ...tip, [main]: tip[main] - heading(points, main) * gap }];
  let path = `M${at(ends[0])}`;
  if (points.length === 3 && points[0][main] === tip[main]) {
    // A curve comes three quarters of the way to what it bends to.
    const bent = tip[main] + (points[1][main] - tip[main]) / 0.75;
    const bend = (end) => at({ [main]: bent, [across]: end[across] });
    return `${path}C${bend(ends[0])} ${bend(ends[2])} ${at(ends[2])}`;
  }
  for (let index = 1; index < ends.length; index += 1) {
    const [from, to] = [ends[index - 1], ends[index]];
    const middle = (from[main] + to[main]) / 2;
    const bend = (end) => at({ [main]: middle, [across]: end[across] });
    path += from[across] === to[across] ? `L${at(to)}` : `C${bend(from)} ${bend(to)} ${at(to)}`;
  }
  return path;
}

/** The corners of the arrow's head at the end of `points`; `size` is its length in pixels. */
export function arrowOf(points, main, size) {
  const across = main === "x" ? "y" : "x";
  const tip = points.at(-1);
  const back = tip[main] - heading(points, main) * size;
  const corner = (side) => ({ [main]: back, [across]: tip[across] + side });
  return [tip, corner(size / 2), corner(-size / 2)].map(at).join(" ");
}

/** Which way the end of `points` goes along the main axis: 1 or -1. */
function heading(points, main) {
  const tip = points.at(-1);
  const before = points.findLast((point) => Math.abs(point[main] - tip[main]) > 0.5);
  return before !== undefined && before[main] > tip[main] ? -1 : 1;
}

function at({ x, y }) {
  return `${x.toFixed(1)},${y.toFixed(1)}`;
}
