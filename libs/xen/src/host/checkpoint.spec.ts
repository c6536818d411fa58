import { describe, expect, it } from 'vitest';
import type { SavedGuestImage } from '../index.js';
import { imageBytes } from '../migration/index.js';
import { GIBIBYTE, HostRig, settingsOf, type Asked } from './host.spec-fixture.js';
import { Pair } from './migration.spec-fixture.js';

const CHECKPOINT = { do: 'checkpoint', timeoutMs: 60_000 } as const;
const SUSPEND = { do: 'suspend', timeoutMs: 60_000 } as const;
const CLEAN = { mode: 'clean', timeoutMs: 60_000 } as const;
const HARD = { mode: 'hard', timeoutMs: 1 } as const;

const RUNNING = { phase: 'up', guest: { phase: 'up', stopping: null } };

const started = (change: Parameters<HostRig['start']>[0] = {}): HostRig => {
  const rig = new HostRig();
  expect(rig.start(change)?.code).toBe('ok');
  return rig;
};

/** A guest that stands still while its image is written, and who waits for it. */
const writing = (change: Parameters<HostRig['start']>[0] = {}): { rig: HostRig; ticket: string } => {
  const rig = started(change);
  const ticket = rig.tell(CHECKPOINT);
  rig.pass(500);
  expect(rig.state.machines['a']?.phase).toBe('suspended');
  return { rig, ticket };
};

/** Name, id and memory of each domain, as `xl list` shows them. */
const listed = (rig: HostRig): readonly string[] =>
  rig
    .tool('xl', 'list')
    .split('\n')
    .slice(1)
    .map((line) => line.split(/\s+/).slice(0, 4).join(' '));

