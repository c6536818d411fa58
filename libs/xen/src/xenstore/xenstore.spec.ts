import { describe, expect, it } from 'vitest';
import * as paths from './paths.js';
import { ANY_DOMAIN, createXenstore, Xenstore, type Permission, type XenstoreState } from './index.js';
import { failing, fresh, OK, start, told } from './xenstore.spec-fixture.js';

/** A home that the guest reads, with a `data` that it owns, as toolstacks make them. */
const withHome = (store: Xenstore, guest: number): Xenstore => {
  const home = paths.domainPath(guest);
  store.mkdir(0, home);
  store.setPermissions(0, home, [
    { domid: 0, access: 'n' },
    { domid: guest, access: 'r' },
  ]);
  store.mkdir(0, paths.guestDataPath(guest));
  store.setPermissions(0, paths.guestDataPath(guest), [{ domid: guest, access: 'n' }]);
  return store;
};

const allowing = (...list: string[]): Permission[] =>
  list.map((entry) => ({ access: entry.charAt(0) as Permission['access'], domid: Number(entry.slice(1)) }));

describe('paths', () => {
  it.each(['', 'a b', '/a/', '//', '/a//b', '/ä', '/a.b', '@releaseDomain', `/${'x'.repeat(3072)}`])(
    'refuses %j',
    (path) => expect(fresh().write(0, path, '').outcome).toEqual(failing('EINVAL')),
  );

  it('counts a guest’s path without its home, up to 2048 bytes', () => {
    const store = withHome(fresh(1), 1);
    const longest = `data/${'x'.repeat(2048 - 5)}`;
    expect(store.read(1, longest)).toEqual(failing('ENOENT'));
    expect(store.read(1, `${longest}x`)).toEqual(failing('EINVAL'));
  });

  it('takes relative ones from the caller’s home', () => {
    const store = withHome(fresh(4), 4);
    store.write(4, 'data/x', '1');
    expect(store.read(0, '/local/domain/4/data/x')).toMatchObject({ value: '1' });
  });

  it('takes no name for one of an object’s own, and no number for a place', () => {
    const store = fresh();
    for (const name of ['__proto__', 'constructor', '10', '9', 'b', '1']) store.write(0, `/t/${name}`, name);
    expect(store.directory(0, '/t')).toMatchObject({ value: ['__proto__', 'constructor', '10', '9', 'b', '1'] });
    expect(store.read(0, '/t/__proto__')).toMatchObject({ value: '__proto__' });
    expect(store.read(0, '/t/toString')).toEqual(failing('ENOENT'));
  });

  it('refuses what no message could hold', () => {
    const store = fresh();
    expect(store.write(0, '/a', 'x'.repeat(4096 - 3)).outcome).toEqual(OK);
    expect(store.write(0, '/a', 'x'.repeat(4096 - 2)).outcome).toEqual(failing('E2BIG'));
  });

  it('are those of xenstore-paths', () => {
    expect([
      paths.frontendPath(3, 'vbd', 51712),
      paths.backendPath({ backend: 0, kind: 'qdisk', frontend: 3, devid: 51712 }),
      paths.libxlDevicePath(3, 'vif', 0),
      paths.cpuAvailabilityPath(3, 1),
      paths.memoryTargetPath(3),
      paths.controlFeaturePath(3, 's3'),
      paths.consolePath(3),
      paths.consolePath(3, 1),
      paths.vmPath('u'),
    ]).toEqual([
      '/local/domain/3/device/vbd/51712',
      '/local/domain/0/backend/qdisk/3/51712',
      '/libxl/3/device/vif/0',
      '/local/domain/3/cpu/1/availability',
      '/local/domain/3/memory/target',
      '/local/domain/3/control/feature-s3',
      '/local/domain/3/console',
      '/local/domain/3/device/console/1',
      '/vm/u',
    ]);
  });
});

