import { describe, expect, it } from 'vitest';
import type { PhysicalDisk } from './block.js';
import { blockDeviceNodes } from './block.js';
import type { Device, DeviceNodes, StoreOperation } from './device.js';
import { backendOf, errorPathOf, frontendOf, toolstackCopyOf } from './device.js';
import type { DeviceTask, DeviceTaskAction, DeviceTaskStep, Force } from './device-task.js';
import { addDevice, deviceTaskStep, deviceTaskWatches, LIBXL_ERROR, removeDevice } from './device-task.js';
import type { HotplugHost, HotplugRun } from './hotplug.js';
import { runHotplug } from './hotplug.js';
import { networkDeviceNodes } from './network.js';
import type { BackendEnd, BackendView } from './xenbus-backend.js';
import { backendStep, backendWatches, createBackend, isBackendWaiting } from './xenbus-backend.js';
import type { FrontendEnd } from './xenbus-frontend.js';
import { createFrontend, frontendStep, frontendWatches, isFrontendWaiting } from './xenbus-frontend.js';
import type { BackendWake, FrontendWake, Queue, RingRequest, WatchToken, XenbusAction } from './xenbus.js';
import { XENBUS } from './xenbus.js';

type Store = Readonly<Record<string, string>>;

const DISK: PhysicalDisk = {
  sectors: 41_943_040,
  sectorSize: 512,
  physicalSectorSize: 4096,
  cdrom: false,
  removable: false,
  flush: true,
  discard: null,
};

const VBD: Device = { kind: 'vbd', domid: 7, devid: 51_712, backendKind: 'vbd', backendDomid: 0 };
const VIF: Device = { kind: 'vif', domid: 7, devid: 0, backendKind: 'vif', backendDomid: 0 };

const diskNodes = (device: Device): DeviceNodes =>
  blockDeviceNodes(device, {
    vdev: 'xvda',
    target: '/dev/vg/web-1',
    format: 'raw',
    writable: true,
    cdrom: false,
    removable: false,
    discard: true,
    script: null,
    guestIsPv: false,
  });
const cardNodes = (device: Device): DeviceNodes =>
  networkDeviceNodes(device, {
    mac: '00:16:3e:12:34:56',
    bridge: 'xenbr0',
    script: null,
    type: 'vif',
    ip: null,
    vifname: null,
    gatewaydev: null,
    mtu: null,
    rate: null,
  });

const applyTo = (store: Store, operations: readonly StoreOperation[]): Store => {
  let next: Record<string, string> = { ...store };
  for (const { op, path, ...rest } of operations) {
    if ('value' in rest) next[path] = rest.value;
    else if (op === 'mkdir') next[path] ??= '';
    else
      next = Object.fromEntries(
        Object.entries(next).filter(([other]) => other !== path && !other.startsWith(`${path}/`)),
      );
  }
  return next;
};

const read =
  (store: Store) =>
  (path: string): string | null =>
    store[path] ?? null;

const backendViewOf = (store: Store): BackendView => ({ read: read(store), openDisk: () => DISK, inFlight: 0 });

const hotplugHostOf = (store: Store): HotplugHost => ({
  read: read(store),
  hasLink: () => false,
  bridgeKind: (name) => (name === 'xenbr0' ? 'linux' : null),
  addressOf: () => '192.0.2.1',
  mtuOf: () => 1500,
  findDisk: (path) => ({ kind: 'phy', numbers: 'fd:3', node: path }),
  sharedWith: () => null,
});

const allocate = (request: RingRequest): readonly Queue[] =>
  Array.from({ length: request.queues }, (_, queue) => ({
    rings: Array.from({ length: request.ringsPerQueue }, (_unused, ring) =>
      Array.from({ length: request.pagesPerRing }, (_page, page) => 8 + queue * 100 + ring * 10 + page),
    ),
    ports: Array.from({ length: request.portsPerQueue }, (_unused, port) => 20 + queue * 2 + port),
  }));

