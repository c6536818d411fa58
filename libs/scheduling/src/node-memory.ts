/**
 * Memory of one NUMA node that nobody has, in whole bytes; negative: by so much it would have to be larger. `rooms`: the memory of each of the first `nodes`
 * nodes less what is reserved there; `spread`: what machines of no node have of the host. Xen takes their memory from all nodes evenly, and from the others
 * where one is full (xen/common/page_alloc.c `alloc_heap_pages`, without affinity), so that the node has as much of it as if it had room for its share.
 */
export const freeOfNode = (rooms: ArrayLike<number>, nodes: number, node: number, spread: number): number => {
  let share = Math.max(0, spread) / nodes;
  for (let before = -1; share !== before;) {
    before = share;
    let [rest, sharing] = [Math.max(0, spread), 1];
    for (let other = 0; other < nodes; other += 1) {
      if (other === node) continue;
      const room = Math.max(0, rooms[other] ?? 0);
      if (room < before) rest -= room;
      else sharing += 1;
    }
    share = rest / sharing;
  }
  return (rooms[node] ?? 0) - Math.ceil(share);
};