describe('a guest of which a checkpoint is taken', () => {
  it('goes on in its domain, which is there all the time', () => {
    const rig = started();
    const free = rig.freeBytes;
    const domains = listed(rig);
    const began = rig.at;
    const ticket = rig.tell(CHECKPOINT);
    const views = new Set<string>();
    while (rig.told(ticket) === null && rig.at - began < 60_000) {
      rig.pass(10);
      views.add(JSON.stringify(rig.model.inventory(rig.state)));
      expect(listed(rig)).toEqual(domains);
      expect(rig.freeBytes).toBe(free);
    }
    expect(rig.told(ticket)).toMatchObject({
      code: 'ok',
      value: { sizeBytes: imageBytes({ isPv: false, pages: GIBIBYTE / 4096, vcpus: 4 }) },
    });
    expect(rig.at - began).toBeGreaterThan(1_000);
    const view = { uid: 'a', incarnation: 1, domid: 1, state: 'running' };
    expect([...views]).toEqual([view, { ...view, standsStill: true }].map((each) => JSON.stringify([each])));
    expect(rig.model.inventory(rig.state)).toEqual([view]);
    expect(rig.state.machines['a']).toMatchObject({ ...RUNNING, image: null, waiting: [] });
    expect(rig.events.filter(({ type }) => type === 'guestEnded')).toEqual([]);
    rig.pass(60_000);
    expect(rig.state.machines['a']).toMatchObject(RUNNING);
    expect(rig.model.nextDue(rig.state)).toBeNull();
    expect(rig.tool('xl', 'block-list', 'web').split('\n')[1]).toMatch(/^51712\s+0\s+1\s+4/);
    expect(rig.ask({ do: 'shutdown', ...CLEAN })?.code).toBe('ok');
  });

  it('gives an image from which a later run goes on, here and elsewhere', () => {
    const rig = started();
    const image = rig.ask(CHECKPOINT)?.value as SavedGuestImage;
    const resume = { do: 'resume', settings: settingsOf(), image, paused: false, incarnation: 2 } as const;
    expect(rig.ask(resume)?.code).toBe('host_domain_exists');
    expect(rig.ask({ do: 'shutdown', ...HARD })?.code).toBe('ok');
    for (const host of [rig, new HostRig(1_000, 'host-0002')]) {
      const began = host.at;
      expect(host.ask(resume)).toMatchObject({ code: 'ok', value: { state: 'running' } });
      expect(host.at - began).toBeGreaterThan(1_000);
      expect(host.state.machines['a']).toMatchObject(RUNNING);
      expect(host.ask({ do: 'shutdown', ...CLEAN, incarnation: 2 })?.code).toBe('ok');
    }
  });

  it('is saved time and again, also on a host without time', () => {
    for (const bootMs of [0, 1_000]) {
      const rig = new HostRig(bootMs);
      rig.start({ disks: [], nics: [] });
      for (let nth = 0; nth < 3; nth += 1) expect(rig.ask(CHECKPOINT)?.code).toBe('ok');
      expect(rig.state.machines['a']).toMatchObject({ ...RUNNING, domid: 1 });
      expect(rig.ask(SUSPEND)?.code).toBe('ok');
      expect(rig.model.inventory(rig.state)).toEqual([]);
    }
  });

  it('is saved once for all who ask meanwhile', () => {
    const rig = started();
    const tickets = [rig.tell(CHECKPOINT)];
    for (const ms of [5, 500]) {
      rig.pass(ms);
      tickets.push(rig.tell(CHECKPOINT));
    }
    rig.pass(60_000);
    const [first, ...others] = tickets.map((ticket) => rig.told(ticket));
    expect(first?.code).toBe('ok');
    for (const other of others) expect(other).toEqual(first);
    expect(rig.state.machines['a']).toMatchObject(RUNNING);
    // Nobody asks it any more.
    expect(rig.tool('xenstore', 'read', '/local/domain/1/control/shutdown')).toBe('\n');
  });

  it('is not, and runs on, when it does not acknowledge, is paused or has no drivers', () => {
    const deaf = started({ ignoresShutdown: true });
    expect(deaf.ask({ ...CHECKPOINT, timeoutMs: 500 })?.code).toBe('guest_ignored_shutdown');
    expect(deaf.tool('xenstore', 'read', '/local/domain/1/control/shutdown')).toBe('\n');
    expect(deaf.model.inventory(deaf.state)).toMatchObject([{ state: 'running' }]);
    const held = started();
    held.ask({ do: 'pause' });
    expect(held.ask({ ...CHECKPOINT, timeoutMs: 500 })?.code).toBe('guest_ignored_shutdown');
    held.ask({ do: 'unpause' });
    held.pass(60_000);
    expect(held.state.machines['a']).toMatchObject(RUNNING);
    const plain = started({ guestType: 'hvm', pvDrivers: false });
    expect(plain.ask(CHECKPOINT)?.code).toBe('host_domain_unsupported');
    expect(plain.ask({ ...CHECKPOINT, uid: 'b' })?.code).toBe('host_unknown_domain');
  });

  it('is asked when it has booted', () => {
    const rig = new HostRig();
    rig.tell({ do: 'start', settings: settingsOf(), paused: false });
    expect(rig.ask(CHECKPOINT)?.code).toBe('ok');
    expect(rig.state.machines['a']).toMatchObject(RUNNING);
  });
});

