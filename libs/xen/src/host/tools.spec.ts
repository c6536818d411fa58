import { describe, expect, it } from 'vitest';
import type { DomainSettings, HostState } from '../index.js';
import { timingFor } from '../host-timing.js';
import { xenHostModel } from './xen-host.js';

const GIBIBYTE = 2 ** 30;
const model = xenHostModel(timingFor(0));
const settings: DomainSettings = {
  name: 'web-1',
  guestType: 'pvh',
  vcpus: 2,
  maxVcpus: 4,
  weight: 512,
  cap: 150,
  pin: '0-3',
  staticMaxBytes: GIBIBYTE,
  dynamicMinBytes: GIBIBYTE,
  dynamicMaxBytes: GIBIBYTE,
  disks: [{ name: 'root', volume: 'web-1-root', sizeBytes: 10 * GIBIBYTE, readOnly: false }],
  nics: [{ name: 'eth0', mac: '00:16:3e:00:00:07', bridge: 'xenbr0', ips: [] }],
  pvDrivers: true,
  ignoresShutdown: false,
  onPoweroff: 'destroy',
  onReboot: 'restart',
  onCrash: 'destroy',
};

const hostWithDomain = (): HostState => {
  const state = model.create({ name: 'host-0001', seed: 's', profile: '1x4-16', at: 0 });
  model.apply(state, { do: 'start', ticket: 't', uid: 'u-1', incarnation: 1, settings, paused: false }, 0);
  return state;
};

const call = (state: HostState, tool: 'xl' | 'xenstore', ...args: string[]) =>
  model.tool(state, { tool, args, at: 90_000 });

describe('tools in the control domain', () => {
  it('list the domains with their memory, vCPUs and states', () => {
    const [header, dom0, web, ...rest] = call(hostWithDomain(), 'xl', 'list').stdout.split('\n');
    expect(header).toBe('Name                                        ID   Mem VCPUs\tState\tTime(s)');
    expect(dom0).toMatch(/^Domain-0 {37}0 {2}\d{4} {5}4 {5}r----- {3,}\d+\.\d$/);
    expect(web).toMatch(/^web-1 {40}1 {2}1024 {5}2 {5}(?:r-|-b)---- {3,}\d+\.\d$/);
    expect(rest).toEqual(['']);
  });

  it('show a paused domain as paused, and none that is gone', () => {
    const state = hostWithDomain();
    model.apply(state, { do: 'pause', ticket: 'p', uid: 'u-1', incarnation: 1 }, 1_000);
    expect(call(state, 'xl', 'list', 'web-1').stdout).toMatch(/ -[-b]p--- /);
    model.apply(state, { do: 'destroy', ticket: 'd', uid: 'u-1', incarnation: 1 }, 2_000);
    expect(call(state, 'xl', 'list', 'web-1')).toEqual({
      stdout: '',
      stderr: 'web-1 is an invalid domain identifier (rc=-6)\n',
      exitCode: 1,
    });
    expect(call(state, 'xenstore', 'list', '/local/domain').stdout).toBe('0\n');
    expect(call(state, 'xl', 'info', 'free_memory')).toEqual(
      call(model.create({ name: 'x', seed: 's', profile: '1x4-16', at: 0 }), 'xl', 'info', 'free_memory'),
    );
  });

  it('show weight, cap, affinity, devices and uptime as they are', () => {
    const state = hostWithDomain();
    expect(call(state, 'xl', 'sched-credit2', '-d', 'web-1').stdout).toMatch(/web-1 +1 +512 +150\n/);
    expect(
      call(state, 'xl', 'vcpu-list', '1').stdout.match(/web-1 +1 +\d.*0-3 \/ all|web-1 +1 +\d.*all/g),
    ).toHaveLength(4);
    expect(call(state, 'xl', 'network-list', 'web-1').stdout).toContain('00:16:3e:00:00:07      0     4');
    expect(call(state, 'xl', 'block-list', 'web-1').stdout).toMatch(/51712 0 {3}1 {6}4 /);
    expect(call(state, 'xl', 'uptime', 'web-1').stdout).toContain(' 0:01:30');
    expect(call(state, 'xl', 'top').stdout).toContain('web-1');
  });

  it('read the store, both ends of a disk Connected', () => {
    const state = hostWithDomain();
    const backend = '/local/domain/0/backend/vbd/1/51712';
    const { stdout } = call(state, 'xenstore', 'read', `${backend}/state`, '/local/domain/1/device/vbd/51712/state');
    expect(stdout).toBe('4\n4\n');
    expect(call(state, 'xenstore', 'read', `${backend}/physical-device-path`).stdout).toBe(
      '/dev/xenolith/web-1-root\n',
    );
    expect(call(state, 'xenstore', 'ls', '-f', '/local/domain/1/device').stdout).toContain(
      '/local/domain/1/device/vif/0/mac = "00:16:3e:00:00:07"\n',
    );
    expect(call(state, 'xenstore', 'read', '/nowhere').exitCode).toBe(1);
  });

  it('change nothing by asking', () => {
    const state = hostWithDomain();
    const before = JSON.stringify(state);
    for (const command of ['list', 'info', 'vcpu-list', 'uptime', 'top', 'dmesg']) call(state, 'xl', command);
    expect(JSON.stringify(state)).toBe(before);
  });

  it('name what they know when they are asked for something else', () => {
    expect(call(hostWithDomain(), 'xl', 'frobnicate', '1')).toMatchObject({ exitCode: 1 });
    expect(call(hostWithDomain(), 'xl', 'frobnicate', '1').stderr).toMatch(/there is no such command; .*list/);
  });

  it('show the console of a guest, and why Dom0 has none', () => {
    const state = hostWithDomain();
    const text = call(state, 'xl', 'console', 'web-1').stdout;
    expect(text).toContain('blkfront: xvda: ');
    expect(text).toMatch(/web-1 login: $/);
    expect(call(state, 'xl', 'console', '1').stdout).toBe(text);
    expect(call(state, 'xl', 'console', '0')).toMatchObject({ stdout: '', exitCode: 1 });
    expect(call(state, 'xl', 'console', 'none').stderr).toContain('is an invalid domain identifier');
  });
});
