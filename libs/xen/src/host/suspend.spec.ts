import { describe, expect, it } from 'vitest';
import type { SavedGuestImage } from '../index.js';
import { imageBytes } from '../migration/index.js';
import { GIBIBYTE, HostRig, settingsOf } from './host.spec-fixture.js';

const SUSPEND = { do: 'suspend', timeoutMs: 60_000 } as const;

const saved = (rig: HostRig): SavedGuestImage => {
  const told = rig.ask(SUSPEND);
  expect(told?.code).toBe('ok');
  return told?.value as SavedGuestImage;
};

describe('a guest that is saved', () => {
  it('stands still, takes its memory to storage and leaves nothing behind', () => {
    const rig = new HostRig();
    const free = rig.freeBytes;
    rig.start();
    const began = rig.at;
    const { sizeBytes } = saved(rig);
    expect(sizeBytes).toBe(imageBytes({ isPv: false, pages: GIBIBYTE / 4096, vcpus: 4 }));
    expect(rig.at - began).toBeGreaterThan(1_000);
    expect(rig.freeBytes).toBe(free);
    expect(rig.model.inventory(rig.state)).toEqual([]);
    expect(rig.events.filter(({ type }) => type === 'guestEnded')).toEqual([]);
    expect(rig.start()?.code).toBe('host_stale_incarnation');
  });

  it('goes on where it was, on any host', () => {
    const rig = new HostRig();
    rig.start();
    const image = saved(rig);
    const other = new HostRig(1_000, 'host-0002');
    const began = other.at;
    const resume = { do: 'resume', settings: settingsOf(), image, paused: false, incarnation: 2 } as const;
    expect(other.ask(resume)).toMatchObject({ code: 'ok', value: { domid: 1, state: 'running' } });
    expect(other.at - began).toBeGreaterThan(1_000);
    expect(other.state.machines['a']?.guest).toEqual({ phase: 'up', next: null, stopping: null });
    expect(other.tool('xl', 'block-list', 'web').split('\n')[1]).toMatch(/^51712\s+0\s+1\s+4/);
    expect(other.ask({ do: 'shutdown', mode: 'clean', timeoutMs: 60_000, incarnation: 2 })?.code).toBe('ok');
  });

  it('wakes only when it is unpaused, if it shall', () => {
    const rig = new HostRig();
    rig.start();
    const image = saved(rig);
    const resume = { do: 'resume', settings: settingsOf(), image, paused: true, incarnation: 2 } as const;
    expect(rig.ask(resume)).toMatchObject({ code: 'ok', value: { state: 'paused' } });
    expect(rig.state.machines['a']?.guest.phase).toBe('off');
    rig.ask({ do: 'unpause', incarnation: 2 });
    rig.pass(1_000);
    expect(rig.state.machines['a']?.guest.phase).toBe('up');
  });

  it('wakes without devices too, and on a host without time', () => {
    for (const bootMs of [0, 1_000]) {
      const rig = new HostRig(bootMs);
      rig.start({ disks: [], nics: [] });
      const image = saved(rig);
      const settings = settingsOf({ disks: [], nics: [] });
      expect(rig.ask({ do: 'resume', settings, image, paused: false, incarnation: 2 })?.code).toBe('ok');
    }
  });

  it('is not, and runs on, when it does not acknowledge', () => {
    const rig = new HostRig();
    rig.start({ ignoresShutdown: true });
    expect(rig.ask({ ...SUSPEND, timeoutMs: 500 })?.code).toBe('guest_ignored_shutdown');
    expect(rig.tool('xenstore', 'read', '/local/domain/1/control/shutdown')).toBe('\n');
    expect(rig.model.inventory(rig.state)).toMatchObject([{ state: 'running' }]);
    rig.pass(1_000);
    expect(rig.model.nextDue(rig.state)).toBeNull();
  });

  it('is not while it is paused, nor later when nobody waits any more', () => {
    const rig = new HostRig();
    rig.start();
    rig.ask({ do: 'pause' });
    expect(rig.ask({ ...SUSPEND, timeoutMs: 500 })?.code).toBe('guest_ignored_shutdown');
    rig.ask({ do: 'unpause' });
    rig.pass(60_000);
    expect(rig.state.machines['a']?.phase).toBe('up');
  });

  it('goes on in its domain when it stands still and nobody wants it to any more', () => {
    const rig = new HostRig();
    rig.start();
    rig.tell({ ...SUSPEND, timeoutMs: 30_000 });
    rig.pass(5);
    expect(rig.state.machines['a']?.guest.stopping).toBe('suspend');
    rig.ask({ do: 'pause' });
    rig.pass(1_300_000);
    rig.ask({ do: 'unpause' });
    rig.pass(1_000);
    expect(rig.state.machines['a']).toMatchObject({ phase: 'up', guest: { phase: 'up', stopping: null } });
    expect(rig.ask({ do: 'shutdown', mode: 'clean', timeoutMs: 60_000 })?.code).toBe('ok');
  });

  it('can’t be without drivers, nor woken from what is no image', () => {
    const rig = new HostRig();
    rig.start({ guestType: 'hvm', pvDrivers: false });
    expect(rig.ask(SUSPEND)?.code).toBe('host_domain_unsupported');
    const image = { sizeBytes: 1, content: '{"version":9}' };
    const resume = { do: 'resume', settings: settingsOf(), image, paused: false, uid: 'b' } as const;
    expect(rig.ask(resume)?.code).toBe('host_domain_unsupported');
  });

  it('ends with its host', () => {
    const rig = new HostRig();
    rig.start();
    const ticket = rig.tell(SUSPEND);
    rig.pass(500);
    expect(rig.state.machines['a']?.phase).toBe('suspended');
    rig.events.push(...rig.model.apply(rig.state, { do: 'crash' }, rig.at));
    expect(rig.told(ticket)?.code).toBe('host_crashed');
  });

  it('is given up for an end by force', () => {
    const rig = new HostRig();
    rig.start();
    const ticket = rig.tell(SUSPEND);
    rig.pass(500);
    expect(rig.ask({ do: 'shutdown', mode: 'hard', timeoutMs: 1 })?.code).toBe('ok');
    expect(rig.told(ticket)?.code).toBe('command_cancelled');
  });
});
