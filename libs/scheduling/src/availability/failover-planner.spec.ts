import { describe, expect, it } from 'vitest';
import { GIB, requestFor } from '../scheduler.spec-fixture.js';
import { ALWAYS, FailoverFleet, host } from './failover.spec-fixture.js';

const three = (gib = 8): FailoverFleet => new FailoverFleet([host('a', gib), host('b', gib), host('c', gib)]);

const gib = (count: number) => ({ memoryBytes: count * GIB });

/** Of the machine `db`, which comes from a host. */
const movedFrom = (exceptHost: string) => ({ exceptHost, virtualMachine: requestFor('db').virtualMachine });

describe('the planner of failovers', () => {
  it('has a plan for the loss of a host whose machines fit elsewhere', () => {
    const fleet = three();
    fleet.place('web', 'a', gib(4));
    fleet.place('db', 'b', gib(6));
    expect(fleet.seats('a')).toEqual({ web: 'c' });
    expect(Object.keys(fleet.seats('b'))).toEqual(['db']);
  });

  it('names what is short when the machines of a host fit nowhere', () => {
    const fleet = new FailoverFleet([host('a', 16), host('b', 8), host('c', 8)]);
    fleet.place('db', 'a', gib(6));
    fleet.place('one', 'b', gib(4));
    fleet.place('two', 'c', gib(5));
    expect(fleet.verdict('a')).toBe('impossible');
    expect(fleet.whyNot('a')).toBe('default/db needs 6Gi, the most that is free on another host is 4Gi');
    expect(fleet.verdict('b')).toBe('covered');
  });

  it('proves by going through all ways that machines which would fit in total do not', () => {
    const fleet = new FailoverFleet([host('a', 40), host('b', 10), host('c', 10)]);
    for (const [number, size] of [4, 4, 4, 6].entries()) fleet.place(`m${number}`, 'a', gib(size));
    // 6+4 and 4+4: fits. With 5 instead of one 4: 6+4 on one, 5+4 on the other.
    expect(fleet.verdict('a')).toBe('covered');
    fleet.remove('m0');
    fleet.place('m4', 'a', gib(7));
    // 7, 6, 4, 4 on 10 and 10: 7 leaves 3, 6 leaves 4.
    expect(fleet.verdict('a')).toBe('impossible');
  });

  it('moves machines of a plan out of the way of larger ones', () => {
    const fleet = new FailoverFleet([host('a', 40), host('b', 10), host('c', 9)]);
    for (const [number, size] of [5, 5, 3, 3, 3].entries()) fleet.place(`m${number}`, 'a', gib(size));
    expect(fleet.verdict('a')).toBe('covered');
  });

  it('counts only machines that are to be restarted always', () => {
    const fleet = three();
    fleet.place('db', 'a', { ...gib(8), ha: { ...ALWAYS, restart: 'best-effort' } });
    fleet.place('one', 'b', { ...gib(8), ha: undefined });
    fleet.place('two', 'c', { ...gib(8), ha: undefined });
    expect(fleet.verdict('a')).toBe('covered');
  });

  it('ends machines that need not be restarted, where the cluster allows it, and says which', () => {
    const hosts = [host('a', 8), host('b', 8)];
    const fleet = new FailoverFleet(hosts, { eviction: 'LowerTiers' });
    fleet.place('db', 'a', gib(6));
    fleet.place('batch', 'b', { ...gib(3), ha: undefined });
    fleet.place('small', 'b', { ...gib(1), ha: undefined });
    fleet.place('nice', 'b', { ...gib(3), ha: { ...ALWAYS, restart: 'best-effort' } });
    const { plan } = fleet.scenario('a');
    expect(plan.verdict === 'covered' && plan.evicted.map(({ placement }) => placement).sort()).toEqual([
      'batch',
      'nice',
    ]);
    fleet.remove('nice');
    fleet.remove('small');
    fleet.remove('batch');
    const relieved = fleet.scenario('a').plan;
    expect(relieved.verdict === 'covered' && relieved.evicted).toEqual([]);
  });

  it('restarts machines of one word on different hosts', () => {
    const fleet = three();
    fleet.place('one', 'a', { antiAffinity: 'web' });
    fleet.place('two', 'b', { antiAffinity: 'web' });
    expect(fleet.seats('a')).toEqual({ one: 'c' });
    fleet.place('three', 'c', { antiAffinity: 'web' });
    expect(fleet.verdict('a')).toBe('impossible');
    expect(fleet.whyNot('a')).toContain('finds no other host that its rules allow');
  });

  it('keeps machines far from those that are restarted in the same plan, and from those that stay', () => {
    const far = {
      labels: { app: 'db' },
      affinity: {
        virtualMachineAntiAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [
            { labelSelector: { matchLabels: { app: 'db' } }, topologyKey: 'rack' },
          ],
        },
      },
    };
    const rack = (name: string, rackName: string) => host(name, 8, { labels: { rack: rackName } });
    const fleet = new FailoverFleet([rack('a', 'r1'), rack('b', 'r1'), rack('c', 'r2'), rack('d', 'r2')]);
    fleet.place('one', 'a', far);
    fleet.place('two', 'c', far);
    expect(fleet.seats('a')).toEqual({ one: 'b' });
    expect(fleet.seats('c')).toEqual({ two: 'd' });
    // A third of them in the first rack would be a broken rule already; one that comes to be meant there is noticed.
    fleet.place('other', 'b', { labels: { app: 'db' } });
    expect(fleet.verdict('a')).toBe('impossible');
    fleet.remove('other');
    expect(fleet.verdict('a')).toBe('covered');
  });

  it('keeps machines near to their company, which may be restarted with them', () => {
    const near = {
      affinity: {
        virtualMachineAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [
            { labelSelector: { matchLabels: { app: 'db' } }, topologyKey: 'kubernetes.io/hostname' },
          ],
        },
      },
    };
    const fleet = three();
    fleet.place('db', 'a', { labels: { app: 'db' } });
    fleet.place('web', 'a', near);
    const seats = fleet.seats('a');
    expect(seats['web']).toBe(seats['db']);
  });

  it('takes no host that is not open, has another taint or lacks what is counted', () => {
    const gpu = { resources: { gpu: 1 } };
    const fleet = new FailoverFleet([
      host('a', 8, gpu),
      host('b', 8),
      host('c', 8, { ...gpu, taints: [{ key: 'own', value: '', effect: 'NoSchedule' }] }),
      host('d', 8, { ...gpu, unschedulable: true }),
    ]);
    fleet.place('render', 'a', gpu);
    expect(fleet.verdict('a')).toBe('impossible');
    fleet.putHost(host('d', 8, gpu));
    expect(fleet.seats('a')).toEqual({ render: 'd' });
    fleet.place('other', 'd', { ...gpu, ha: undefined });
    expect(fleet.verdict('a')).toBe('impossible');
  });

  it('needs a NUMA node with room for the whole machine', () => {
    const cell = (number: number) => ({ memoryBytes: number * GIB, vcpus: 8, pin: '0-7' });
    const fleet = new FailoverFleet([
      host('a', 16, { cells: [cell(8), cell(8)] }),
      host('b', 16, { cells: [cell(4), cell(12)] }),
      host('c', 16, { cells: [cell(8), cell(8)] }),
    ]);
    fleet.place('whole', 'a', { ...gib(10), numa: 'single-numa-node' });
    expect(fleet.seats('a')).toEqual({ whole: 'b' });
  });

  it('says that a machine which is bound to its host can be restarted nowhere', () => {
    const fleet = three();
    fleet.place('bound', 'a', { host: 'a' });
    expect(fleet.whyNot('a')).toBe('default/bound could be restarted nowhere: it may run on host a only');
  });

  it('plans for the loss of any two hosts', () => {
    const hosts = ['a', 'b', 'c', 'd'].map((name) => host(name, 8));
    const fleet = new FailoverFleet(hosts, { hostFailures: 2 });
    for (const name of ['a', 'b', 'c', 'd']) fleet.place(`on-${name}`, name, gib(4));
    expect(fleet.verdict('a', 'b')).toBe('covered');
    expect(Object.values(fleet.seats('c', 'd')).sort()).toEqual(['a', 'b']);
    fleet.place('more', 'a', gib(1));
    expect(fleet.verdict('b', 'c')).toBe('impossible');
    expect(fleet.verdict('b')).toBe('covered');
  });

  it('refuses a machine on a host where a loss that is covered would no longer be', () => {
    const fleet = three();
    fleet.place('db', 'a', gib(6));
    fleet.place('one', 'b', gib(4));
    // Only c has room for db.
    expect(fleet.refusal('c', gib(3))).toContain('default/db needs 6Gi');
    expect(fleet.refusal('c', gib(2))).toBeNull();
    expect(fleet.refusal('b', gib(2))).toBeNull();
    expect(fleet.refusal('a', gib(2))).toBeNull();
    expect(fleet.refusal('a', { ...gib(2), host: 'a' })).toContain('could be restarted nowhere');
  });

  it('refuses nothing for a loss that is not covered anyway', () => {
    const fleet = three();
    fleet.place('bound', 'a', { host: 'a' });
    expect(fleet.refusal('b', gib(2))).toBeNull();
    expect(fleet.refusal('a', gib(2))).toContain('bound could be restarted nowhere');
    expect(fleet.refusal('a', { ...gib(2), ha: undefined })).toBeNull();
  });

  it('counts machines on their way, until they have come or come to nothing', () => {
    const fleet = three();
    fleet.place('db', 'a', gib(6));
    fleet.place('one', 'b', gib(4));
    const promised = { placement: 'new', slot: fleet.own.slot('c'), cell: undefined };
    const request = { ...(fleet.machines.get('one')?.request ?? {}), ha: undefined } as never;
    fleet.book.promise({ ...promised, request }, 0);
    expect(fleet.verdict('a')).toBe('impossible');
    fleet.book.breakPromise('new');
    expect(fleet.verdict('a')).toBe('covered');
  });

  describe('of a machine that moves', () => {
    const moving = (): FailoverFleet => {
      const fleet = three();
      fleet.place('db', 'a', gib(6));
      fleet.place('db>', 'b', { ...gib(6), ...movedFrom('a') });
      return fleet;
    };

    it('counts it where it goes', () => {
      const fleet = moving();
      expect(fleet.seats('a')).toEqual({});
      expect(Object.keys(fleet.seats('b'))).toEqual(['db>']);
      expect(fleet.refusal('c', gib(6))).toBeNull();
      fleet.remove('db');
      expect(Object.keys(fleet.seats('b'))).toEqual(['db>']);
    });

    it('counts it where it was once it does not go', () => {
      const fleet = moving();
      fleet.remove('db>');
      expect(Object.keys(fleet.seats('a'))).toEqual(['db']);
      expect(fleet.seats('b')).toEqual({});
    });

    it('takes its target for a host among others once it is there', () => {
      const fleet = three();
      fleet.place('db>', 'b', { ...gib(6), ...movedFrom('a'), host: 'b' });
      expect(Object.keys(fleet.seats('b'))).toEqual(['db>']);
    });
  });

  it('forgets the word of a machine that was promised, came and went', () => {
    const fleet = three();
    fleet.promise('one', 'b', { antiAffinity: 'web' });
    fleet.place('one', 'b', { antiAffinity: 'web' });
    fleet.remove('one');
    fleet.place('two', 'a', { antiAffinity: 'web' });
    fleet.place('full', 'c', gib(8));
    expect(fleet.seats('a')).toEqual({ two: 'b' });
  });

  it('has nothing to say of hosts of other clusters', () => {
    const fleet = new FailoverFleet([host('a', 8), host('b', 8), host('x', 80, { cluster: 'other' })]);
    fleet.place('db', 'a', gib(6));
    fleet.place('one', 'b', gib(4));
    expect(fleet.verdict('a')).toBe('impossible');
    expect(fleet.refusal('x', gib(70))).toBeNull();
    fleet.putHost(host('x', 80));
    expect(fleet.seats('a')).toEqual({ db: 'x' });
  });
});
