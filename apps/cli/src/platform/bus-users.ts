import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { nkeys } from '@nats-io/transport-node';
import { agentUser, DEFAULT_FLEET, fleetHosts, platformUsers, type BusUser } from '@xenolith/contracts';
import type { DataFolder } from '../folders.js';
import { writePrivateFile, type Settings } from '../settings.js';

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
  const users: BusUser[] = [];
  for (const { name, rights } of platformUsers([{ name: DEFAULT_FLEET, hosts }]))
    users.push({ name, publicKey: await ensureKey(folder, name), rights });
  return users;
};