describe('nodes', () => {
  it('come with their parents, which are empty; mkdir keeps values', () => {
    const store = fresh();
    store.write(0, '/a/b/c', '1');
    expect(store.read(0, '/a/b')).toMatchObject({ value: '' });
    store.mkdir(0, '/a/b/c');
    expect(store.read(0, '/a/b/c')).toMatchObject({ value: '1' });
  });

  it('go with all below them; a missing one is no error, a missing parent is one, the root stays', () => {
    const store = fresh();
    store.write(0, '/a/b/c', '1');
    expect(store.rm(0, '/a/x').outcome).toEqual(OK);
    expect(store.rm(0, '/x/y').outcome).toEqual(failing('ENOENT'));
    expect(store.rm(0, '/').outcome).toEqual(failing('EINVAL'));
    expect(store.rm(0, '/a').outcome).toEqual(OK);
    expect(store.read(0, '/a/b/c')).toEqual(failing('ENOENT'));
  });

  it('are listed in parts where one reply cannot hold them', () => {
    const store = fresh();
    const names = Array.from({ length: 1000 }, (_, index) => `node-${index}`);
    for (const name of names) store.mkdir(0, `/many/${name}`);
    expect(store.directory(0, '/many')).toEqual(failing('E2BIG'));
    const seen: string[] = [];
    for (let complete = false; !complete;) {
      const offset = seen.reduce((sum, name) => sum + name.length + 1, 0);
      const part = store.directoryPart(0, '/many', offset);
      if (!part.ok) throw new Error(part.errno);
      seen.push(...part.value.names);
      complete = part.value.complete;
      expect(part.value.generation).toBe(store.state.root.children?.['/many']?.generation);
    }
    expect(seen).toEqual(names);
  });
});

describe('permissions', () => {
  const store = (): Xenstore => {
    const made = fresh(1, 2, 3);
    made.write(0, '/n', 'v');
    return made;
  };

  // Owner, default of the first entry, own entry, first own entry wins.
  it.each([
    [['n1'], 1, true, true],
    [['n0'], 1, false, false],
    [['r0'], 1, true, false],
    [['w0'], 1, false, true],
    [['b0', 'n1'], 1, false, false],
    [['b0', 'n1'], 2, true, true],
    [['n0', 'r1', 'b1'], 1, true, false],
    [['n0', `b${ANY_DOMAIN}`], 3, true, true],
  ] as const)('%j let domain %i read: %s, write: %s', (list, guest, reads, writes) => {
    const made = store();
    made.setPermissions(0, '/n', allowing(...list));
    expect(made.read(guest, '/n').ok).toBe(reads);
    expect(made.write(guest, '/n', 'w').outcome.ok).toBe(writes);
    expect(made.read(0, '/n').ok).toBe(true);
  });

  it('hides from who may not read the parent whether there is a node', () => {
    const made = store();
    expect(made.read(1, '/missing')).toEqual(failing('EACCES'));
    made.setPermissions(0, '/n', allowing('r0'));
    expect(made.read(1, '/n/missing')).toEqual(failing('ENOENT'));
    expect(made.write(1, '/n/missing', '').outcome).toEqual(failing('EACCES'));
  });

  it('let the owner change them, but only Dom0 the owner', () => {
    const made = store();
    made.setPermissions(0, '/n', allowing('n1'));
    expect(made.setPermissions(2, '/n', allowing('n2')).outcome).toEqual(failing('EACCES'));
    expect(made.setPermissions(1, '/n', allowing('n2')).outcome).toEqual(failing('EPERM'));
    expect(made.setPermissions(1, '/n', allowing('n1', 'r2')).outcome).toEqual(OK);
    expect(made.getPermissions(0, '/n')).toMatchObject({ value: allowing('n1', 'r2') });
    expect(made.setPermissions(0, '/n', allowing('n2')).outcome).toEqual(OK);
  });

  it('give a guest what it makes below a node that it may write', () => {
    const made = store();
    made.setPermissions(0, '/n', allowing('n0', 'b1', 'r2'));
    made.write(1, '/n/x/y', '');
    expect(made.getPermissions(0, '/n/x')).toMatchObject({ value: allowing('n1', 'b1', 'r2') });
  });

  it('of a domain that is gone do not serve the next one of its number', () => {
    const made = store();
    made.setPermissions(0, '/n', allowing('n0', 'r1'));
    made.domains.domainChanged(1, 'gone');
    made.write(0, '/other', '');
    made.domains.introduce(0, 1, 7);
    expect(made.read(1, '/n')).toEqual(failing('EACCES'));
    made.setPermissions(0, '/n', allowing('n0', 'r1'));
    expect(made.read(1, '/n').ok).toBe(true);
  });

  it('cannot name an owner that does not exist; another who does not is kept without effect', () => {
    const made = new Xenstore(createXenstore(), () => false);
    made.write(0, '/n', '');
    expect(made.setPermissions(0, '/n', allowing('n9')).outcome).toEqual(failing('ENOENT'));
    expect(made.setPermissions(0, '/n', allowing('n0', 'r9')).outcome).toEqual(OK);
    made.domains.introduce(0, 9, 7);
    expect(made.getPermissions(0, '/n')).toMatchObject({ value: allowing('n0', 'r9') });
    expect(made.read(9, '/n')).toEqual(failing('EACCES'));
  });

  it('of the domain that it serves has a device model’s domain too', () => {
    const made = store();
    made.setPermissions(0, '/n', allowing('n1'));
    expect(made.domains.setTarget(1, 2, 1)).toEqual(failing('EACCES'));
    expect(made.domains.setTarget(0, 2, 1)).toEqual(OK);
    expect(made.write(2, '/n', 'x').outcome).toEqual(OK);
    expect(made.domains.setTarget(0, 2, 8)).toEqual(failing('ENOENT'));
  });
});

