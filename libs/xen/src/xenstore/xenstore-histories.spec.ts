import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createXenstore, Xenstore, type Permission, type XenstoreState } from './index.js';

/**
 * A plain model of the daemon, written from its documents and unlike the implementation: nodes never change but are replaced, so that whether a
 * node is the same object tells whether it changed; everything is found by looking at everything.
 */
interface Leaf {
  readonly value: string;
  readonly perms: readonly Permission[];
  readonly names: readonly string[];
}
interface Watch {
  readonly who: number;
  readonly path: string;
  readonly token: string;
  readonly depth: number | null;
  readonly cut: number;
}
interface Trans {
  readonly base: Map<string, Leaf | undefined>;
  readonly own: Map<string, Leaf | undefined>;
  readonly fires: Map<string, 'exact' | 'subtree'>;
  readonly gained: Map<number, number>;
  created: boolean;
  broken: boolean;
}
type Says = { errno: string } | { value: unknown };

const LIMITS = { nodes: 9, watches: 3, transactions: 2, 'transaction-nodes': 6, 'node-permissions': 2 } as const;

const up = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/';
const leafName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
const under = (path: string, top: string): boolean =>
  path === top || (top === '/' ? path.startsWith('/') : path.startsWith(`${top}/`));
const levels = (path: string): number => (path === '/' ? 0 : path.split('/').length - 1);

class Model {
  nodes = new Map<string, Leaf>();
  watches: Watch[] = [];
  trans = new Map<string, Trans>();
  next = new Map<number, number>();
  events: { to: number; token: string; path: string }[] = [];

  constructor() {
    const perms: Permission[] = [{ domid: 0, access: 'n' }];
    const put = (path: string, names: string[]): unknown => this.nodes.set(path, { value: '', perms, names });
    put('/', ['tool']);
    put('/tool', ['xenstored']);
    put('/tool/xenstored', []);
    put('@introduceDomain', []);
    put('@releaseDomain', []);
  }

  full(who: number, path: string, special: boolean): string | null {
    if (!/^[A-Za-z0-9\-/_@]+$/.test(path) || (path.startsWith('@') && !special)) return null;
    const whole = /^[/@]/.test(path) ? path : `/local/domain/${who}/${path}`;
    return whole.includes('//') || (whole.endsWith('/') && whole !== '/') ? null : whole;
  }

  may(who: number, { perms }: Leaf): string {
    const [owner, ...others] = perms;
    if (who === 0 || owner?.domid === who) return 'rwo';
    const letters = { n: '', r: 'r', w: 'w', b: 'rw' };
    return letters[(others.find((entry) => entry.domid === who) ?? owner)?.access ?? 'n'];
  }

  see(who: number, t: Trans | undefined, path: string): Leaf | undefined {
    if (!t) return this.nodes.get(path);
    if (t.own.has(path)) return t.own.get(path);
    if (!t.base.has(path)) {
      if (who !== 0 && t.base.size + 1 > LIMITS['transaction-nodes']) {
        t.broken = true;
        throw new Error('ENOSPC');
      }
      t.base.set(path, this.nodes.get(path));
    }
    return t.base.get(path);
  }

  owned(who: number): number {
    return [...this.nodes.values()].filter((leaf) => leaf.perms[0]?.domid === who).length;
  }

  fire(path: string, reach: 'exact' | 'subtree', leaf: Leaf | undefined, before?: Leaf): void {
    const order = [...new Set([0, ...this.connected])];
    for (const who of order)
      for (const watch of this.watches.filter((each) => each.who === who)) {
        const hit =
          reach === 'exact'
            ? watch.path === path
            : under(path, watch.path) && (watch.depth === null || levels(path) - levels(watch.path) <= watch.depth);
        const parent = this.nodes.get(path.startsWith('@') ? '/' : up(path));
        const seen =
          (before && this.may(who, before).includes('r')) ||
          (leaf && (this.may(who, leaf).includes('r') || (parent && this.may(who, parent).includes('r'))));
        if (hit && seen) this.events.push({ to: who, token: watch.token, path: path.slice(watch.cut) });
      }
  }
  connected: number[] = [];

