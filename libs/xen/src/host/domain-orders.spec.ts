import { describe, expect, it } from 'vitest';
import { emulatedHostModel, type EmulatedHostState } from '../emulated-host.js';
import type { DomainSettings, HostToolName } from '../host-model.js';
import { timingFor } from '../host-timing.js';
import { settingsOf } from './host.spec-fixture.js';

const model = emulatedHostModel(timingFor(0));

const settings = (guestType: DomainSettings['guestType'], pvDrivers = true): DomainSettings =>
  settingsOf({ name: 'web-1', guestType, pvDrivers, disks: [], nics: [] });

const hostWith = (hypervisor: 'xen' | 'kvm', guest: DomainSettings): EmulatedHostState => {
  const state = model.create({ hypervisor, name: 'host-0001', seed: 's', profile: '1x4-16', at: 0 });
  model.apply(state, { do: 'start', ticket: 't', uid: 'u-1', incarnation: 3, settings: guest, paused: false }, 0);
  return state;
};

const asker =
  (state: EmulatedHostState) =>
  (tool: HostToolName, ...args: string[]) =>
    model.order(state, { tool, args });

const SILENT = { stdout: '', stderr: '', exitCode: 0 };
const refusal = (stderr: string) => ({ stdout: '', stderr, exitCode: 1 });

describe("a Xen host's tools", () => {
  const ask = asker(hostWith('xen', settings('pvh')));
  const onRun = { uid: 'u-1', incarnation: 3 };

  it('say which domain shall be paused, unpaused and destroyed, by its name or its number, and nothing else', () => {
    for (const [verb, name] of [
      ['pause', 'web-1'],
      ['unpause', '1'],
      ['destroy', 'web-1'],
    ] as const)
      expect(ask('xl', verb, name)).toMatchObject({ do: verb, ...onRun, waits: true, printed: SILENT });
  });

  it('come back at once from a shutdown and a reboot, and with -w when the guest has stopped', () => {
    expect(ask('xl', 'shutdown', 'web-1')).toMatchObject({
      do: 'shutdown',
      waits: false,
      printed: { ...SILENT, stderr: 'Shutting down domain 1\n' },
    });
    expect(ask('xl', 'reboot', '-w', 'web-1')).toMatchObject({
      do: 'reboot',
      waits: true,
      printed: {
        ...SILENT,
        stderr: 'Rebooting domain 1\nWaiting for 1 domains\nDomain 1 has been shut down, reason code 1\n',
      },
    });
  });

  it('leave a guest that hears nothing alone, unless its power button may be pressed', () => {
    const deaf = asker(hostWith('xen', settings('hvm', false)));
    expect(deaf('xl', 'shutdown', 'web-1')).toEqual(
      refusal(
        'Shutting down domain 1\nPV control interface not available: external graceful shutdown not possible.\nUse "-F" to fallback to ACPI power event.\nshutdown failed (rc=-10)\n',
      ),
    );
    expect(deaf('xl', 'shutdown', '-F', 'web-1')).toMatchObject({ do: 'shutdown', waits: false });
  });

  it('refuse what is no domain, no machine or no flag', () => {
    expect(ask('xl', 'destroy', 'web-2')).toEqual(refusal('web-2 is an invalid domain identifier (rc=-6)\n'));
    expect(ask('xl', 'pause')).toEqual(refusal("'xl pause' requires at least 1 argument.\n"));
    expect(ask('xl', 'pause', '-w', 'web-1')).toEqual(refusal("option `w' not supported.\n"));
    expect(ask('xl', 'destroy', '-f', '0')).toMatchObject({ exitCode: 1 });
  });

  it('begin no machine, which another host may run', () => {
    for (const verb of ['create', 'restore'])
      expect(ask('xl', verb, 'web.cfg')).toMatchObject({
        exitCode: 1,
        stderr: expect.stringContaining('only the control plane knows') as string,
      });
  });

  it('leave what only looks, and what they do not do, to those who print', () => {
    expect([ask('xl', 'list'), ask('xl', 'migrate', 'web-1', 'host-0002'), ask('xenstore', 'ls')]).toEqual([
      null,
      null,
      null,
    ]);
  });

  it('refuse a machine that is being saved, of which the host knows one end only', () => {
    const state = model.create({ hypervisor: 'xen', name: 'host-0001', seed: 's', profile: '1x4-16', at: 0 });
    const slow = emulatedHostModel(timingFor(5_000));
    const input = { ticket: 't', uid: 'u-1', incarnation: 1, settings: settings('pvh'), paused: false };
    slow.apply(state, { do: 'start', ...input }, 0);
    slow.advance(state, 60_000);
    slow.apply(state, { do: 'suspend', ticket: 's', uid: 'u-1', incarnation: 1, timeoutMs: 60_000 }, 60_000);
    while (slow.inventory(state)[0]?.standsStill !== true) slow.advance(state, slow.nextDue(state) ?? Infinity);
    expect(slow.order(state, { tool: 'xl', args: ['destroy', 'web-1'] })).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('is being saved, or is on its way') as string,
    });
  });

  it('name the way for when the control plane is down where they only look', () => {
    const state = hostWith('xen', settings('pvh'));
    expect(model.tool(state, { tool: 'xl', args: ['pause', 'web-1'], at: 0 }).stderr).toBe(
      'xl pause: tools only look from here; instead: kubectl xen pause NAME, or, while the control plane is down: ./xenolith xl --direct host-0001 pause NAME\n',
    );
  });
});

describe("a KVM host's virsh", () => {
  const state = hostWith('kvm', settings('hvm'));
  const ask = asker(state);

  it('says what its words want done, and speaks as libvirt does', () => {
    const said = (word: string): unknown => {
      const order = ask('virsh', word, 'web-1');
      return order !== null && 'do' in order ? [order.do, order.waits, order.printed.stdout] : order;
    };
    expect(['suspend', 'resume', 'shutdown', 'reboot', 'destroy'].map(said)).toEqual([
      ['pause', true, "Domain 'web-1' suspended\n\n"],
      ['unpause', true, "Domain 'web-1' resumed\n\n"],
      ['shutdown', false, "Domain 'web-1' is being shutdown\n\n"],
      ['reboot', false, "Domain 'web-1' is being rebooted\n\n"],
      ['destroy', true, "Domain 'web-1' destroyed\n\n"],
    ]);
  });

  it('refuses what is not there, and what begins a machine', () => {
    expect(ask('virsh', 'destroy', 'web-2')).toEqual(refusal("error: failed to get domain 'web-2'\n"));
    expect(ask('virsh', 'suspend')).toEqual(refusal("error: command 'suspend' requires <domain> option\n"));
    expect(ask('virsh', 'start', 'web-1')).toMatchObject({ exitCode: 1 });
    expect(ask('virsh', 'list')).toBeNull();
    expect(ask('xl', 'pause', 'web-1')).toBeNull();
  });

  it('only looks where it is asked through the platform', () => {
    expect(model.tool(state, { tool: 'virsh', args: ['destroy', 'web-1'], at: 0 }).stderr).toContain(
      'kubectl xen hard-shutdown NAME, or, while the control plane is down: ./xenolith virsh --direct host-0001 destroy NAME',
    );
  });
});
