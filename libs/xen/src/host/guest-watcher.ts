import type { GuestWatcher } from './guest-life.js';
import { wantsImage, type Host, type Machine } from './host-state.js';
import { leavingSession } from './migration-session.js';
import { beginSave, resumeInPlace } from './suspend.js';
import { answerStarted, stopped } from './toolstack.js';

/** The guest stands still, as it was asked to; one that nobody asked any more goes on at once. */
const suspended = (host: Host, machine: Machine): void => {
  if (leavingSession(host.state, machine.uid)?.doing === 'suspendDomain') return;
  if (machine.waiting.some(wantsImage)) beginSave(host, machine);
  else resumeInPlace(host, machine);
};

export const toolstack: GuestWatcher = { booted: answerStarted, stopped, suspended };
