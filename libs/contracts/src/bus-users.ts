import { agentRights, SERVICE_NAMES, serviceRights, type BusRights } from './bus-rights.js';
import { agentUser } from './subjects.js';

/** A user of the platform's NATS servers, which know the public key alone. */
export interface BusUser {
  readonly name: string;
  /** Of an nkey, as servers write it: `U` and 55 characters. */
  readonly publicKey: string;
  readonly rights: BusRights;
}

/** An agent, and the hosts that it speaks for. */
export interface Fleet {
  readonly name: string;
  readonly hosts: readonly string[];
}

/** Whoever is on the bus of a platform, and what they may do there: each service, and the agent of each fleet for its own hosts. */
export const platformUsers = (fleets: readonly Fleet[]): readonly Omit<BusUser, 'publicKey'>[] => [
  ...SERVICE_NAMES.map((name) => ({ name, rights: serviceRights(name) })),
  ...fleets.map(({ name, hosts }) => ({ name: agentUser(name), rights: agentRights(name, hosts) })),
];

/**
 * The part of a NATS server's configuration that says who may log in, as JSON, which its language takes. Whoever connects proves to be one of the users,
 * and may do what is listed. Nobody is in the account of the server's own affairs.
 */
export const busAccounts = (users: readonly BusUser[]): object => ({
  accounts: {
    XENOLITH: {
      jetstream: 'enabled',
      users: users.map(({ publicKey, rights }) => ({
        nkey: publicKey,
        permissions: { publish: { allow: rights.publish }, subscribe: { allow: rights.subscribe } },
      })),
    },
    SYS: { users: [] },
  },
  system_account: 'SYS',
});
