import { describe, expect, it } from 'vitest';
import type { DeviceEffects } from '../device-fault.js';
import { GIBIBYTE, ModelRig, settingsOf } from '../host/host.spec-fixture.js';
import { timingFor } from '../host-timing.js';
import type { DomainFigures, DomainSettings } from '../index.js';
import { kvmHostModel } from './kvm-host.js';
import type { KvmHostState } from './kvm-state.js';

const model = kvmHostModel(timingFor(1_000));
const DISK = { kind: 'disk', settings: { name: 'data', volume: 'v2', sizeBytes: GIBIBYTE, readOnly: false } } as const;

const started = (change: Partial<DomainSettings> = {}): ModelRig<KvmHostState> => {
  const rig = new ModelRig(model, 'kvm-0001');
  const settings = settingsOf({ guestType: 'hvm', workload: 'database', ...change });
  expect(rig.ask({ do: 'start', settings, paused: false })?.code).toBe('ok');
  return rig;
};

const figuresOf = (rig: ModelRig<KvmHostState>): DomainFigures => {
  const [figures] = model.domainFigures(rig.state, rig.at);
  if (!figures) throw new Error('the machine is not there');
  return figures;
};

const strike = (rig: ModelRig<KvmHostState>, effects: DeviceEffects, devices: readonly string[] = []): void => {
  const rule = { rule: 'r', machines: [], devices, effects, probability: 1, seed: 0, left: null };
  rig.tell({ do: 'setFaults', faults: [rule] });
};
const heal = (rig: ModelRig<KvmHostState>): string => rig.tell({ do: 'setFaults', faults: [] });

describe('devices of a KVM host', () => {
  it('count what goes through their virtqueues, as the workload asks', () => {
    const rig = started();
    rig.pass(100_000);
    const before = figuresOf(rig);
    rig.pass(10_000);
    const [disk] = figuresOf(rig).disks ?? [];
    const [nic] = figuresOf(rig).nics ?? [];
    // 800 reads and 600 writes, 2,000 packets in both directions, in each second.
    expect(Math.abs((disk?.reads ?? 0) - (before.disks?.[0]?.reads ?? 0) - 8_000)).toBeLessThan(3);
    expect(Math.abs((disk?.writes ?? 0) - (before.disks?.[0]?.writes ?? 0) - 6_000)).toBeLessThan(3);
    expect(Math.abs((nic?.sentPackets ?? 0) - (before.nics?.[0]?.sentPackets ?? 0) - 10_000)).toBeLessThan(3);
    expect(disk?.rings).toEqual({ inFlight: 0, fullSeconds: 0 });
    expect(disk?.states).toBeUndefined();
    expect(figuresOf(rig).dirtyPagesPerSecond).toBe(60_000);
  });

  it('rest while the guest stands still', () => {
    const rig = started();
    rig.ask({ do: 'pause' });
    // What was under way is answered.
    rig.pass(1_000);
    const before = figuresOf(rig);
    rig.pass(60_000);
    expect(figuresOf(rig)).toEqual(before);
  });

  it('have no virtqueues where the guest has no drivers for them, and serve it more slowly', () => {
    const rig = started({ pvDrivers: false });
    rig.pass(100_000);
    const [disk] = figuresOf(rig).disks ?? [];
    expect(disk?.rings).toBeUndefined();
    expect(disk?.reads).toBeGreaterThan(0);
    const fast = started();
    fast.pass(100_000);
    expect(disk?.reads).toBeLessThan(figuresOf(fast).disks?.[0]?.reads ?? 0);
  });

  it('hold the guest back when their virtqueues are full, and lose nothing', () => {
    const rig = started();
    strike(rig, { fillRings: true }, ['root']);
    rig.pass(10_000);
    const [stuck] = figuresOf(rig).disks ?? [];
    // 256 entries for each of four vCPUs.
    expect(stuck?.rings?.inFlight).toBe(1_024);
    expect(stuck?.rings?.fullSeconds).toBeGreaterThan(8);
    rig.pass(10_000);
    expect(figuresOf(rig).disks?.[0]?.reads).toBe(stuck?.reads);
    expect(rig.events).toContainEqual(expect.objectContaining({ type: 'faultStruck', what: 'fillRings web/root' }));
    heal(rig);
    rig.pass(10_000);
    expect(figuresOf(rig).disks?.[0]?.rings?.inFlight).toBe(0);
    expect(figuresOf(rig).disks?.[0]?.reads).toBeGreaterThan(stuck?.reads ?? 0);
  });

  it('fail to be plugged in with the words of the rule, or after 30 s without an answer', () => {
    const rig = started();
    strike(rig, { failHotplug: 'Could not open image' });
    expect(rig.ask({ do: 'attach', device: DISK })).toMatchObject({
      code: 'host_device_failed',
      value: 'data of web on kvm-0001: Could not open image',
    });
    strike(rig, { stallHotplug: true });
    const ticket = rig.tell({ do: 'attach', device: DISK });
    rig.pass(29_000);
    expect(rig.told(ticket)).toBeNull();
    rig.pass(2_000);
    expect(rig.told(ticket)?.value).toBe('data of web on kvm-0001: QEMU does not answer');
    heal(rig);
    expect(rig.ask({ do: 'attach', device: DISK })?.code).toBe('ok');
    expect(figuresOf(rig).disks?.map(({ name }) => name)).toEqual(['root', 'data']);
    expect(rig.ask({ do: 'detach', kind: 'disk', name: 'data' })?.code).toBe('ok');
    expect(figuresOf(rig).disks?.map(({ name }) => name)).toEqual(['root']);
  });

  it('fail a start, which leaves no process', () => {
    const rig = new ModelRig(model, 'kvm-0001');
    strike(rig, { failHotplug: 'no such file' }, ['root']);
    const settings = settingsOf({ guestType: 'hvm' });
    expect(rig.ask({ do: 'start', settings, paused: false })?.code).toBe('host_device_failed');
    rig.pass(10_000);
    expect(model.domainFigures(rig.state, rig.at)).toEqual([]);
  });

  it('lose no watches: there is no xenstore', () => {
    const rig = started();
    strike(rig, { dropWatches: 'all' });
    expect(rig.ask({ do: 'attach', device: DISK })?.code).toBe('ok');
    expect(rig.events.filter(({ type }) => type === 'faultStruck')).toEqual([]);
  });
});