describe('watches', () => {
  it('fire once when they are set, and for changes at and below their path', () => {
    const store = fresh();
    expect(told(store.watch(0, '/a', 't'))).toEqual(['0 t /a']);
    expect(store.watch(0, '/a', 't').outcome).toEqual(failing('EEXIST'));
    expect(told(store.watch(0, '/a', 'u'))).toEqual(['0 u /a']);
    expect(told(store.write(0, '/a/b', ''))).toEqual(['0 t /a/b', '0 u /a/b']);
    expect(told(store.mkdir(0, '/a/b'))).toEqual([]);
    expect(told(store.write(0, '/ab', ''))).toEqual([]);
    expect(store.unwatch(0, '/a', 't')).toEqual(OK);
    expect(store.unwatch(0, '/a', 't')).toEqual(failing('ENOENT'));
    expect(told(store.rm(0, '/a/b'))).toEqual(['0 u /a/b']);
  });

  it('of lower nodes hear their own path when an ancestor goes', () => {
    const store = fresh();
    store.write(0, '/a/b/c', '');
    store.watch(0, '/a/b/c', 'c');
    store.watch(0, '/a/b/missing', 'm');
    store.watch(0, '/', 'root');
    expect(told(store.rm(0, '/a'))).toEqual(['0 c /a/b/c', '0 root /a']);
  });

  it('set by a relative path tell relative ones', () => {
    const store = withHome(fresh(1), 1);
    expect(told(store.watch(1, 'data', 't'))).toEqual(['1 t data']);
    expect(told(store.write(0, '/local/domain/1/data/x', ''))).toEqual(['1 t data/x']);
  });

  it('reach as deep as they say', () => {
    const store = fresh();
    store.watch(0, '/a', 'only', 0);
    store.watch(0, '/a', 'children', 1);
    store.watch(0, '/', 'top', 1);
    expect(told(store.write(0, '/a', ''))).toEqual(['0 only /a', '0 children /a', '0 top /a']);
    expect(told(store.write(0, '/a/b', ''))).toEqual(['0 children /a/b']);
    expect(told(store.write(0, '/a/b/c', ''))).toEqual([]);
    expect(store.watch(0, '/a', 'x', -1).outcome).toEqual(failing('EINVAL'));
  });

  it('tell nobody of what he cannot read, but tell of the loss of the right', () => {
    const store = fresh(1);
    store.watch(1, '/n', 't');
    expect(told(store.write(0, '/n', ''))).toEqual([]);
    expect(told(store.setPermissions(0, '/n', allowing('n0', 'r1')))).toEqual(['1 t /n']);
    expect(told(store.setPermissions(0, '/n', allowing('n0')))).toEqual(['1 t /n']);
    expect(told(store.write(0, '/n', ''))).toEqual([]);
  });

  it('go when the guest resets them, with its transactions', () => {
    const store = withHome(fresh(1), 1);
    store.watch(1, 'data', 't');
    const one = start(store, 1);
    store.domains.resetConnection(1);
    expect(told(store.write(0, '/local/domain/1/data', ''))).toEqual([]);
    expect(store.transactionEnd(1, one, 'commit').outcome).toEqual(failing('ENOENT'));
  });

  it('go to connections in the order of their coming, and survive a saved state', () => {
    const store = fresh(5, 3);
    store.write(0, '/n', '');
    store.setPermissions(0, '/n', allowing('r0'));
    store.watch(3, '/n', 'x');
    store.watch(5, '/n', 'y');
    store.watch(0, '/', 'z');
    const again = new Xenstore(JSON.parse(JSON.stringify(store.state)) as XenstoreState);
    expect(told(again.write(0, '/n', '1'))).toEqual(['0 z /n', '5 y /n', '3 x /n']);
  });
});