  put(t: Trans | undefined, path: string, leaf: Leaf | undefined): void {
    const old = t ? (t.own.has(path) ? t.own.get(path) : t.base.get(path)) : undefined;
    if (t) {
      t.own.set(path, leaf);
      for (const [each, sign] of [
        [old, -1],
        [leaf, 1],
      ] as const) {
        const owner = each?.perms[0]?.domid ?? 0;
        if (each && owner !== 0) t.gained.set(owner, (t.gained.get(owner) ?? 0) + sign);
      }
    } else if (leaf) this.nodes.set(path, leaf);
    else this.nodes.delete(path);
  }

  tell(t: Trans | undefined, path: string, reach: 'exact' | 'subtree', before?: Leaf): void {
    if (t) {
      if (t.fires.get(path) !== 'subtree') t.fires.set(path, reach);
    } else this.fire(path, reach, this.nodes.get(path), before);
  }

  get(who: number, t: Trans | undefined, path: string, need: string): Leaf {
    const leaf = this.see(who, t, path);
    if (leaf && need.split(',').every((right) => this.may(who, leaf).includes(right))) return leaf;
    let above: Leaf | undefined;
    let at = path.startsWith('@') ? '/' : up(path);
    if (who !== 0 || t) for (above = this.see(who, t, at); !above; above = this.see(who, t, at)) at = up(at);
    const known = who === 0 || need.split(',').some((right) => above && this.may(who, above).includes(right));
    throw new Error(known && !leaf ? 'ENOENT' : 'EACCES');
  }

  create(who: number, t: Trans | undefined, path: string, value: string): void {
    const chain = [path];
    let parent: Leaf | undefined;
    while (!(parent = this.see(who, t, up(chain[0] as string)))) chain.unshift(up(chain[0] as string));
    const has = this.owned(who) + (t?.gained.get(who) ?? 0);
    if (t) t.created = true;
    if (who !== 0 && has + chain.length > LIMITS.nodes) {
      if (t && has < LIMITS.nodes) t.broken = true;
      throw new Error('ENOSPC');
    }
    const perms = parent.perms.map((entry, index) => (index === 0 && who !== 0 ? { ...entry, domid: who } : entry));
    this.put(t, up(chain[0] as string), { ...parent, names: [...parent.names, leafName(chain[0] as string)] });
    chain.forEach((each, index) => {
      const below = chain[index + 1];
      const leaf = { value: below ? '' : value, perms, names: below ? [leafName(below)] : [] };
      this.put(t, each, leaf);
    });
  }

  removeBelow(who: number, t: Trans | undefined, path: string, leaf: Leaf): void {
    for (const name of leaf.names) {
      const child = `${path}/${name}`;
      const node = this.see(who, t, child);
      if (!node) throw new Error('EIO');
      this.removeBelow(who, t, child, node);
      this.tell(t, child, 'exact');
      this.put(t, child, undefined);
    }
  }

  do(who: number, operation: Operation): { says: Says; events: Model['events'] } {
    this.events = [];
    try {
      return { says: { value: this.run(who, operation) }, events: this.events };
    } catch (error) {
      return { says: { errno: (error as Error).message }, events: this.events };
    }
  }

