import { assert } from '@xenolith/kernel';
import { describe, expect, it } from 'vitest';
import type { DeviceFault, DomainFigures } from '../index.js';
import { GIBIBYTE, HostRig } from './host.spec-fixture.js';

const FULL: DeviceFault = {
  rule: 'rule',
  machines: ['web'],
  devices: ['root'],
  effects: { fillRings: true },
  probability: 1,
  seed: 0,
  left: null,
};

const figuresOf = (rig: HostRig, laterMs = 0): DomainFigures => {
  const [domain] = rig.model.domainFigures(rig.state, rig.at + laterMs);
  assert(domain, 'a domain runs');
  return domain;
};

const diskOf = (rig: HostRig, laterMs = 0) => {
  const [disk] = figuresOf(rig, laterMs).disks ?? [];
  assert(disk, 'it has a disk');
  return disk;
};

const nicOf = (rig: HostRig, laterMs = 0) => {
  const [nic] = figuresOf(rig, laterMs).nics ?? [];
  assert(nic, 'it has an interface');
  return nic;
};

const running = (workload: 'idle' | 'web' | 'database', change: object = {}): HostRig => {
  const rig = new HostRig();
  expect(rig.start({ workload, ...change })?.code).toBe('ok');
  return rig;
};

const dom0Cpu = (rig: HostRig): number => rig.model.figures(rig.state).controlDomain?.cpu ?? 0;

describe('a guest that works', () => {
  it('reads and writes, sends and receives as its workload says', () => {
    // web: 20 reads and 15 writes of 16 KiB, 4000 packets of 900 bytes in a second.
    const rig = running('web');
    const [before, after] = [diskOf(rig), diskOf(rig, 100_000)];
    expect(after.reads - before.reads).toBeCloseTo(2_000, -1);
    expect(after.writes - before.writes).toBeCloseTo(1_500, -1);
    expect((after.readBytes - before.readBytes) / (2_000 * 16_384)).toBeCloseTo(1, 2);
    expect(after.states).toEqual({ frontend: 4, backend: 4 });
    const [quiet, loud] = [nicOf(rig), nicOf(rig, 100_000)];
    expect((loud.sentPackets - quiet.sentPackets) / 200_000).toBeCloseTo(1, 2);
    expect((loud.receivedBytes - quiet.receivedBytes) / (200_000 * 900)).toBeCloseTo(1, 2);
    expect(figuresOf(rig)).toMatchObject({ cpu: 0.5, dirtyPagesPerSecond: 15_000 });
  });

  it('keeps Dom0 busy with it, eight times as much where a device model serves it', () => {
    const idle = dom0Cpu(new HostRig());
    // 1400 requests at 12 µs and 2000 packets at 2.5 µs.
    expect(dom0Cpu(running('database')) - idle).toBeCloseTo(0.0218, 2);
    const emulated = running('web', { guestType: 'hvm', pvDrivers: false });
    // 35 requests and 4000 packets.
    expect(dom0Cpu(emulated) - idle).toBeCloseTo(8 * 0.01042, 2);
    expect(diskOf(emulated).rings).toBeUndefined();
    expect(diskOf(emulated, 100_000).reads).toBeGreaterThan(1_900);
  });

  it('costs nothing while time passes: asking changes nothing, and nothing is due', () => {
    const rig = running('database');
    expect(rig.model.nextDue(rig.state)).toBeNull();
    const before = JSON.stringify(rig.state);
    figuresOf(rig, 3_600_000);
    rig.tool('xl', 'top');
    expect(JSON.stringify(rig.state)).toBe(before);
  });

  it('does nothing while it is paused, and goes on after', () => {
    const rig = running('web');
    rig.ask({ do: 'pause' });
    const { reads } = diskOf(rig, 1_000);
    expect(diskOf(rig, 500_000).reads).toBe(reads);
    expect(figuresOf(rig)).toMatchObject({ cpu: 0, dirtyPagesPerSecond: 0 });
    rig.ask({ do: 'unpause' });
    expect(diskOf(rig, 100_000).reads).toBeGreaterThan(reads + 1_900);
  });

  it('shows the same to xl top', () => {
    const rig = running('web');
    rig.pass(100_000);
    const row = rig.tool('xl', 'top').split('\n')[2]?.trim().split(/ +/) ?? [];
    const { reads, writes } = diskOf(rig);
    expect(row.slice(14, 16)).toEqual([String(reads), String(writes)]);
    expect(Number(row[10])).toBe(Math.floor(nicOf(rig).sentBytes / 1024));
    expect(row[3]).toBe('50.0');
  });

  it('writes to no disk that it may only read', () => {
    const rig = running('database', {
      disks: [{ name: 'root', volume: 'v', sizeBytes: GIBIBYTE, readOnly: true }],
    });
    expect(diskOf(rig, 10_000)).toMatchObject({ writes: 0, writtenBytes: 0 });
  });
});

describe('a full ring', () => {
  it('holds the guest back, and loses nothing when its back-end answers again', () => {
    const rig = running('web');
    rig.pass(10_000);
    rig.tell({ do: 'setFaults', faults: [FULL] });
    const struck = rig.events.flatMap((event) => (event.type === 'faultStruck' ? [event.what] : []));
    expect(struck).toEqual(['fillRings web/root']);
    const { reads, writes } = diskOf(rig);
    rig.pass(100_000);
    // 64 entries in two queues of one page.
    expect(diskOf(rig)).toMatchObject({ reads, writes, rings: { inFlight: 64 } });
    // 35 requests in a second fill them in less than two.
    expect(diskOf(rig).rings?.fullSeconds).toBeCloseTo(98.2, 0);
    expect(Number(rig.tool('xl', 'top').split('\n')[2]?.trim().split(/ +/)[13])).toBeGreaterThan(3_000);
    rig.tell({ do: 'setFaults', faults: [] });
    const drained = diskOf(rig, 1_000);
    expect(drained.rings?.inFlight).toBe(0);
    expect(drained.reads + drained.writes).toBe(reads + writes + 64 + 35);
  });

  it('stays full when its rule may strike no more', () => {
    const rig = running('web');
    rig.tell({ do: 'setFaults', faults: [{ ...FULL, left: 1 }] });
    rig.tell({ do: 'setFaults', faults: [{ ...FULL, left: 0 }] });
    rig.pass(10_000);
    expect(diskOf(rig).rings?.inFlight).toBe(64);
  });

  it('does not keep the domain from being destroyed', () => {
    const rig = running('web');
    const free = new HostRig().freeBytes;
    rig.tell({ do: 'setFaults', faults: [FULL] });
    rig.pass(10_000);
    expect(rig.ask({ do: 'destroy' })?.code).toBe('ok');
    rig.pass(60_000);
    expect(rig.freeBytes).toBe(free);
  });
});
