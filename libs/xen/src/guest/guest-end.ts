/** xl's words for what follows when a guest ends (tools/xl/xl_parse.c, `action_on_shutdown_names`). */
export const END_ACTIONS = [
  'destroy',
  'restart',
  'rename-restart',
  'preserve',
  'coredump-destroy',
  'coredump-restart',
  'soft-reset',
] as const;
export type EndAction = (typeof END_ACTIONS)[number];

/** Why Xen says that a domain has shut down (public/sched.h, `SHUTDOWN_*`). */
export type GuestEndReason = 'poweroff' | 'reboot' | 'suspend' | 'crash' | 'watchdog' | 'soft_reset';

export interface EndPolicy {
  readonly onPoweroff: EndAction;
  readonly onReboot: EndAction;
  readonly onCrash: EndAction;
  readonly onWatchdog: EndAction;
  readonly onSoftReset: EndAction;
}

/** xl's defaults (docs/man/xl.cfg.5.pod.in, "Event Actions"). */
export const DEFAULT_END_POLICY: EndPolicy = {
  onPoweroff: 'destroy',
  onReboot: 'restart',
  onCrash: 'destroy',
  onWatchdog: 'destroy',
  onSoftReset: 'soft-reset',
};

/** What the toolstack does, in order. */
export type EndStep =
  /** To /var/lib/xen/dump/<name>; what follows does not wait for its success. */
  | { readonly do: 'dumpCore' }
  /** Gives the dead domain a new uuid and its name a time stamp, so that it can stay beside its successor. */
  | { readonly do: 'renamePreserved' }
  | { readonly do: 'destroy' }
  /** Builds a new domain from the same configuration. */
  | { readonly do: 'restart'; readonly afterUs: number }
  /** Resets the domain in place: memory and domid stay, devices are made anew. */
  | { readonly do: 'softReset' };

/** xl waits so long between the old domain's end and the new one (tools/xl/xl_vmcontrol.c, before it goes back to its start). */
export const RESTART_PAUSE_US = 2_000_000;

const RESTART: EndStep = { do: 'restart', afterUs: RESTART_PAUSE_US };

const STEPS: Readonly<Record<EndAction, readonly EndStep[]>> = {
  destroy: [{ do: 'destroy' }],
  restart: [{ do: 'destroy' }, RESTART],
  'rename-restart': [{ do: 'renamePreserved' }, RESTART],
  preserve: [],
  'coredump-destroy': [{ do: 'dumpCore' }, { do: 'destroy' }],
  'coredump-restart': [{ do: 'dumpCore' }, { do: 'destroy' }, RESTART],
  'soft-reset': [{ do: 'softReset' }],
};

/** The action that the policy names; null: a suspend is what the toolstack asked for and is its own affair. */
export const endActionFor = (reason: GuestEndReason, policy: EndPolicy): EndAction | null => {
  switch (reason) {
    case 'poweroff':
      return policy.onPoweroff;
    case 'reboot':
      return policy.onReboot;
    case 'crash':
      return policy.onCrash;
    case 'watchdog':
      return policy.onWatchdog;
    case 'soft_reset':
      return policy.onSoftReset;
    case 'suspend':
      return null;
  }
};

/** What the toolstack does about a guest that ended (tools/xl/xl_vmcontrol.c, `handle_domain_death`); empty: the domain stays, shut down. */
export const stepsAfterEnd = (reason: GuestEndReason, policy: EndPolicy): readonly EndStep[] => {
  const action = endActionFor(reason, policy);
  return action === null ? [] : STEPS[action];
};
