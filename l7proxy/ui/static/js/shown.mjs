// Which edges the map has room for: nobody reads a map of hundreds, and it takes long to lay out.

export const MOST = 60;

/** Picks edges, and sticks to them while they have traffic: a map that jumps cannot be read. */
export class Shown {
  #before = new Set();

  /**
   * At most MOST of the edges of a snapshot, in its order: what is at the selection, then what
   * has been shown and has traffic, then what has most refused and most requests.
   */
  pick(edges, selected) {
    if (edges.length > MOST) {
      const ranked = edges
        .map((edge) => ({ edge, rank: this.#rank(edge, selected) }))
        .sort((a, b) => compare(b.rank, a.rank))
        .slice(0, MOST);
      const ids = new Set(ranked.map(({ edge }) => edge.id));
      edges = edges.filter(({ id }) => ids.has(id));
    }
    this.#before = new Set(edges.map(({ id }) => id));
    return edges;
  }

  #rank({ id, from, to, count, refused }, selected) {
    const chosen = id === selected?.edge || from === selected?.node || to === selected?.node;
    return [Number(chosen), Number(count > 0 && this.#before.has(id)), refused, count];
  }
}

/** A snapshot with these edges alone, and the nodes that they have. */
export function narrowed(snapshot, edges) {
  const ends = new Set(edges.flatMap(({ from, to }) => [from, to]));
  return { ...snapshot, edges, nodes: snapshot.nodes.filter(({ id }) => ends.has(id)) };
}

function compare(a, b) {
  const at = a.findIndex((value, index) => value !== b[index]);
  return at < 0 ? 0 : a[at] - b[at];
}
