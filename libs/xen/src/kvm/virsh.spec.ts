import { describe, expect, it } from 'vitest';
import { GIBIBYTE, ModelRig, settingsOf } from '../host/host.spec-fixture.js';
import { timingFor } from '../host-timing.js';
import type { DomainSettings } from '../index.js';
import { kvmHostModel } from './kvm-host.js';
import type { KvmHostState } from './kvm-state.js';

const UID = '00000000-0000-4000-8000-00000000000a';
const model = kvmHostModel(timingFor(1_000));

const started = (change: Partial<DomainSettings> = {}): ModelRig<KvmHostState> => {
  const rig = new ModelRig(model, 'kvm-0001');
  const settings = settingsOf({ guestType: 'hvm', workload: 'web', ...change });
  rig.ask({ do: 'start', settings, paused: false, uid: UID });
  return rig;
};
const virsh = (rig: ModelRig<KvmHostState>, ...args: string[]): string => rig.tool('virsh', ...args);

describe('virsh', () => {
  it('tells of the host, sockets by NUMA cell', () => {
    expect(virsh(started(), 'nodeinfo')).toBe(
      [
        'CPU model:           x86_64',
        'CPU(s):              4',
        'CPU frequency:       3400 MHz',
        'CPU socket(s):       1',
        'Core(s) per socket:  4',
        'Thread(s) per core:  1',
        'NUMA cell(s):        1',
        'Memory size:         16777216 KiB',
        '',
      ].join('\n'),
    );
  });

  it('tells which node the memory of a domain is of first', () => {
    expect(virsh(started(), 'numatune', 'web')).toBe('numa_mode      : strict\nnuma_nodeset   : \n\n');
    expect(virsh(started({ memoryNode: 0 }), 'numatune', 'web')).toBe(
      'numa_mode      : preferred\nnuma_nodeset   : 0\n\n',
    );
  });

  it('tells of the state of a domain alone, and of all figures by their names', () => {
    const rig = started();
    rig.pass(100_000);
    expect(virsh(rig, 'domstate', 'web')).toBe('running\n\n');
    const stats = virsh(rig, 'domstats');
    expect(stats).toMatch(/^Domain: 'web'\n {2}state\.state=1\n {2}state\.reason=1\n {2}cpu\.time=[1-9]\d*\n/);
    expect(stats).toContain(
      '  balloon.current=1048576\n  balloon.maximum=2097152\n  vcpu.current=2\n  vcpu.maximum=4\n',
    );
    expect(stats).toContain('  net.count=1\n  net.0.name=vnet0\n');
    expect(stats).toMatch(
      / {2}block\.count=1\n {2}block\.0\.name=vda\n {2}block\.0\.path=\S+\n {2}block\.0\.rd\.reqs=[1-9]/,
    );
    rig.ask({ do: 'pause', uid: UID });
    expect(virsh(rig, 'domstats', 'web')).toContain('  state.state=3\n  state.reason=1\n');
    expect(rig.output('virsh', 'domstats', 'nobody').stderr).toBe("error: failed to get domain 'nobody'\n");
  });

  it('tells of a domain by its name, its number and its UUID', () => {
    const rig = started();
    const text = virsh(rig, 'dominfo', 'web');
    expect(text).toMatch(
      /^Id: {13}1\nName: {11}web\nUUID: {11}00000000-0000-4000-8000-00000000000a\nOS Type: {8}hvm\n/,
    );
    expect(text).toMatch(/\nState: {10}running\nCPU\(s\): {9}2\nCPU time: {7}\d+\.\ds\nMax memory: {5}2097152 KiB\n/);
    expect(text).toMatch(
      /\nUsed memory: {4}1048576 KiB\nPersistent: {5}no\nAutostart: {6}disable\nManaged save: {3}no\n\n$/,
    );
    expect(virsh(rig, 'dominfo', '1')).toBe(text);
    expect(virsh(rig, 'dominfo', UID)).toBe(text);
    expect(virsh(rig, 'list', '--all')).toBe(virsh(rig, 'list'));
  });

  it('shows where vCPUs may run', () => {
    expect(virsh(started({ pin: '1-2' }), 'vcpuinfo', 'web').replace(/ {7}\d+\.\ds/g, '')).toBe(
      [
        'VCPU:           0',
        'CPU:            1',
        'State:          running',
        'CPU time:',
        'CPU Affinity:   -yy-',
        '',
        'VCPU:           1',
        'CPU:            2',
        'State:          running',
        'CPU time:',
        'CPU Affinity:   -yy-',
        '',
        '',
      ].join('\n'),
    );
  });

  it('lists disks and interfaces by their names in the guest and on the host', () => {
    const rig = started();
    const disk = { name: 'data', volume: 'v2', sizeBytes: GIBIBYTE, readOnly: false };
    rig.ask({ do: 'attach', device: { kind: 'disk', settings: disk }, uid: UID });
    expect(virsh(rig, 'domblklist', 'web')).toBe(
      ' Target   Source\n----------------------------\n vda      /dev/xenolith/v\n vdb      /dev/xenolith/v2\n\n',
    );
    rig.ask({ do: 'detach', kind: 'disk', name: 'root', uid: UID });
    expect(virsh(rig, 'domblklist', 'web')).toContain(' vdb      /dev/xenolith/v2');
    expect(virsh(rig, 'domiflist', 'web').split('\n')[2]).toBe(
      ' vnet0       bridge   xenbr0   virtio   00:16:3e:00:00:01',
    );
    expect(virsh(started({ pvDrivers: false }), 'domblklist', 'web')).toContain(' hda ');
  });

  it('follows a migration', () => {
    const rig = started();
    expect(virsh(rig, 'domjobinfo', 'web')).toBe('Job type:         None        \n\n');
    rig.tell({ do: 'migrate', to: 'kvm-0002', toIncarnation: 2, operation: 'op', uid: UID });
    const text = virsh(rig, 'domjobinfo', 'web');
    expect(text).toMatch(/^Job type: {9}Unbounded {3}\nOperation: {8}Outgoing migration\nTime elapsed: {5}0 {12}ms\n/);
    expect(text).toContain('Memory total:     1.000 GiB\n');
    expect(text).toContain('Dirty rate:       15000        pages/s\n');
    expect(text).toContain('Iteration:        1           \n');
  });

  it('says what it does not know', () => {
    const rig = started();
    const error = (...args: string[]): string => rig.output('virsh', ...args).stderr;
    expect(error('dominfo', 'nobody')).toBe("error: failed to get domain 'nobody'\n");
    expect(error('dominfo')).toBe("error: command 'dominfo' requires <domain> option\n");
    expect(error('list', '--bogus')).toBe("error: command 'list' doesn't support option --bogus\n");
    expect(error('constructor')).toContain("error: unknown command: 'constructor'; virsh here knows: list, nodeinfo,");
  });
});
