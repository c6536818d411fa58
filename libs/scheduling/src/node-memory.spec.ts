import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { freeOfNode } from './node-memory.js';

const rooms = fc.array(fc.nat(60), { minLength: 1, maxLength: 8 });

/** What is left of each node when `pages` were taken one by one, each from the next node that has some. */
const taken = (from: readonly number[], pages: number): readonly number[] => {
  const left = [...from];
  let node = 0;
  for (let page = 0; page < pages && left.some((room) => room > 0); page += 1) {
    while ((left[node] ?? 0) === 0) node = (node + 1) % left.length;
    left[node] = (left[node] ?? 0) - 1;
    node = (node + 1) % left.length;
  }
  return left;
};

describe('memory of a NUMA node that nobody has', () => {
  it('is what a host leaves that takes pages of machines of no node from all nodes in turn', () => {
    fc.assert(
      fc.property(rooms, fc.nat(400), (nodes, spread) => {
        for (const [node, left] of taken(nodes, spread).entries()) {
          const free = freeOfNode(nodes, nodes.length, node, spread);
          // The last round may not come to every node.
          expect(left - Math.max(0, free)).toBeGreaterThanOrEqual(0);
          expect(left - Math.max(0, free)).toBeLessThanOrEqual(1);
        }
      }),
    );
  });

  it('grows as the node does, so that a lack says by how much', () => {
    fc.assert(
      fc.property(rooms, fc.nat(400), fc.nat(100), (nodes, spread, more) => {
        const larger = nodes.with(0, (nodes[0] ?? 0) + more);
        expect(freeOfNode(larger, nodes.length, 0, spread)).toBe(freeOfNode(nodes, nodes.length, 0, spread) + more);
      }),
    );
  });

  it('is all that is not reserved where everybody is on a node', () => {
    expect(freeOfNode([5, -2], 2, 0, 0)).toBe(5);
    expect(freeOfNode([5, -2], 2, 1, 0)).toBe(-2);
  });
});
