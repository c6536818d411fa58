import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { nkeys } from '@nats-io/transport-node';
import {
  agentRights,
  agentUser,
  DEFAULT_FLEET,
  fleetHosts,
  SERVICE_NAMES,
  serviceRights,
  type BusRights,
} from '@xenolith/contracts';
import type { DataFolder } from '../folders.js';
import { writePrivateFile, type Settings } from '../settings.js';

/** A user of the platform's own NATS server. The server knows the public key alone; the seed never leaves its file. */
export interface BusUser {
  readonly name: string;
  readonly publicKey: string;
  readonly rights: BusRights;
}

/** Where the process of that user finds its seed. */
export const seedFile = (folder: DataFolder, user: string): string => path.join(folder.secrets, `nats-${user}.nk`);

/** Who the one agent of the platform's own is. */
export const AGENT_USER = agentUser(DEFAULT_FLEET);

/** The public key of a user, whose seed is made where there is none that can be read. */
const ensureKey = async (folder: DataFolder, user: string): Promise<string> => {
  const file = seedFile(folder, user);
  try {
    return nkeys.fromSeed(new TextEncoder().encode((await readFile(file, 'utf8')).trim())).getPublicKey();
  } catch {
    // Absent at the first start; a damaged one opens nothing.
    const pair = nkeys.createUser();
    await writePrivateFile(file, `${new TextDecoder().decode(pair.getSeed())}\n`);
    return pair.getPublicKey();
  }
};

/** The users of the platform's own server: each service, and the agent with exactly the hosts that it emulates. */
export const ensureBusUsers = async (
  folder: DataFolder,
  fleet: Pick<Settings, 'hosts' | 'kvmHosts' | 'hostProfiles'>,
): Promise<readonly BusUser[]> => {
  const hosts = fleetHosts({
    hosts: fleet.hosts,
    kvmHosts: fleet.kvmHosts ?? 0,
    profiles: fleet.hostProfiles ?? [],
  });
  const rights: readonly (readonly [string, BusRights])[] = [
    ...SERVICE_NAMES.map((name) => [name, serviceRights(name)] as const),
    [AGENT_USER, agentRights(DEFAULT_FLEET, hosts)],
  ];
  const users: BusUser[] = [];
  for (const [name, allowed] of rights) users.push({ name, publicKey: await ensureKey(folder, name), rights: allowed });
  return users;
};