/** Everything that takes part: the store, both ends, libxl and its script. */
interface World {
  readonly store: Store;
  readonly front: FrontendEnd;
  readonly back: BackendEnd;
  readonly task: DeviceTask;
  readonly script: HotplugRun | null;
  readonly stalled: boolean;
  /** Watches that fired and were not delivered: `f:` front-end, `b:` back-end, `t` libxl. */
  readonly fired: readonly string[];
  /** Ends that lost a watch. */
  readonly lost: readonly string[];
  readonly guestBooted: boolean;
  /** How often each kind of trouble may still occur, to keep the exploration finite and quick. */
  readonly closes: number;
  readonly reopens: number;
  readonly breaks: number;
  readonly removes: number;
}

const below = (path: string, directory: string): boolean => path === directory || path.startsWith(`${directory}/`);

const isGone = (store: Store, directory: string): boolean => store[`${directory}/state`] === undefined;

interface Places {
  readonly front: string;
  readonly back: string;
  readonly watches: readonly { readonly end: 'f' | 'b'; readonly path: string; readonly token: WatchToken }[];
}
const places = new Map<Device, Places>();
/** Paths of a device, built once: the exploration asks for them millions of times. */
const placesOf = ({ front, back }: World): Places => {
  const known = places.get(front.device);
  if (known !== undefined) return known;
  const built: Places = {
    front: frontendOf(front.device),
    back: backendOf(back.device),
    watches: [
      ...frontendWatches(front).map((watch) => ({ end: 'f' as const, ...watch })),
      ...backendWatches(back).map((watch) => ({ end: 'b' as const, ...watch })),
    ],
  };
  places.set(front.device, built);
  return built;
};

const commit = (world: World, operations: readonly StoreOperation[]): World => {
  const store = applyTo(world.store, operations);
  const fired = new Set(world.fired);
  const touched = (watched: string): boolean =>
    operations.some(
      ({ op, path }) => below(path, watched) || (op !== 'write' && op !== 'mkdir' && below(watched, path)),
    );
  for (const { end, path, token } of placesOf(world).watches) {
    if (!(end === 'f' ? world.front : world.back).registered || !touched(path)) continue;
    // A directory's own watch tells only that it went: other changes below it mean nothing to its end.
    if (token !== 'self' || isGone(store, path)) fired.add(`${end}:${token}`);
  }
  if (deviceTaskWatches(world.task).some(touched)) fired.add('t');
  return { ...world, store, fired: [...fired].sort() };
};

/** Each way that the carrying out of an end's actions may go: as wanted, or with memory or ports missing. */
const carryOut = (world: World, end: 'front' | 'back', actions: readonly XenbusAction[]): World[] => {
  const [action, ...rest] = actions;
  if (action === undefined) return [world];
  switch (action.do) {
    case 'transaction':
      return carryOut(commit(world, action.operations), end, rest);
    case 'allocateRings': {
      const good = wakeFront(world, { why: 'ringsAllocated', queues: allocate(action.request) });
      const bad =
        world.breaks === 0
          ? []
          : wakeFront({ ...world, breaks: world.breaks - 1 }, { why: 'allocationFailed', errno: 'ENOSPC' });
      return [...good, ...bad].flatMap((next) => carryOut(next, end, rest));
    }
    case 'mapRings': {
      const good = wakeBack(world, { why: 'ringsMapped' });
      const bad =
        world.breaks === 0
          ? []
          : wakeBack({ ...world, breaks: world.breaks - 1 }, { why: 'mappingFailed', errno: 'EINVAL' });
      return [...good, ...bad].flatMap((next) => carryOut(next, end, rest));
    }
    case 'freeRings':
    case 'unmapRings':
    case 'unregister':
      return carryOut(world, end, rest);
  }
};

const wakeFront = (world: World, wake: FrontendWake): World[] => {
  const { end, actions } = frontendStep(world.front, wake, { read: read(world.store) });
  return carryOut({ ...world, front: end }, 'front', actions);
};

const wakeBack = (world: World, wake: BackendWake): World[] => {
  const { end, actions } = backendStep(world.back, wake, backendViewOf(world.store));
  return carryOut({ ...world, back: end }, 'back', actions);
};

