import { describe, expect, it } from 'vitest';
import type { DeviceEffects } from '../device-fault.js';
import { ModelRig, settingsOf } from '../host/host.spec-fixture.js';
import { timingFor } from '../host-timing.js';
import { kvmHostModel } from './kvm-host.js';
import type { KvmHostState } from './kvm-state.js';

const model = kvmHostModel(timingFor(0));

const running = (): ModelRig<KvmHostState> => {
  const rig = new ModelRig(model, 'kvm-0001');
  expect(rig.start({ guestType: 'hvm' })?.code).toBe('ok');
  return rig;
};

const strike = (rig: ModelRig<KvmHostState>, effects: DeviceEffects): void =>
  rig.setFaults({ rule: 'rule', machines: [], devices: [], effects, probability: 1, seed: 0, left: null });

describe('deaths on a KVM host', () => {
  it('of libvirtd let processes go on and nothing be done to them, until it is started again', () => {
    const rig = running();
    strike(rig, { killDaemon: 'libvirtd' });
    expect(model.lostDaemons(rig.state)).toEqual(['libvirtd']);
    expect(rig.output('virsh', 'list').stderr).toContain('Failed to connect socket');
    expect(rig.ask({ do: 'pause' })).toMatchObject({ code: 'host_control_plane_lost' });
    expect(model.inventory(rig.state)).toMatchObject([{ state: 'running' }]);
    rig.setFaults();
    expect(model.lostDaemons(rig.state)).toEqual([]);
    expect(rig.ask({ do: 'pause' })).toMatchObject({ code: 'ok' });
    expect(rig.events.filter(({ type }) => type === 'daemonsChanged')).toHaveLength(2);
  });

  it('of a QEMU process end its machine as a crash does, whatever it was to do then', () => {
    const rig = running();
    strike(rig, { killDeviceModel: true });
    expect(rig.events.filter(({ type }) => type === 'guestEnded')).toMatchObject([{ uid: 'a', reason: 'crash' }]);
    expect(model.inventory(rig.state)).toEqual([]);
    const next = rig.ask({ do: 'start', incarnation: 2, paused: false, settings: settingsOf({ guestType: 'hvm' }) });
    expect(next).toMatchObject({ code: 'command_cancelled' });
  });

  it('of Xen’s daemons mean nothing', () => {
    const rig = running();
    strike(rig, { killDaemon: 'xenstored' });
    expect([model.lostDaemons(rig.state), rig.events.some(({ type }) => type === 'faultStruck')]).toEqual([[], false]);
  });
});