  run(who: number, operation: Operation): unknown {
    const { op } = operation;
    if (op === 'start') {
      const open = [...this.trans.keys()].filter((key) => key.startsWith(`${who}/`)).length;
      if (who !== 0 && open > LIMITS.transactions) throw new Error('ENOSPC');
      const id = (this.next.get(who) ?? 0) + 1;
      this.next.set(who, id);
      this.trans.set(`${who}/${id}`, {
        base: new Map(),
        own: new Map(),
        fires: new Map(),
        gained: new Map(),
        created: false,
        broken: false,
      });
      return id;
    }
    const key = `${who}/${operation.transaction}`;
    const t = this.trans.get(key);
    if (op === 'end') return this.end(who, key, t, operation.commit);
    if (operation.transaction !== 0 && !t && op !== 'watch' && op !== 'unwatch') throw new Error('ENOENT');
    const special = op === 'watch' || op === 'unwatch' || op === 'getPerms' || op === 'setPerms';
    const path = this.full(who, operation.path, special);
    if (path === null) throw new Error('EINVAL');
    return this.onPath(who, t, path, operation);
  }

  onPath(who: number, t: Trans | undefined, path: string, operation: PathOperation): unknown {
    switch (operation.op) {
      case 'read':
        return this.get(who, t, path, 'r').value;
      case 'directory':
        return this.get(who, t, path, 'r').names;
      case 'getPerms':
        return this.get(who, t, path, 'r').perms;
      case 'write':
      case 'mkdir': {
        const value = operation.op === 'write' ? operation.value : '';
        try {
          const leaf = this.get(who, t, path, 'w');
          if (operation.op === 'mkdir') return null;
          this.put(t, path, { ...leaf, value });
        } catch (error) {
          if ((error as Error).message !== 'ENOENT') throw error;
          this.create(who, t, path, value);
        }
        this.tell(t, path, 'subtree');
        return null;
      }
      case 'rm':
        return this.rm(who, t, path);
      case 'setPerms': {
        if (who !== 0 && operation.perms.length > LIMITS['node-permissions']) throw new Error('ENOSPC');
        const leaf = this.get(who, t, path, 'r,w,o');
        if (who !== 0 && leaf.perms[0]?.domid !== operation.perms[0]?.domid) throw new Error('EPERM');
        this.put(t, path, { ...leaf, perms: operation.perms });
        this.tell(t, path, 'subtree', leaf);
        return null;
      }
      case 'watch': {
        const mine = this.watches.filter((watch) => watch.who === who);
        if (mine.some((watch) => watch.path === path && watch.token === operation.token)) throw new Error('EEXIST');
        if (who !== 0 && mine.length > LIMITS.watches) throw new Error('ENOSPC');
        const cut = /^[/@]/.test(operation.path) ? 0 : `/local/domain/${who}/`.length;
        this.watches.push({ who, path, token: operation.token, depth: operation.depth, cut });
        this.events.push({ to: who, token: operation.token, path: operation.path });
        return null;
      }
      case 'unwatch': {
        const left = this.watches.filter(
          (watch) => watch.who !== who || watch.path !== path || watch.token !== operation.token,
        );
        if (left.length === this.watches.length) throw new Error('ENOENT');
        this.watches = left;
        return null;
      }
    }
  }

  rm(who: number, t: Trans | undefined, path: string): null {
    let leaf: Leaf;
    try {
      leaf = this.get(who, t, path, 'w');
    } catch (error) {
      if ((error as Error).message !== 'ENOENT' || !this.see(who, t, up(path))) throw error;
      return null;
    }
    if (path === '/') throw new Error('EINVAL');
    const parent = this.see(who, t, up(path));
    if (!parent) throw new Error('EINVAL');
    try {
      this.removeBelow(who, t, path, leaf);
    } catch {
      throw new Error('EIO');
    }
    this.tell(t, path, 'subtree');
    this.put(t, path, undefined);
    const names = parent.names.filter((name) => name !== leafName(path));
    this.put(t, up(path), { ...parent, names });
    return null;
  }