const carryOutTask = (world: World, { task, actions }: DeviceTaskStep): World => {
  const began = task.phase !== world.task.phase;
  // The clock has no part in the state: a time-out may come whenever somebody waits.
  let next: World = { ...world, task: { ...task, dueUs: task.dueUs === null ? null : 1 } };
  const carry = (action: DeviceTaskAction): void => {
    if (action.do === 'transaction') next = commit(next, action.operations);
    else if (action.do === 'runHotplug') next = { ...next, script: action.run, stalled: false };
    else next = { ...next, script: null, stalled: false };
  };
  actions.forEach(carry);
  const waits = deviceTaskWatches(next.task).length > 0;
  if (!waits) return { ...next, fired: next.fired.filter((watch) => watch !== 't') };
  return began ? { ...next, fired: [...new Set([...next.fired, 't'])].sort() } : next;
};

const stepTask = (world: World, wake: Parameters<typeof deviceTaskStep>[1], nowUs = 0): World =>
  carryOutTask(world, deviceTaskStep(world.task, wake, { read: read(world.store) }, nowUs));

const without = (list: readonly string[], item: string): readonly string[] => list.filter((other) => other !== item);

const deliver = (world: World, watch: string): World[] => {
  if (watch === 't') return [stepTask(world, { why: 'watch' })];
  const [end, token] = watch.split(':');
  const wake = { why: 'watch', token: token as WatchToken } as const;
  if (end === 'f') return world.front.registered ? wakeFront(world, wake) : [world];
  return world.back.registered ? wakeBack(world, wake) : [world];
};

const endScript = (world: World, fault: string | null): World => {
  if (world.script === null) return world;
  const result = runHotplug(
    world.script,
    hotplugHostOf(world.store),
    fault === null ? null : { fault: 'fail', message: fault },
  );
  if (result === null) throw new Error('this script ends');
  return stepTask({ ...commit(world, result.operations), script: null }, { why: 'scriptEnded', exit: result.exit });
};

const remove = (world: World, force: Force): World =>
  carryOutTask(world, removeDevice(world.task.device, force, { read: read(world.store) }, 0));

const ALL = { timeouts: true, retries: true };

/** What goes on by itself, without any further trouble. */
const progress = (world: World, allow: Partial<typeof ALL> = ALL): World[] => {
  const next = world.fired.flatMap((watch) => deliver({ ...world, fired: without(world.fired, watch) }, watch));
  if (allow.retries !== false && world.front.registered && (isFrontendWaiting(world.front) || world.lost.includes('f')))
    next.push(...wakeFront({ ...world, lost: without(world.lost, 'f') }, { why: 'retry' }));
  if (allow.retries !== false && world.back.registered && (isBackendWaiting(world.back) || world.lost.includes('b')))
    next.push(...wakeBack({ ...world, lost: without(world.lost, 'b') }, { why: 'retry' }));
  if (allow.timeouts !== false && world.task.dueUs !== null) next.push(stepTask(world, { why: 'timer' }, 1));
  if (world.script !== null && !world.stalled) next.push(endScript(world, null));
  if (!world.guestBooted && !isGone(world.store, placesOf(world).front))
    next.push(...wakeFront({ ...world, guestBooted: true }, { why: 'probe' }));
  // A device that could not be added is taken away again.
  if (world.task.phase === 'done' && world.task.action === 'add' && world.task.rc !== 0) next.push(remove(world, 'on'));
  return next;
};

/** What can happen besides. */
const trouble = (world: World): World[] => {
  const next = world.fired.flatMap((watch) => [
    // Lost; and delivered though it will be delivered again.
    {
      ...world,
      fired: without(world.fired, watch),
      lost: watch === 't' ? world.lost : [...new Set([...world.lost, watch.charAt(0)])].sort(),
    },
    ...deliver(world, watch),
  ]);
  if (world.script !== null && !world.stalled) next.push({ ...world, stalled: true });
  if (world.script !== null && world.breaks > 0) next.push(endScript({ ...world, breaks: world.breaks - 1 }, 'no'));
  if (world.removes > 0 && world.task.phase === 'done' && world.task.action === 'add' && world.task.rc === 0)
    for (const force of ['auto', 'on'] as const) next.push(remove({ ...world, removes: world.removes - 1 }, force));
  if (world.closes > 0 && world.front.registered)
    next.push(...wakeFront({ ...world, closes: world.closes - 1 }, { why: 'close' }));
  if (world.reopens > 0 && world.guestBooted && world.front.state === XENBUS.closed)
    next.push(...wakeFront({ ...world, reopens: world.reopens - 1 }, { why: 'reopen' }));
  return next;
};

