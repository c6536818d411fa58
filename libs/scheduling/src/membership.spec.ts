import { membershipSubject } from '@xenolith/contracts';
import { uuidFrom } from '@xenolith/kernel';
import { MemoryBus, VirtualClock } from '@xenolith/testing';
import { beforeEach, describe, expect, it } from 'vitest';
import { HostShare } from './host-share.js';
import { Membership } from './membership.js';

const HOSTS = Array.from({ length: 64 }, (_, number) => uuidFrom('host', number));

describe('schedulers side by side', () => {
  let clock: VirtualClock;
  let network: MemoryBus;

  beforeEach(() => {
    clock = new VirtualClock();
    network = new MemoryBus(clock);
  });

  const join = async (instance: string): Promise<{ share: HostShare; membership: Membership }> => {
    const share = new HostShare();
    const membership = new Membership(instance, share, { bus: network.connect(instance), clock });
    await membership.start();
    return { share, membership };
  };
  const owners = (shares: readonly HostShare[]): readonly number[] =>
    HOSTS.map((host) => shares.filter((share) => share.has(host)).length);
  const once = HOSTS.map(() => 1);

  it('has all hosts when it is alone', async () => {
    const { share } = await join('a');
    await clock.advance(10_000);
    expect(share.isWhole).toBe(true);
    expect(owners([share])).toEqual(once);
  });

  it('divides the hosts, each to one', async () => {
    const members = [await join('c'), await join('a'), await join('b')];
    await clock.advance(2_000);
    const shares = members.map(({ share }) => share);
    expect(owners(shares)).toEqual(once);
    for (const share of shares) expect(owners([share]).filter((count) => count === 1).length).toBeGreaterThan(8);
  });

  it('takes over what one that stops looked after, at once', async () => {
    const [first, second] = [await join('a'), await join('b')];
    await clock.advance(2_000);
    expect(first.share.isWhole).toBe(false);
    await second.membership.stop();
    await clock.advance(100);
    expect(owners([first.share])).toEqual(once);
  });

  it('takes over what one that fell silent looked after, but not for one lost message', async () => {
    const first = await join('a');
    const other = network.connect('b');
    other.publish(membershipSubject('scheduler'), { instance: 'b', leaving: false });
    await clock.advance(2_000);
    expect(first.share.isWhole).toBe(false);
    await clock.advance(3_000);
    expect(owners([first.share])).toEqual(once);
  });

  it('is not disturbed by what makes no sense', async () => {
    const { share } = await join('a');
    network.connect('b').publish(membershipSubject('scheduler'), { who: 'b' });
    await clock.advance(100);
    expect(share.isWhole).toBe(true);
  });
});