describe('domains', () => {
  it('are told of by special watches, with their number to who asks for depth 1 or for one domain', () => {
    const store = fresh();
    store.watch(0, '@introduceDomain', 'in');
    store.watch(0, '@releaseDomain', 'out');
    store.watch(0, '@releaseDomain', 'each', 1);
    store.watch(0, '@releaseDomain/5', 'five');
    expect(told(store.domains.introduce(0, 5, 3))).toEqual(['0 in @introduceDomain']);
    expect(told(store.domains.introduce(0, 6, 3))).toEqual(['0 in @introduceDomain']);
    const named = ['0 each @releaseDomain/5', '0 five @releaseDomain/5'];
    expect(told(store.domains.domainChanged(5, 'shutdown'))).toEqual([...named, '0 out @releaseDomain']);
    expect(told(store.domains.domainChanged(5, 'shutdown'))).toEqual([]);
    expect(store.domains.resume(0, 5)).toEqual(OK);
    expect(told(store.domains.domainChanged(5, 'shutdown'))).toHaveLength(3);
    expect(told(store.domains.release(0, 5))).toEqual(['0 out @releaseDomain', ...named]);
    expect(told(store.domains.domainChanged(6, 'gone'))).toEqual(['0 out @releaseDomain', '0 each @releaseDomain/6']);
  });

  it('hear special events only if permissions say so', () => {
    const store = fresh(1);
    store.watch(1, '@releaseDomain', 't');
    store.domains.introduce(0, 2, 3);
    expect(told(store.domains.release(0, 2))).toEqual([]);
    store.setPermissions(0, '@releaseDomain', allowing('n0', 'r1'));
    store.domains.introduce(0, 2, 3);
    expect(told(store.domains.release(0, 2))).toEqual(['1 t @releaseDomain']);
  });

  it('take what they own with them, wherever it lies, with what lies below it', () => {
    const store = withHome(fresh(1), 1);
    store.write(1, 'data/x', '');
    store.write(0, '/elsewhere/mine', '');
    store.setPermissions(0, '/elsewhere/mine', allowing('n1'));
    store.write(0, '/elsewhere/mine/not', '');
    store.setPermissions(0, '/elsewhere/mine/not', allowing('n0'));
    store.watch(0, '/elsewhere', 'e');
    expect(told(store.domains.domainChanged(1, 'gone'))).toEqual(['0 e /elsewhere/mine']);
    expect(store.directory(0, '/local/domain/1')).toMatchObject({ value: [] });
    expect(store.directory(0, '/elsewhere')).toMatchObject({ value: [] });
    expect(store.read(1, 'data')).toEqual(failing('EIO'));
    expect(Object.keys(store.state.domains)).toEqual(['0']);
  });

  it('cannot introduce, release, resume or look each other up', () => {
    const { domains } = fresh(1);
    expect(domains.introduce(1, 2, 3).outcome).toEqual(failing('EACCES'));
    expect(domains.release(1, 1).outcome).toEqual(failing('EACCES'));
    expect(domains.resume(1, 1)).toEqual(failing('EACCES'));
    expect(domains.isDomainIntroduced(1, 1)).toEqual(failing('EACCES'));
    expect(domains.introduce(0, 2, 0).outcome).toEqual(failing('EINVAL'));
    expect(domains.release(0, 0).outcome).toEqual(failing('EINVAL'));
    expect(domains.release(0, 9).outcome).toEqual(failing('ENOENT'));
    expect([0, 1, 2, 0x7ff0].map((domid) => domains.isDomainIntroduced(0, domid))).toMatchObject(
      [true, true, false, true].map((value) => ({ value })),
    );
    expect(domains.getDomainPath(42)).toMatchObject({ value: '/local/domain/42' });
    expect(domains.getDomainPath(65_536)).toEqual(failing('EINVAL'));
  });

  it('have features that Dom0 can take away until they are introduced', () => {
    const { domains } = fresh(1);
    expect(domains.getFeature(1)).toMatchObject({ value: 14 });
    expect(domains.getFeature(1, 0)).toEqual(failing('EACCES'));
    expect(domains.setFeature(0, 1, 2)).toEqual(failing('EBUSY'));
    expect(domains.setFeature(0, 2, 1)).toEqual(failing('EINVAL'));
    expect(domains.setFeature(0, 2, 2)).toEqual(OK);
    expect(domains.getFeature(0, 2)).toMatchObject({ value: 2 });
  });

  it('that were introduced without the feature have no depth', () => {
    const store = fresh();
    store.domains.setFeature(0, 2, 2);
    store.domains.introduce(0, 2, 3);
    expect(store.watch(2, 'x', 't', 1).outcome).toEqual(failing('EINVAL'));
  });
});