const stateOf = (world: World, end: 'front' | 'back'): string | undefined =>
  world.store[`${placesOf(world)[end]}/state`];

const isConnected = (world: World): boolean =>
  world.front.state === XENBUS.connected &&
  world.back.state === XENBUS.connected &&
  stateOf(world, 'front') === '4' &&
  stateOf(world, 'back') === '4';

const isClosed = (world: World): boolean =>
  (world.front.state === XENBUS.closed || (!world.guestBooted && stateOf(world, 'front') === undefined)) &&
  world.back.state === XENBUS.closed;

const isSettled = (world: World): boolean =>
  world.task.phase === 'done' && world.script === null && (isConnected(world) || isClosed(world));

const FRONT_NODES = ['state', 'event-channel', 'event-channel-tx'];
const BACK_NODES = ['state', 'online', 'physical-device', 'hotplug-status', 'sectors', 'feature-rx-copy'];

/** All that can differ between two worlds of one exploration. */
const keyOf = (world: World): string => {
  const { store, front, back, task } = world;
  const paths = placesOf(world);
  return [
    ...FRONT_NODES.map((name) => store[`${paths.front}/${name}`]),
    ...BACK_NODES.map((name) => store[`${paths.back}/${name}`]),
    ...[
      front.state,
      front.queues.length,
      front.asking,
      front.leaving,
      front.registered,
      front.reopening,
      front.sectors,
    ],
    ...[back.state, back.shown, back.queues.length, back.mapped, back.disk === null, back.awaitsHotplug],
    back.registered,
    ...[task.action, task.force, task.phase, task.execution, task.dueUs, task.rc],
    ...[world.script?.args[0], world.stalled, world.guestBooted, world.closes, world.reopens, world.breaks],
    ...[world.removes, world.fired.join('+'), world.lost.join('+')],
  ].join(',');
};

interface Exploration {
  readonly states: number;
  readonly connected: number;
  readonly closed: number;
  /** States from which nothing that goes on by itself leads to an end. */
  readonly stuck: readonly World[];
}

const explore = (first: World, allow: Partial<typeof ALL> = ALL): Exploration => {
  const numbers = new Map<string, number>([[keyOf(first), 0]]);
  const worlds = [first];
  // For each state, those which come to it without trouble.
  const comingFrom: number[][] = [[]];
  const numberOf = (world: World): number => {
    const key = keyOf(world);
    const known = numbers.get(key);
    if (known !== undefined) return known;
    numbers.set(key, worlds.length);
    worlds.push(world);
    comingFrom.push([]);
    return worlds.length - 1;
  };
  for (let index = 0; index < worlds.length; index += 1) {
    const world = worlds[index] as World;
    for (const next of progress(world, allow)) comingFrom[numberOf(next)]?.push(index);
    for (const next of trouble(world)) numberOf(next);
  }
  const reaches = new Set<number>();
  const stack = worlds.flatMap((world, index) => (isSettled(world) ? [index] : []));
  for (let index = stack.pop(); index !== undefined; index = stack.pop()) {
    if (reaches.has(index)) continue;
    reaches.add(index);
    stack.push(...(comingFrom[index] ?? []));
  }
  return {
    states: worlds.length,
    connected: worlds.filter((world) => isSettled(world) && isConnected(world)).length,
    closed: worlds.filter((world) => isSettled(world) && isClosed(world)).length,
    stuck: worlds.filter((_, index) => !reaches.has(index)),
  };
};

const budget = { closes: 0, reopens: 0, breaks: 0, removes: 0 };

const begin = (device: Device, limits: Partial<typeof budget> = {}): World => {
  const block = device.kind === 'vbd';
  const nodes = block ? diskNodes(device) : cardNodes(device);
  const start = addDevice(device, nodes, { read: () => null }, 0);
  const driver = device.backendKind === 'qdisk' ? 'qdisk' : block ? 'blkback' : 'netback';
  const empty: World = {
    store: {},
    front: createFrontend(block ? 'blkfront' : 'netfront', device, 1),
    back: createBackend(driver, device, 1),
    task: start.task,
    script: null,
    stalled: false,
    fired: [],
    lost: [],
    guestBooted: false,
    ...budget,
    ...limits,
  };
  const made = carryOutTask({ ...empty, task: { ...start.task, phase: 'vanish' } }, start);
  const [probed] = wakeBack(made, { why: 'probe' });
  if (probed === undefined) throw new Error('a back-end finds its device');
  return probed;
};

