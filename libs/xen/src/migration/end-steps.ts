import type { EndStep, MigrationEffect, MigrationMessage } from './protocol.js';

/** What both ends keep of themselves. */
interface EndState {
  readonly phase: string;
  /** Effects were handed out and not reported. */
  readonly working: boolean;
}

export interface Said {
  readonly messages?: readonly MigrationMessage[];
  readonly effects?: readonly MigrationEffect[];
}

/** Nothing is said or done; what the end remembers may have changed. */
export const stay = <State extends EndState>(state: State): EndStep<State> => ({ state, messages: [], effects: [] });

/** The end goes over to a phase, and works if that begins with effects. */
export const enter = <State extends EndState>(
  state: State,
  phase: State['phase'],
  { messages = [], effects = [] }: Said = {},
): EndStep<State> => ({ state: { ...state, phase, working: effects.length > 0 }, messages, effects });

/** What was handed out is reported. */
export const idle = <State extends EndState>(state: State): State => ({ ...state, working: false });

/** A report, which means nothing unless something was handed out. */
export const onReport = <State extends EndState>(
  state: State,
  then: (idle: State) => EndStep<State>,
): EndStep<State> => (state.working ? then(idle(state)) : stay(state));
