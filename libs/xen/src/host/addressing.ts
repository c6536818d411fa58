import { memoryOverheadBytes, reject } from '@xenolith/kernel';
import type { DomainSettings } from '../host-model.js';
import { PAGE_BYTES } from '../hypervisor/index.js';
import { refuse } from './answers.js';
import { keepsSpared } from '../memory-sharing.js';
import type { Host, Machine } from './host-state.js';
import { addressed, otherRunRefuses, outOfMemory, type OnRun } from './runs.js';

export const isOver = (machine: Machine): boolean => machine.phase === 'ending' || machine.phase === 'shutdown';

export const unknownDomain = (host: Host, input: OnRun): void =>
  refuse(
    host,
    input.ticket,
    reject('host_unknown_domain', `${host.state.name} runs no domain of machine ${input.uid}`),
  );

/** The machine that a command is for, if its guest has not ended; otherwise the command is refused. */
export const living = (host: Host, input: OnRun): Machine | null => {
  const machine = addressed(host, input, () => unknownDomain(host, input));
  if (machine === null || !isOver(machine)) return machine;
  unknownDomain(host, input);
  return null;
};

/** A new run needs that no other one is here or was, and room; the command is refused where it has not. */
export const admissionRefused = (host: Host, input: OnRun & { readonly settings: DomainSettings }): boolean => {
  if (otherRunRefuses(host, input, ({ domid }) => `domain ${domid}`)) return true;
  const { guestType, maxVcpus, staticMaxBytes, dynamicMaxBytes, name } = input.settings;
  const neededBytes = dynamicMaxBytes + memoryOverheadBytes({ guestType, vcpus: maxVcpus, staticMaxBytes });
  const free = freeBytes(host);
  if (neededBytes <= free) return false;
  refuse(host, input.ticket, outOfMemory(host.state.name, name, { neededBytes, freeBytes: free }));
  return true;
};

/** Memory that is free and promised to nobody: not to a balloon, nor to guests that may write to what they share. */
export const freeBytes = (host: Host): number => {
  const info = host.hypervisor.physicalInfo(host.state.nowUs);
  const spared = keepsSpared(host.state.memorySharing) ? host.hypervisor.sharing.counts().freedPages : 0;
  return (info.freePages - info.outstandingPages - spared) * PAGE_BYTES;
};