/** Goes on without trouble and without a time-out, always by the first thing that changes anything. */
const settle = (world: World): World => {
  let now = world;
  for (let steps = 0; steps < 200; steps += 1) {
    const here = keyOf(now);
    const next = [...progress(now, { timeouts: false })].find((candidate) => keyOf(candidate) !== here);
    if (next === undefined) return now;
    now = next;
  }
  throw new Error('it does not settle');
};

/** An exploration takes seconds; the bound is for a machine that does much else. */
const EXPLORATION_MS = 300_000;

/**
 * Watches may be lost, doubled and late, scripts may fail, stall and be killed, memory may be short, libxl's patience may end at any moment, and the toolstack
 * and the guest may let go at any moment. From every state that this can lead to, what goes on by itself leads to Connected or to Closed on both sides: as
 * the states are finite, nobody waits for ever.
 */
describe('both ends of a device, with watches lost, doubled and late', () => {
  it.each([
    ['a disk that is attached', VBD, { breaks: 1 }],
    ['a disk that is attached and taken away', VBD, { removes: 1 }],
    ['a disk that its guest closes and takes up again', VBD, { closes: 1, reopens: 1 }],
    ['a card that is attached', VIF, { breaks: 1 }],
    ['a card that is attached and taken away', VIF, { removes: 1 }],
    ['a card that its guest closes and takes up again', VIF, { closes: 1, reopens: 1 }],
  ] as const)(
    'come to Connected or Closed on both sides: %s',
    (_name, device, limits) => {
      const found = explore(begin(device, limits));
      expect(found.stuck.slice(0, 1)).toEqual([]);
      expect(found.connected).toBeGreaterThan(0);
      expect(found.closed).toBeGreaterThan(0);
      expect(found.states).toBeGreaterThan(300);
    },
    EXPLORATION_MS,
  );

  it.each([
    ['a disk', VBD],
    ['a card', VIF],
  ] as const)('would wait for ever for a lost watch if they never looked again: %s', (_name, device) => {
    const found = explore(begin(device), { retries: false });
    const waiting = found.stuck.filter((world) => world.task.phase === 'done' && world.task.rc === 0);
    expect(waiting.length).toBeGreaterThan(0);
    expect(waiting.every((world) => world.lost.length > 0)).toBe(true);
  });
});

