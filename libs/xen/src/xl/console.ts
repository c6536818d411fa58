import type { ShutdownReason } from './views.js';

/** What has become of a guest, as far as its console shows it. */
export interface ConsoleFacts {
  readonly name: string;
  readonly guestType: 'pv' | 'hvm' | 'pvh';
  /** It drives its devices over rings. */
  readonly frontends: boolean;
  readonly vcpus: number;
  readonly memoryKib: number;
  /** `off`: it has not run yet. `loading`: firmware and early kernel. `probing`: its drivers look for devices. */
  readonly phase: 'off' | 'loading' | 'probing' | 'up' | 'ended';
  /** It was told to stop, and obeys. */
  readonly stopping: 'poweroff' | 'reboot' | null;
  /** How it ended; null: it did not. */
  readonly ended: ShutdownReason | null;
  readonly disks: readonly { readonly name: string; readonly connected: boolean; readonly sectors: number }[];
  readonly xen: { readonly major: number; readonly minor: number; readonly extra: string };
}

/** Assumption: guests are Debian 13 with its kernel; what an image holds is not looked at. */
const KERNEL = '6.12.48+deb13-amd64';
const SYSTEM = 'Debian GNU/Linux 13';

const HYPERVISOR = { pv: 'Xen PV', pvh: 'Xen PVH', hvm: 'Xen HVM' } as const;

/** HVM guests have a serial port, the others the console ring alone. */
const terminalOf = ({ guestType }: ConsoleFacts): string => (guestType === 'hvm' ? 'ttyS0' : 'hvc0');

/** arch/x86/xen/enlighten.c, `xen_banner` for PV; arch/x86/kernel/paravirt.c for the others. */
const bannerOf = ({ guestType, xen }: ConsoleFacts): readonly string[] =>
  guestType === 'pv'
    ? ['Booting kernel on Xen PV', `Xen version: ${xen.major}.${xen.minor}${xen.extra} (preserve-AD)`]
    : [`Xen version ${xen.major}.${xen.minor}.`, `Booting paravirtualized kernel on ${HYPERVISOR[guestType]}`];

const earlyKernel = (guest: ConsoleFacts): readonly string[] => [
  `Linux version ${KERNEL} (debian-kernel@lists.debian.org)`,
  `Command line: root=/dev/${guest.frontends ? 'xvda1' : 'sda1'} ro console=${terminalOf(guest)} printk.time=0`,
  `Hypervisor detected: ${HYPERVISOR[guest.guestType]}`,
  ...bannerOf(guest),
  `Memory: ${guest.memoryKib}K total`,
  ...(guest.vcpus > 1 ? [`smp: Brought up 1 node, ${guest.vcpus} CPUs`] : []),
  'xen:events: Using FIFO-based ABI',
];

const SECTORS_PER_GB = 1_953_125;

const disksFound = ({ disks, frontends }: ConsoleFacts): readonly string[] =>
  disks
    .filter(({ connected }) => connected || !frontends)
    .map(({ name, sectors }) =>
      frontends
        ? // drivers/block/xen-blkfront.c, `blkfront_connect`
          `blkfront: ${name}: flush diskcache: enabled; persistent grants: enabled; indirect descriptors: enabled; bounce buffer: disabled`
        : `sd ${name}: ${sectors} 512-byte logical blocks: (${(sectors / SECTORS_PER_GB).toFixed(1)} GB)`,
    );

const drivers = (guest: ConsoleFacts): readonly string[] => [
  ...(guest.frontends ? ['xen_netfront: Initialising Xen virtual ethernet driver'] : []),
  ...disksFound(guest),
];

/** drivers/xen/xenbus/xenbus_probe_frontend.c counts down there for as long as a disk does not connect. */
const waiting = (guest: ConsoleFacts): readonly string[] =>
  guest.frontends && guest.disks.some(({ connected }) => !connected)
    ? ['xenbus_probe_frontend: Waiting for devices to initialise: 25s...20s...15s...10s...5s...0s...']
    : [];

const userspace = (guest: ConsoleFacts): readonly string[] => [
  'systemd[1]: Detected virtualization xen.',
  `systemd[1]: Hostname set to <${guest.name}>.`,
  '[  OK  ] Reached target multi-user.target - Multi-User System.',
  '',
  `${SYSTEM} ${guest.name} ${terminalOf(guest)}`,
  '',
  `${guest.name} login: `,
];

const LAST_WORDS: Readonly<Record<ShutdownReason, readonly string[]>> = {
  poweroff: ['[  OK  ] Reached target poweroff.target - System Power Off.', 'reboot: Power down'],
  reboot: ['[  OK  ] Reached target reboot.target - System Reboot.', 'reboot: Restarting system'],
  suspend: ['Freezing user space processes', 'xen:manage: suspending xenstore...'],
  crash: ['Kernel panic - not syncing: Fatal exception'],
  watchdog: [],
  soft_reset: [],
};

/** A guest that is stopping has told so; one that has stopped has said its last words. */
const ending = ({ stopping, ended }: ConsoleFacts): readonly string[] => {
  const told = stopping === null ? [] : ['', 'systemd[1]: Stopping session-1.scope - Session 1 of User root...'];
  return ended === null ? told : ['', ...LAST_WORDS[ended]];
};

const shown = (guest: ConsoleFacts): readonly string[] => {
  switch (guest.phase) {
    case 'off':
      return [];
    case 'loading':
      // A firmware writes to the screen, not to the serial port.
      return guest.guestType === 'hvm' ? [] : earlyKernel(guest);
    case 'probing':
      return [...earlyKernel(guest), ...drivers(guest), ...waiting(guest)];
    case 'up':
    case 'ended':
      return [...earlyKernel(guest), ...drivers(guest), ...userspace(guest), ...ending(guest)];
  }
};

/** What a guest's console has shown since its domain began: the messages that follow from what it did, in their order. */
export const consoleText = (guest: ConsoleFacts): string => {
  const lines = shown(guest);
  const prompts = lines.at(-1)?.endsWith('login: ') === true;
  return lines.length === 0 ? '' : lines.join('\n') + (prompts ? '' : '\n');
};