  end(who: number, key: string, t: Trans | undefined, commit: boolean): null {
    if (!t) throw new Error('ENOENT');
    this.trans.delete(key);
    if (!commit) return null;
    if (t.broken) throw new Error('ENOMEM');
    if (t.created && who !== 0)
      for (const [owner, gained] of t.gained) if (this.owned(owner) + gained >= LIMITS.nodes) throw new Error('ENOSPC');
    for (const [path, leaf] of t.base) if (this.nodes.get(path) !== leaf) throw new Error('EAGAIN');
    for (const [path, leaf] of t.own) {
      if (leaf) this.nodes.set(path, { ...leaf });
      else this.nodes.delete(path);
    }
    for (const path of t.base.keys()) {
      const reach = t.fires.get(path);
      if (reach) this.fire(path, reach, this.nodes.get(path), t.base.get(path));
    }
    return null;
  }
}

const OTHER_PATHS = [
  '/',
  '/a',
  '/a/b',
  '/a/b/c',
  '/a/d',
  '/e',
  'x',
  'x/y',
  'data',
  'data/z/q',
  '/local/domain/1',
  '/local/domain/2/x',
];
const anyPath = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(...OTHER_PATHS) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('', '/a/', '//a', 'a b', '@releaseDomain', '@other', '/__proto__', '/toString'),
  },
);
const anyPermission = fc.record({
  domid: fc.integer({ min: 0, max: 3 }),
  access: fc.constantFrom('n' as const, 'r' as const, 'w' as const, 'b' as const),
});
const transaction = fc.constantFrom(0, 0, 1, 1, 2, 3);
const token = fc.constantFrom('t', 'u');
const onPath = { path: anyPath, transaction };
const anyOperation = fc.oneof(
  fc.record({ op: fc.constantFrom('read' as const, 'directory' as const, 'getPerms' as const), ...onPath }),
  fc.record({ op: fc.constant('write' as const), ...onPath, value: fc.constantFrom('', '1', 'abc') }),
  fc.record({ op: fc.constant('write' as const), ...onPath, value: fc.constantFrom('2', 'de') }),
  fc.record({ op: fc.constantFrom('mkdir' as const, 'rm' as const), ...onPath }),
  fc.record({
    op: fc.constant('setPerms' as const),
    ...onPath,
    perms: fc.array(anyPermission, { minLength: 1, maxLength: 3 }),
  }),
  fc.record({ op: fc.constant('watch' as const), ...onPath, token, depth: fc.constantFrom(null, null, 0, 1) }),
  fc.record({ op: fc.constant('unwatch' as const), ...onPath, token }),
  fc.constant({ op: 'start' as const }),
  fc.record({ op: fc.constant('end' as const), transaction, commit: fc.constantFrom(true, true, true, false) }),
);
type Operation = typeof anyOperation extends fc.Arbitrary<infer Of> ? Of : never;
type PathOperation = Extract<Operation, { path: string }>;

const perform = (store: Xenstore, who: number, operation: Operation): { says: Says; events: readonly unknown[] } => {
  const { outcome, events } = answer(store, who, operation);
  return { says: outcome.ok ? { value: outcome.value } : { errno: outcome.errno }, events };
};

const answer = (
  store: Xenstore,
  who: number,
  operation: Operation,
): { outcome: { ok: true; value: unknown } | { ok: false; errno: string }; events: readonly unknown[] } => {
  switch (operation.op) {
    case 'read':
      return { outcome: store.read(who, operation.path, operation.transaction), events: [] };
    case 'directory':
      return { outcome: store.directory(who, operation.path, operation.transaction), events: [] };
    case 'getPerms':
      return { outcome: store.getPermissions(who, operation.path, operation.transaction), events: [] };
    case 'write':
      return store.write(who, operation.path, operation.value, operation.transaction);
    case 'mkdir':
      return store.mkdir(who, operation.path, operation.transaction);
    case 'rm':
      return store.rm(who, operation.path, operation.transaction);
    case 'setPerms':
      return store.setPermissions(who, operation.path, operation.perms, operation.transaction);
    case 'watch':
      return store.watch(who, operation.path, operation.token, operation.depth);
    case 'unwatch':
      return { outcome: store.unwatch(who, operation.path, operation.token), events: [] };
    case 'start':
      return { outcome: store.transactionStart(who), events: [] };
    case 'end':
      return store.transactionEnd(who, operation.transaction, operation.commit ? 'commit' : 'abort');
  }
};