describe('the start of a disk', () => {
  it('goes through the states that the published diagram names, in its order', () => {
    const start = begin(VBD);
    expect([stateOf(start, 'front'), stateOf(start, 'back')]).toEqual(['1', '2']);
    // Before the script has named the disk, the back-end can't connect, whatever the guest does.
    const [booted] = wakeFront({ ...start, guestBooted: true }, { why: 'probe' });
    const early = booted === undefined ? start : (deliver({ ...booted, fired: [] }, 'b:otherEnd')[0] ?? booted);
    expect([stateOf(early, 'front'), stateOf(early, 'back'), early.back.mapped]).toEqual(['3', '2', true]);
    const end = settle(start);
    expect([stateOf(end, 'front'), stateOf(end, 'back')]).toEqual(['4', '4']);
    expect(end.front.sectors).toBe(41_943_040);
  });

  it('writes what a reader of the store finds on a real host', () => {
    const { store } = settle(begin(VBD));
    expect(frontendOf(VBD)).toBe('/local/domain/7/device/vbd/51712');
    expect(backendOf(VBD)).toBe('/local/domain/0/backend/vbd/7/51712');
    const under = (directory: string): Record<string, string | undefined> =>
      Object.fromEntries(
        Object.keys(store)
          .filter((path) => path.startsWith(`${directory}/`))
          .map((path) => [path.slice(directory.length + 1), store[path]]),
      );
    expect(under(frontendOf(VBD))).toEqual({
      backend: '/local/domain/0/backend/vbd/7/51712',
      'backend-id': '0',
      state: '4',
      'virtual-device': '51712',
      'device-type': 'disk',
      trusted: '1',
      'ring-ref': '8',
      'event-channel': '20',
      protocol: 'x86_64-abi',
      'feature-persistent': '1',
    });
    expect(under(backendOf(VBD))).toEqual({
      frontend: '/local/domain/7/device/vbd/51712',
      params: '/dev/vg/web-1',
      script: '/etc/xen/scripts/block',
      'frontend-id': '7',
      online: '1',
      removable: '0',
      bootable: '1',
      state: '4',
      dev: 'xvda',
      type: 'phy',
      mode: 'w',
      'device-type': 'disk',
      'discard-enable': '1',
      specification: 'xen',
      'feature-max-indirect-segments': '256',
      'multi-queue-max-queues': '1',
      'max-ring-page-order': '4',
      'physical-device': 'fd:3',
      'physical-device-path': '/dev/vg/web-1',
      'hotplug-status': 'connected',
      'feature-flush-cache': '1',
      'feature-discard': '0',
      'feature-barrier': '1',
      'feature-persistent': '1',
      sectors: '41943040',
      info: '0',
      'sector-size': '512',
      'physical-sector-size': '4096',
    });
    // The toolstack's copy keeps the state in which the device began; nothing reads it.
    expect(store[`${toolstackCopyOf(VBD)}/state`]).toBe('1');
    expect(store[`${toolstackCopyOf(VBD)}/backend`]).toBe(backendOf(VBD));
  });

  it('is reported to fail when the script stalls: libxl kills it after 40 s', () => {
    const start = begin(VBD);
    const running = settleUntil(start, (world) => world.script !== null);
    const late = stepTask({ ...running, stalled: true }, { why: 'timer' }, 1);
    expect([late.task.rc, late.script]).toEqual([LIBXL_ERROR.timedOut, null]);
    const end = settle(late);
    expect([end.front.registered, end.back.registered]).toEqual([false, false]);
    expect(Object.keys(end.store)).toEqual([]);
  });

  it('refuses a second device of the same number', () => {
    const { store } = settle(begin(VBD));
    const again = addDevice(VBD, diskNodes(VBD), { read: read(store) }, 0);
    expect([again.task.phase, again.task.rc, again.actions]).toEqual(['done', LIBXL_ERROR.deviceExists, []]);
  });
});

const settleUntil = (world: World, reached: (world: World) => boolean): World => {
  let now = world;
  while (!reached(now)) {
    const here = keyOf(now);
    const next = progress(now, { timeouts: false }).find((candidate) => keyOf(candidate) !== here);
    if (next === undefined) throw new Error('it is never reached');
    now = next;
  }
  return now;
};

describe('a back-end', () => {
  it.each([2, 7, 8, 9])('gives a device up whose front-end claims state %i', (state) => {
    const good = settle(begin(VBD));
    const bad = commit(good, [{ op: 'write', path: `${frontendOf(VBD)}/state`, value: String(state) }]);
    const [after] = deliver(bad, 'b:otherEnd');
    expect(after?.back.state).toBe(XENBUS.closing);
    expect(after?.store[errorPathOf(VBD, 'backend')]).toBe(`22 saw state ${state} at frontend`);
    expect(errorPathOf(VBD, 'backend')).toBe('/local/domain/0/error/backend/vbd/7/51712/error');
  });

  it('gives a device up when requests of the last connection are still in flight', () => {
    const good = settle(begin(VBD));
    const again = { ...good.back, state: XENBUS.initWait, shown: XENBUS.initWait };
    const { end, actions } = backendStep(
      again,
      { why: 'watch', token: 'otherEnd' },
      { ...backendViewOf(good.store), inFlight: 3 },
    );
    expect(end.state).toBe(XENBUS.closing);
    expect(JSON.stringify(actions)).toContain('16 pending I/O');
  });

  it('ignores a second Connected of its front-end', () => {
    const good = settle(begin(VBD));
    expect(backendStep(good.back, { why: 'watch', token: 'otherEnd' }, backendViewOf(good.store)).actions).toEqual([]);
  });

  it('keeps a device that the guest closes, for the next driver, as long as it is online', () => {
    const closed = settle(wakeFront(settle(begin(VBD)), { why: 'close' })[0] ?? begin(VBD));
    expect([closed.front.state, closed.back.state, closed.back.registered]).toEqual([
      XENBUS.closed,
      XENBUS.closed,
      true,
    ]);
    const [reopened] = wakeFront(closed, { why: 'reopen' });
    expect(isConnected(settle(reopened ?? closed))).toBe(true);
  });

  it('of qemu goes round to InitWait at once when its guest closed the device', () => {
    const qdisk: Device = { ...VBD, backendKind: 'qdisk' };
    const good = settle(begin(qdisk));
    expect(isConnected(good)).toBe(true);
    const closed = settle(wakeFront(good, { why: 'close' })[0] ?? good);
    expect([closed.front.state, closed.back.state]).toEqual([XENBUS.closed, XENBUS.initWait]);
  });

  it('of a card says Connected only after the script did, though the rings are in use before', () => {
    const start = begin(VIF);
    const [booted] = wakeFront({ ...start, guestBooted: true }, { why: 'probe' });
    const [mapped] = deliver(booted ?? start, 'b:otherEnd');
    expect([mapped?.front.state, mapped?.back.state, mapped?.back.shown]).toEqual([4, 4, 2]);
    expect(mapped?.store[`${backendOf(VIF)}/state`]).toBe('2');
    expect(isConnected(settle(mapped ?? start))).toBe(true);
  });
});