describe('who wants something else of a guest while its checkpoint is written', () => {
  it('stops it or reboots it when it goes on', () => {
    const stops = writing();
    expect(stops.rig.ask({ do: 'shutdown', ...CLEAN })?.code).toBe('ok');
    expect(stops.rig.told(stops.ticket)?.code).toBe('ok');
    expect(stops.rig.model.inventory(stops.rig.state)).toEqual([]);
    const reboots = writing();
    expect(reboots.rig.ask({ do: 'reboot', ...CLEAN })).toMatchObject({ code: 'ok', value: { domid: 2 } });
    expect(reboots.rig.told(reboots.ticket)?.code).toBe('ok');
  });

  it('stops it though it has acknowledged to stand still', () => {
    const rig = started();
    const ticket = rig.tell(CHECKPOINT);
    rig.pass(5);
    expect(rig.state.machines['a']?.guest.stopping).toBe('suspend');
    expect(rig.ask({ do: 'shutdown', ...CLEAN })?.code).toBe('ok');
    expect(rig.told(ticket)?.code).toBe('ok');
  });

  it.each<[string, Asked]>([
    ['shutdown', { do: 'shutdown', ...HARD }],
    ['reboot', { do: 'reboot', ...HARD }],
    ['destruction', { do: 'destroy' }],
  ])('cancels it by force (%s)', (_, input) => {
    const { rig, ticket } = writing();
    expect(rig.ask(input)?.code).toBe('ok');
    rig.pass(60_000);
    expect(rig.told(ticket)?.code).toBe('command_cancelled');
    if (input.do === 'reboot') expect(rig.state.machines['a']).toMatchObject({ ...RUNNING, domid: 2, waiting: [] });
    else expect(rig.model.inventory(rig.state)).toEqual([]);
  });

  it('pauses it, so that it stands still until it is unpaused', () => {
    const { rig, ticket } = writing();
    expect(rig.ask({ do: 'pause' })).toMatchObject({ code: 'ok', value: { domid: 1, state: 'paused' } });
    rig.pass(60_000);
    expect(rig.told(ticket)?.code).toBe('ok');
    expect(rig.model.inventory(rig.state)).toMatchObject([{ state: 'paused' }]);
    expect(rig.tool('xl', 'list')).toMatch(/web .* -.p--- /);
    expect(rig.ask({ do: 'unpause' })?.code).toBe('ok');
    expect(rig.ask({ do: 'shutdown', ...CLEAN })?.code).toBe('ok');
  });

  it('suspends it: both get the image, and the domain ends', () => {
    const { rig, ticket } = writing();
    const stop = rig.tell({ do: 'shutdown', ...CLEAN });
    const image = rig.ask(SUSPEND);
    expect(image?.code).toBe('ok');
    expect(rig.told(ticket)).toEqual(image);
    expect(rig.told(stop)?.code).toBe('guest_ignored_shutdown');
    expect(rig.model.inventory(rig.state)).toEqual([]);
  });

  it('finds it where it is asked for once more, and its devices as they are', () => {
    const { rig, ticket } = writing();
    const disk = { name: 'data', volume: 'w', sizeBytes: GIBIBYTE, readOnly: false };
    expect(rig.ask({ do: 'attach', device: { kind: 'disk', settings: disk } })?.code).toBe('host_device_failed');
    expect(rig.start()).toMatchObject({ code: 'ok', value: { domid: 1, state: 'running' } });
    expect(rig.told(ticket)?.code).toBe('ok');
    expect(rig.ask({ do: 'attach', device: { kind: 'disk', settings: disk } })?.code).toBe('ok');
  });

  it('lets go of a device that the guest had been asked for', () => {
    const rig = started();
    const detached = rig.tell({ do: 'detach', kind: 'nic', name: 'eth0' });
    const ticket = rig.tell(CHECKPOINT);
    rig.pass(120_000);
    expect([detached, ticket].map((each) => rig.told(each)?.code)).toEqual(['ok', 'ok']);
    expect(rig.state.machines['a']?.devices.map(({ name }) => name)).toEqual(['root']);
  });

  it('loses it with its host', () => {
    const { rig, ticket } = writing();
    rig.crash();
    expect(rig.told(ticket)?.code).toBe('host_crashed');
  });

  it('can’t migrate it, nor save it while it is migrated', () => {
    const { rig } = writing();
    const migrate = { do: 'migrate', to: 'host-0002', toIncarnation: 2, operation: 'op', policy: 'xen-v2' } as const;
    expect(rig.ask(migrate)?.code).toBe('migration_failed');
    const asked = started();
    asked.tell(CHECKPOINT);
    expect(asked.ask(migrate)?.code).toBe('migration_failed');
    for (const ms of [0, 500, 1_000]) {
      const pair = new Pair();
      pair.start();
      pair.receive();
      const ticket = pair.begin();
      pair.pass(ms);
      const told = pair.ask('host-0001', CHECKPOINT)?.code;
      pair.pass(120_000);
      expect(pair.hosts['host-0001'].told(ticket)?.code).toBe('ok');
      expect(told).toBe('host_domain_unsupported');
      expect(pair.ask('host-0002', { ...CHECKPOINT, incarnation: 2 })?.code).toBe('ok');
    }
  });

  it('saves it when it was not migrated after all', () => {
    const pair = new Pair();
    pair.start();
    pair.receive();
    const ticket = pair.begin();
    pair.pass(300);
    expect(pair.ask('host-0001', { do: 'cancelMigration' })?.code).toBe('ok');
    pair.pass(60_000);
    expect(pair.hosts['host-0001'].told(ticket)?.code).toBe('migration_cancelled');
    expect(pair.ask('host-0001', CHECKPOINT)?.code).toBe('ok');
    expect(pair.runs('host-0001')).toBe(true);
  });
});