/** The slow comparison, which explains itself, only where the quick one fails. */
const same = (actual: object, expected: object): void => {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) expect(actual).toEqual(expected);
};

const GUESTS = [2, 1, 3];

const prepared = (): { store: Xenstore; model: Model } => {
  const store = new Xenstore(createXenstore());
  for (const [name, value] of Object.entries(LIMITS)) store.domains.setQuota(0, name, value);
  for (const guest of GUESTS) store.domains.introduce(0, guest, 1);
  const model = new Model();
  model.connected = GUESTS;
  const prepare = (operation: Operation): void => {
    same(perform(store, 0, operation), model.do(0, operation));
  };
  for (const guest of GUESTS) {
    const home = `/local/domain/${guest}`;
    prepare({ op: 'mkdir', path: home, transaction: 0 });
    prepare({
      op: 'setPerms',
      path: home,
      transaction: 0,
      perms: [
        { domid: 0, access: 'n' },
        { domid: guest, access: 'r' },
      ],
    });
    prepare({ op: 'mkdir', path: `${home}/data`, transaction: 0 });
    prepare({ op: 'setPerms', path: `${home}/data`, transaction: 0, perms: [{ domid: guest, access: 'n' }] });
  }
  prepare({ op: 'mkdir', path: '/a', transaction: 0 });
  prepare({
    op: 'setPerms',
    path: '/a',
    transaction: 0,
    perms: [
      { domid: 1, access: 'r' },
      { domid: 2, access: 'b' },
    ],
  });
  return { store, model };
};

const PREPARED = prepared();
const PREPARED_STATE = JSON.stringify(PREPARED.store.state);

/** The same beginning for each history, without doing it again. */
const begin = (): { store: Xenstore; model: Model } => {
  const model = new Model();
  model.connected = GUESTS;
  model.nodes = new Map(PREPARED.model.nodes);
  return { store: new Xenstore(JSON.parse(PREPARED_STATE) as XenstoreState), model };
};

const treeOf = (store: Xenstore, path: string): string[] => {
  const names = store.directory(0, path);
  const value = store.read(0, path);
  const below = names.ok
    ? names.value.flatMap((name) => treeOf(store, path === '/' ? `/${name}` : `${path}/${name}`))
    : [];
  return [`${path}=${value.ok ? value.value : value.errno}`, ...below];
};

const modelTree = (model: Model, path: string): string[] => {
  const leaf = model.nodes.get(path);
  const below = leaf?.names.flatMap((name) => modelTree(model, path === '/' ? `/${name}` : `${path}/${name}`)) ?? [];
  return [`${path}=${leaf?.value}`, ...below];
};

describe('histories of a xenstore', () => {
  it('answers, tells and keeps what a plain model does, over 10,000 of them, and through JSON', () => {
    const history = fc.array(fc.tuple(fc.constantFrom(0, 0, 1, 2, 3), anyOperation), { minLength: 8, maxLength: 24 });
    fc.assert(
      fc.property(history, fc.nat({ max: 24 }), (steps, saved) => {
        const { store: first, model } = begin();
        let store = first;
        steps.forEach(([who, operation], index) => {
          if (index === saved) store = new Xenstore(JSON.parse(JSON.stringify(store.state)) as XenstoreState);
          same(perform(store, who, operation), model.do(who, operation));
        });
        expect(treeOf(store, '/')).toEqual(modelTree(model, '/'));
        for (const guest of GUESTS) expect(store.state.domains[guest]?.nodes).toBe(model.owned(guest));
      }),
      { numRuns: 10_000 },
    );
  }, 300_000);
});
