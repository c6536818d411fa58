import { describe, expect, it } from 'vitest';
import type { User } from '../http/api-request.js';
import type { StatusError } from '../http/status.js';
import type { Watching } from '../watch/watch-session.js';
import { WatchRegistry } from './watch-registry.js';

const attributes = { verb: 'watch', kind: { group: 'network.xenolith.dev', plural: 'networks' } };

/** Everything that was promised has happened. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('watches of users whom a cluster sent', () => {
  const user: User = { name: 'tina', groups: [], provenBy: 'cluster' };

  const setUp = () => {
    let answer: () => Promise<boolean> = () => Promise.resolve(true);
    let rightsChange: () => void = () => undefined;
    let asked = 0;
    const revoked: StatusError[] = [];
    const session: Watching = { pendingBytes: 0, stop: () => undefined, revoke: (error) => revoked.push(error) };
    const registry = new WatchRegistry({ onChange: (listener) => (rightsChange = listener) }, () => {
      asked += 1;
      return answer();
    });
    registry.add(session, { user, attributes });
    return {
      registry,
      revoked,
      asked: () => asked,
      changeRights: () => rightsChange(),
      answers: (next: () => Promise<boolean>) => (answer = next),
    };
  };

  it('end when the cluster says that they may not be any more, and not because it says nothing', async () => {
    const { registry, revoked, answers } = setUp();
    answers(() => Promise.reject(new Error('it does not answer')));
    registry.askCluster();
    await settled();
    expect(revoked).toEqual([]);
    answers(() => Promise.resolve(false));
    registry.askCluster();
    await settled();
    expect(revoked).toMatchObject([{ code: 403 }]);
  });

  it('are not asked about when roles of the platform change, which mean nothing to them', () => {
    const { changeRights, asked } = setUp();
    const before = asked();
    changeRights();
    expect(asked()).toBe(before);
  });
});
