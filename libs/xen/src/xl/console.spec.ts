import { describe, expect, it } from 'vitest';
import { consoleText, type ConsoleFacts } from './console.js';

const guest = (more: Partial<ConsoleFacts> = {}): ConsoleFacts => ({
  name: 'web-1',
  guestType: 'pvh',
  frontends: true,
  vcpus: 2,
  memoryKib: 1_048_576,
  phase: 'up',
  stopping: null,
  ended: null,
  disks: [{ name: 'xvda', connected: true, sectors: 20_971_520 }],
  xen: { major: 4, minor: 20, extra: '.1' },
  ...more,
});

describe('a console', () => {
  it('shows nothing before the guest has run', () => {
    expect(consoleText(guest({ phase: 'off' }))).toBe('');
  });

  it('grows as the guest boots, up to its login prompt', () => {
    const [loading, probing, up] = (['loading', 'probing', 'up'] as const).map((phase) =>
      consoleText(guest({ phase })),
    );
    expect(loading).toContain('Hypervisor detected: Xen PVH\n');
    expect(probing?.startsWith(loading ?? '?')).toBe(true);
    expect(up?.startsWith(probing ?? '?')).toBe(true);
    expect(up?.endsWith('\nDebian GNU/Linux 13 web-1 hvc0\n\nweb-1 login: ')).toBe(true);
  });

  it('shows how the kernel waits for a disk that does not connect', () => {
    const disks = [{ name: 'xvda', connected: false, sectors: 1 }];
    const text = consoleText(guest({ phase: 'probing', disks }));
    expect(text).toContain('Waiting for devices to initialise');
    expect(text).not.toContain('blkfront');
  });

  it('shows a firmware’s guest on its serial port, and no firmware', () => {
    expect(consoleText(guest({ guestType: 'hvm', phase: 'loading' }))).toBe('');
    expect(consoleText(guest({ guestType: 'hvm', frontends: false }))).toContain('console=ttyS0');
  });

  it('ends with the guest’s last words', () => {
    expect(consoleText(guest({ stopping: 'reboot' }))).toMatch(/Stopping session-1.scope[^\n]*\n$/);
    expect(consoleText(guest({ phase: 'ended', ended: 'poweroff' }))).toMatch(/\nreboot: Power down\n$/);
    expect(consoleText(guest({ phase: 'ended', ended: 'crash' }))).toMatch(/\nKernel panic - not syncing: [^\n]+\n$/);
  });
});