describe('quotas', () => {
  const full = (count: number, step: (index: number) => { ok: boolean }): number => {
    for (let index = 0; index < count; index += 1) if (!step(index).ok) return index;
    return count;
  };

  it('let a guest own 1000 nodes, and Dom0 as many as it likes', () => {
    const store = withHome(fresh(1), 1);
    store.domains.setQuota(0, 'node-size', 0, 1);
    expect(full(2000, (index) => store.write(1, `data/${index}`, '').outcome)).toBe(999);
    expect(store.write(1, 'data/one-more', '').outcome).toEqual(failing('ENOSPC'));
    expect(store.write(1, 'data/5', 'still').outcome).toEqual(OK);
    store.rm(1, 'data/5');
    expect(store.write(1, 'data/one-more', '').outcome).toEqual(OK);
    expect(full(2000, (index) => store.write(0, `/x/${index}`, '').outcome)).toBe(2000);
  });

  it('count in a transaction what it makes; one that would reach the limit cannot commit', () => {
    const store = withHome(fresh(1), 1);
    store.domains.setQuota(0, 'node-size', 0, 1);
    const fill = (last: number): object => {
      const one = start(store, 1);
      for (let index = 0; index < last; index += 1) store.mkdir(1, `data/${index}`, one);
      return store.transactionEnd(1, one, 'commit').outcome;
    };
    expect(fill(999)).toEqual(failing('ENOSPC'));
    expect(fill(998)).toEqual(OK);
  });

  // As in Xen 4.20 (tools/xenstored/watch.c, transaction.c), which refuse when the number is exceeded already.
  it('let a guest have one watch more than 128 and one transaction more than 10', () => {
    const store = fresh(1);
    expect(full(200, (index) => store.watch(1, 'x', `t${index}`).outcome)).toBe(129);
    expect(store.watch(1, 'x', 'more').outcome).toEqual(failing('ENOSPC'));
    expect(full(200, () => store.transactionStart(1))).toBe(11);
    expect(store.transactionStart(1)).toEqual(failing('ENOSPC'));
    expect(full(200, () => store.transactionStart(0))).toBe(200);
  });

  it('let a guest’s transaction touch 1024 nodes, and fail it then', () => {
    const store = withHome(fresh(1), 1);
    const one = start(store, 1);
    store.mkdir(0, '/r');
    store.setPermissions(0, '/r', allowing('r0'));
    for (let index = 0; index < 1100; index += 1) store.mkdir(0, `/r/${index}`);
    expect(full(1100, (index) => store.read(1, `/r/${index}`, one))).toBe(1024);
    expect(store.read(1, '/r/1024', one)).toEqual(failing('ENOSPC'));
    expect(store.transactionEnd(1, one, 'commit').outcome).toEqual(failing('ENOMEM'));
  });

  it('let a node have 5 permissions and 2048 bytes, header, permissions and children’s names included', () => {
    const store = withHome(fresh(1), 1);
    const six = allowing('n1', 'r0', 'r0', 'r0', 'r0', 'r0');
    store.write(1, 'data/x', '');
    expect(store.setPermissions(1, 'data/x', six).outcome).toEqual(failing('ENOSPC'));
    expect(store.setPermissions(1, 'data/x', six.slice(1)).outcome).toEqual(failing('EPERM'));
    expect(store.setPermissions(1, 'data/x', six.slice(0, 5)).outcome).toEqual(OK);
    const room = 2048 - 16 - 5 * 8;
    expect(store.write(1, 'data/x', 'v'.repeat(room)).outcome).toEqual(OK);
    expect(store.write(1, 'data/x', 'v'.repeat(room + 1)).outcome).toEqual(failing('ENOSPC'));
    expect(store.write(1, 'data/x/y', '').outcome).toEqual(failing('ENOSPC'));
    expect(store.write(0, '/local/domain/1/data/x', 'v'.repeat(3000)).outcome).toEqual(OK);
  });

  it('let a guest hold 2.5 MB, and stall one that holds more or takes no answers', () => {
    const store = withHome(fresh(1), 1);
    store.domains.setQuota(0, 'nodes', 0, 1);
    const value = 'v'.repeat(2000);
    const written = full(3000, (index) => store.write(1, `data/${1000 + index}`, value).outcome);
    // A node is its value, 16 bytes of header, 8 for a permission, its path; its name counts in its parent too.
    const each = 2000 + 16 + 8 + '/local/domain/1/data/1000'.length + 5;
    const parent = 16 + 8 + '/local/domain/1/data'.length;
    expect(written).toBe(Math.min(3000, Math.floor((2048 - 24) / 5)));
    expect(store.state.domains[1]?.memoryBytes).toBe(parent + written * each);
    store.domains.setQuota(0, 'node-size', 0, 1);
    const more = full(3000, (index) => store.write(1, `data/${5000 + index}`, value).outcome);
    expect((written + more) * each + parent).toBeLessThan(2.5 * 2 ** 20);
    expect((written + more + 1) * each + parent).toBeGreaterThan(2.5 * 2 ** 20);
    expect(store.write(1, 'data/more', value).outcome).toEqual(failing('EIO'));
    expect(store.domains.isStalled(1, 0)).toBe(false);
    store.domains.setQuota(0, 'memory', 2 ** 20, 1);
    expect(store.domains.isStalled(1, 0)).toBe(true);
    expect(store.domains.isStalled(0, 1000)).toBe(false);
  });

  it('stall a guest with 20 outstanding answers', () => {
    const { domains } = fresh(1);
    expect([domains.isStalled(1, 19), domains.isStalled(1, 20)]).toEqual([false, true]);
  });

  it('are set by Dom0, for one domain or for those to come', () => {
    const { domains } = fresh(1);
    expect(domains.getQuota(1, 'nodes')).toEqual(failing('EACCES'));
    expect(domains.getQuota(0, 'no-such')).toEqual(failing('EINVAL'));
    expect(domains.getQuota(0, 'nodes')).toMatchObject({ value: 1000 });
    expect(domains.setQuota(0, 'nodes', 5)).toEqual(OK);
    domains.introduce(0, 2, 3);
    expect([1, 2].map((domid) => domains.getQuota(0, 'nodes', domid))).toMatchObject([{ value: 1000 }, { value: 5 }]);
    expect(domains.setQuota(0, 'nodes', 7, 1)).toEqual(OK);
    expect(domains.getQuota(0, 'nodes', 1)).toMatchObject({ value: 7 });
  });

  it('give back what a guest’s nodes and watches took, however they go', () => {
    const store = withHome(fresh(1), 1);
    const held = store.state.domains[1]?.memoryBytes;
    store.write(1, 'data/a/b/c', 'value');
    store.watch(1, 'data', 't');
    const one = start(store, 1);
    store.write(1, 'data/a/d', 'in a transaction', one);
    store.rm(1, 'data/a/b', one);
    store.transactionEnd(1, one, 'commit');
    store.rm(0, '/local/domain/1/data/a');
    store.unwatch(1, 'data', 't');
    expect(store.state.domains[1]).toMatchObject({ nodes: 1, memoryBytes: held });
  });
});
