import { reject, type Uuid } from '@xenolith/kernel';
import type { HostInput, Ticket } from '../host-model.js';
import { answer, nowMs, refuse, type SpeakingHost } from './answers.js';

/** A host of either kind, as its baseboard controller sees it. */
export interface PoweredHost extends SpeakingHost {
  readonly state: SpeakingHost['state'] & {
    readonly name: string;
    bootId: Uuid;
    /** When it will be up; null: it is, or is off. */
    upAtUs: number | null;
    /** It has no power; absent: it has. */
    off?: true;
    waiting: HostInput[];
    readonly machines: Readonly<Record<string, { readonly settings: { readonly name: string } }>>;
  };
}

interface Machinery<Host> {
  severMigrations(host: Host): void;
  reset(host: Host): void;
  boot(host: Host): void;
}

/** Guests that a refusal names. */
const NAMED = 3;

export const isOff = ({ off }: Pick<PoweredHost['state'], 'off'>): boolean => off === true;

export const isUp = ({ off, upAtUs }: PoweredHost['state']): boolean => off !== true && upAtUs === null;

const stillThere = ({ name, machines }: PoweredHost['state']): ReturnType<typeof reject> => {
  const names = Object.values(machines).map(({ settings }) => settings.name);
  const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : '';
  const guests = `${names.slice(0, NAMED).join(', ')}${more}`;
  return reject(
    'host_in_use',
    `${name} is not powered off: ${guests} would be lost; move or shut down what runs there`,
  );
};

/** Guests are never cut off; a host that boots has none. */
export const powerOff = <Host extends PoweredHost>(machinery: Machinery<Host>, host: Host, ticket: Ticket): void => {
  const { state } = host;
  if (state.off !== true) {
    if (Object.keys(state.machines).length > 0) {
      refuse(host, ticket, stillThere(state));
      return;
    }
    for (const input of state.waiting.splice(0))
      if ('ticket' in input)
        refuse(host, input.ticket, reject('host_powered_off', `${state.name} was powered off before it was up`));
    machinery.severMigrations(host);
    machinery.reset(host);
    state.upAtUs = null;
    state.off = true;
    host.events.push({ type: 'poweredOff', at: nowMs(host) });
  }
  answer(host, ticket, {});
};

/** Answered as soon as there is power: `bootId` tells which boot that is, and whether there was power before. */
export const powerOn = <Host extends PoweredHost>(machinery: Machinery<Host>, host: Host, ticket: Ticket): void => {
  const { state } = host;
  if (state.off === true) {
    Reflect.deleteProperty(state, 'off');
    machinery.boot(host);
  }
  answer(host, ticket, { bootId: state.bootId });
};
