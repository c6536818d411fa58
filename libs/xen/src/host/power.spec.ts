import { describe, expect, it } from 'vitest';
import { timingFor } from '../host-timing.js';
import { kvmHostModel } from '../kvm/kvm-host.js';
import { ModelRig, settingsOf, type HostRig } from './host.spec-fixture.js';
import { xenHostModel } from './xen-host.js';

const BOOT_MS = 1_000;
const MINUTES_MS = 600_000;

const KINDS = [
  { kind: 'Xen', rig: () => new ModelRig(xenHostModel(timingFor(BOOT_MS)), 'host-0001') },
  { kind: 'KVM', rig: () => new ModelRig(kvmHostModel(timingFor(BOOT_MS)), 'host-0001') },
] as const;

type Rig = Pick<HostRig, 'ask' | 'tell' | 'told' | 'pass' | 'crash' | 'events' | 'output'> & {
  readonly up: () => boolean;
  readonly due: () => number | null;
  readonly bootId: () => string;
};

const rigOf = <State>(rig: ModelRig<State>): Rig =>
  Object.assign(rig, {
    up: () => rig.model.isUp(rig.state),
    due: () => rig.model.nextDue(rig.state),
    bootId: () => rig.model.bootId(rig.state),
  });

const started = (rig: Rig) => rig.ask({ do: 'start', settings: settingsOf({ guestType: 'hvm' }), paused: false });

describe.each(KINDS)('power of a $kind host', ({ rig: make }) => {
  const fresh = (): Rig => rigOf(make() as ModelRig<unknown>);

  it('is off at once, and nothing happens there any more', () => {
    const rig = fresh();
    expect(rig.ask({ do: 'powerOff' })?.code).toBe('ok');
    expect([rig.up(), rig.due()]).toEqual([false, null]);
    rig.pass(MINUTES_MS);
    expect([rig.up(), rig.due()]).toEqual([false, null]);
    expect(rig.events.filter(({ type }) => type !== 'answered').map(({ type }) => type)).toEqual(['poweredOff']);
  });

  it('boots anew when it gets power, under another boot id', () => {
    const rig = fresh();
    const before = rig.bootId();
    rig.ask({ do: 'powerOff' });
    expect(rig.bootId()).toBe(before);
    const woken = rig.ask({ do: 'powerOn' });
    expect(woken).toEqual({ code: 'ok', value: { bootId: rig.bootId() } });
    expect(rig.bootId()).not.toBe(before);
    expect(rig.up()).toBe(false);
    rig.pass(MINUTES_MS);
    expect(rig.up()).toBe(true);
    expect(started(rig)?.code).toBe('ok');
  });

  it('asked for what is so already, does nothing', () => {
    const rig = fresh();
    const before = rig.bootId();
    expect(rig.ask({ do: 'powerOn' })).toEqual({ code: 'ok', value: { bootId: before } });
    rig.ask({ do: 'powerOff' });
    expect(rig.ask({ do: 'powerOff' })?.code).toBe('ok');
    expect(rig.events.filter(({ type }) => type === 'poweredOff')).toHaveLength(1);
  });

  it('refuses to cut off guests, naming them', () => {
    const rig = fresh();
    started(rig);
    const refused = rig.ask({ do: 'powerOff' });
    expect(refused?.code).toBe('host_in_use');
    expect(refused?.value).toContain('host-0001 is not powered off');
    expect(rig.up()).toBe(true);
  });

  it('does nothing that it is told while it is off, and can’t lose power', () => {
    const rig = fresh();
    rig.ask({ do: 'powerOff' });
    expect(started(rig)?.code).toBe('host_powered_off');
    rig.crash();
    expect([rig.up(), rig.due()]).toEqual([false, null]);
    expect(rig.output('virsh', 'list').stderr + rig.output('xl', 'list').stderr).toContain('powered off');
  });

  it('can be powered off while it boots; what waited for it is refused', () => {
    const rig = fresh();
    rig.crash();
    const waits = rig.tell({ do: 'start', settings: settingsOf({ guestType: 'hvm' }), paused: false });
    rig.ask({ do: 'powerOff' });
    expect(rig.told(waits)?.code).toBe('host_powered_off');
    rig.pass(MINUTES_MS);
    expect(rig.up()).toBe(false);
  });
});