describe('a front-end', () => {
  it('shares new rings at once when it was resumed, without waiting for InitWait', () => {
    const there: Device = { ...VBD, domid: 9 };
    const { end } = frontendStep(settle(begin(VBD)).front, { why: 'resume', device: there }, { read: () => '1' });
    const { end: shared } = frontendStep(
      end,
      { why: 'ringsAllocated', queues: [{ rings: [[9]], ports: [4] }] },
      { read: (path) => (path.endsWith('/state') ? '1' : null) },
    );
    expect([end.asking, shared.state, shared.device.domid]).toEqual([true, XENBUS.initialised, 9]);
  });

  it('learns the new size of its disk when the back-end says Connected once more', () => {
    const good = settle(begin(VBD));
    const grown = commit(good, [
      { op: 'write', path: `${backendOf(VBD)}/sectors`, value: '83886080' },
      { op: 'write', path: `${backendOf(VBD)}/state`, value: '4' },
    ]);
    expect(deliver(grown, 'f:otherEnd')[0]?.front.sectors).toBe(83_886_080);
  });

  it('gives a device up whose back-end tells no size', () => {
    const good = settleUntil(begin(VBD), (world) => world.back.state === XENBUS.connected);
    const bad = commit(good, [{ op: 'rm', path: `${backendOf(VBD)}/sectors` }]);
    const [after] = wakeFront(
      { ...bad, front: { ...bad.front, state: XENBUS.initialised, registered: true } },
      {
        why: 'watch',
        token: 'otherEnd',
      },
    );
    expect(after?.store[errorPathOf(VBD, 'frontend')]).toBe(`2 reading backend fields at ${backendOf(VBD)}`);
    expect(errorPathOf(VBD, 'frontend')).toBe('/local/domain/7/error/device/vbd/51712/error');
  });
});

describe('libxl removing a device', () => {
  it('leaves nothing behind when the guest lets go', () => {
    const end = settle(remove(settle(begin(VIF)), 'off'));
    expect([end.task.rc, Object.keys(end.store)]).toEqual([0, []]);
  });

  it('fails after 10 s when the guest has no driver and it may not use force', () => {
    const attached = { ...settleUntil(begin(VBD), (world) => world.task.phase === 'done'), guestBooted: true };
    const idle = { ...attached, front: { ...attached.front, registered: false } };
    const asked = remove(idle, 'off');
    const end = stepTask(asked, { why: 'timer' }, 1);
    expect([end.task.phase, end.task.rc]).toEqual(['done', LIBXL_ERROR.timedOut]);
    expect(end.store[`${backendOf(VBD)}/state`]).toBe('5');
  });

  it('takes the device away by force after 10 s more when it may', () => {
    const attached = { ...settleUntil(begin(VBD), (world) => world.task.phase === 'done'), guestBooted: true };
    const asked = remove({ ...attached, front: { ...attached.front, registered: false } }, 'auto');
    const forced = stepTask(asked, { why: 'timer' }, 1);
    expect(forced.task.force).toBe('on');
    expect(Object.keys(settle(forced).store)).toEqual([]);
  });
});
