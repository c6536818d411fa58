import { describe, expect, it } from 'vitest';
import type { DomainSettings, XenSetup } from '../index.js';
import { GIBIBYTE, HostRig } from './host.spec-fixture.js';

const XEND: Partial<XenSetup> = {
  release: 'xen-4.0',
  scheduler: 'credit',
  devices: [{ kind: 'pci', address: '0000:3b:00.0', model: 'A2', class: 'gpu' }],
};

const running = (settings: Partial<DomainSettings> = { guestType: 'pv', pin: '0,2-3' }, setup = XEND): HostRig => {
  const rig = new HostRig(0, 'host-0001', setup);
  expect(rig.start(settings)?.code).toBe('ok');
  rig.pass(90_061_000);
  return rig;
};

/** Lines with their blanks; figures that grow with the emulation's assumptions are not looked at. */
const linesOf = (text: string): string[] => text.trimEnd().split('\n');

// Every expectation is a format of tools/python/xen/xm/main.py at 4.2.2, filled by hand.
describe('xm on a host with xend', () => {
  it('lists vCPUs with “any cpu” and ranges', () => {
    const [header, dom0, ...rest] = linesOf(running().tool('xm', 'vcpu-list'));
    expect(header).toBe('Name                                ID  VCPU   CPU State   Time(s) CPU Affinity');
    expect(dom0).toMatch(/^Domain-0 {29}0 {5}0 {5}0 {3}r-- {2} +\d+\.\d any cpu$/);
    const own = rest.filter((line) => line.startsWith('web'));
    expect(own).toHaveLength(4);
    expect(own[0]).toMatch(/^web {34}1 {5}0 {5}\d {3}[r-][b-]- {2} +\d+\.\d 0,2-3$/);
    // Two of its vCPUs are off line.
    expect(own[3]).toMatch(/^web {34}1 {5}3 {5}- {3}--p {2} +\d+\.\d 0,2-3$/);
  });

  it('lists interfaces and disks in columns of its own', () => {
    const rig = running();
    const [header, nic = ''] = rig.tool('xm', 'network-list', 'web').split('\n');
    expect(header).toBe('Idx BE     MAC Addr.     handle state evt-ch tx-/rx-ring-ref BE-path');
    expect(nic).toMatch(
      /^0 {3}0 {2}00:16:3e:00:00:01 {4}0 {5}4 {6}\d {5}\d\d {3}\/\d\d {6}\/local\/domain\/0\/backend\/vif\/1\/0 {2}$/,
    );
    const [disks, disk = ''] = rig.tool('xm', 'block-list', 'web').split('\n');
    expect(disks).toBe('Vdev  BE handle state evt-ch ring-ref BE-path');
    expect(disk).toMatch(/^51712 {2}0 {4}0 {5}4 {6}\d {6}\d {5}\/local\/domain\/0\/backend\/vbd\/1\/51712 {2}$/);
    expect(running({ guestType: 'pv', nics: [] }).tool('xm', 'network-list', 'web')).toBe('');
  });

  it('tells of the host in xend’s order and words', () => {
    const text = running().tool('xm', 'info');
    expect(linesOf(text).map((line) => line.split(/\s*:/)[0])).toEqual(
      (
        'host release version machine nr_cpus nr_nodes cores_per_socket threads_per_core cpu_mhz hw_caps virt_caps total_memory free_memory ' +
        'node_to_cpu node_to_memory max_node_id xen_major xen_minor xen_extra xen_caps xen_scheduler xen_pagesize platform_params ' +
        'xen_changeset xen_commandline cc_compiler cc_compile_by cc_compile_domain cc_compile_date xend_config_format'
      ).split(' '),
    );
    expect(text).toContain('\ncpu_mhz                : 3400\n');
    expect(text).toContain('\nvirt_caps              : hvm hvm_directio\n');
    expect(text).toContain('\nnode_to_cpu            : node0:0-3\n');
    expect(text).toContain('\nxen_scheduler          : credit\n');
    expect(text).toContain('\nxend_config_format     : 4\n');
  });

  it('tells how long domains run, and their shares', () => {
    const rig = running();
    expect(linesOf(rig.tool('xm', 'uptime', 'web'))).toEqual([
      'Name                                ID Uptime ',
      'web                                  1 1 day,  1:01:01',
    ]);
    expect(linesOf(rig.tool('xm', 'sched-credit', '-d', 'web'))).toEqual([
      'Name                                ID Weight  Cap',
      'web                                  1    256    0',
    ]);
    const sedf = running({ guestType: 'pv' }, { ...XEND, scheduler: 'credit2' });
    expect(sedf.output('xm', 'sched-credit').stderr).toBe('Error: Xen is running with the credit2 scheduler\n');
  });

  it('shows functions with a place only where QEMU gave them one', () => {
    const devices = [{ name: 'gpu', kind: 'pci', address: '0000:3b:00.0' }] as const;
    const whole = { staticMaxBytes: GIBIBYTE, devices };
    expect(running({ guestType: 'pv', ...whole }).tool('xm', 'pci-list', 'web')).toBe('Device\n0000:3b:00.0\n');
    const hvm = running({ guestType: 'hvm', ...whole });
    expect(hvm.tool('xm', 'pci-list', 'web')).toBe('Vdev Device\n05.0 0000:3b:00.0\n');
    expect(hvm.tool('xm', 'pci-list-assignable-devices')).toBe('');
    expect(running().tool('xm', 'pci-list-assignable-devices')).toBe('0000:3b:00.0\n');
  });

  it('says of unknown domains what xend says', () => {
    const rig = running();
    for (const command of ['list', 'vcpu-list', 'uptime', 'domid', 'network-list'])
      expect(rig.output('xm', command, 'nobody')).toMatchObject({
        exitCode: 1,
        stderr: "Error: Domain 'nobody' does not exist.\n",
      });
    expect(rig.tool('xm', 'domid', 'web')).toBe('1\n');
    expect(rig.output('xm', 'block-list').stderr).toBe('No domain parameter given\n');
  });
});
