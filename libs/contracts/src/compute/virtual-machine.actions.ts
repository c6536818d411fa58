/** Actions that make an Operation: subresource name to XAPI's operation. */
export const VIRTUAL_MACHINE_ACTIONS = {
  start: 'start',
  shutdown: 'clean_shutdown',
  'clean-shutdown': 'clean_shutdown',
  'hard-shutdown': 'hard_shutdown',
  reboot: 'clean_reboot',
  'clean-reboot': 'clean_reboot',
  'hard-reboot': 'hard_reboot',
  pause: 'pause',
  unpause: 'unpause',
  suspend: 'suspend',
  resume: 'resume',
  migrate: 'pool_migrate',
  snapshot: 'snapshot',
  checkpoint: 'checkpoint',
  revert: 'revert',
} as const;
export type VirtualMachineAction = keyof typeof VIRTUAL_MACHINE_ACTIONS;
export type XapiAction = (typeof VIRTUAL_MACHINE_ACTIONS)[VirtualMachineAction];

/** XAPI's operation for a word of a user: an action, or XAPI's own word, as `status.allowedOperations` shows it. Null: there is none. */
export const xapiActionOf = (word: string): XapiAction | null => {
  const found = Object.entries(VIRTUAL_MACHINE_ACTIONS).find(([action, xapi]) => action === word || xapi === word);
  return found === undefined ? null : found[1];
};
