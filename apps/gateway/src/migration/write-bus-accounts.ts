import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { busAccounts, DEFAULT_FLEET, fleetHosts, hostProfiles, HOSTS_MAX, platformUsers } from '@xenolith/contracts';
import { publicUserKey } from '@xenolith/messaging';
import { EXIT_CONFIG, jsonVariable, readConfig, type ProcessHandle } from '@xenolith/runtime';
import { z } from 'zod';

/** More agents than anybody runs beside one bus. */
const FLEETS_MAX = 1_000;
const hostCount = z.number().int().min(0).max(HOSTS_MAX);

/** The agents of a platform as their own variables describe them: AGENT_FLEET, AGENT_HOSTS and so on. */
const fleets = z
  .array(
    z.strictObject({
      fleet: z.string().default(DEFAULT_FLEET),
      hosts: hostCount,
      kvmHosts: hostCount.default(0),
      hostPrefix: z.string().optional(),
      kvmPrefix: z.string().optional(),
      profiles: hostProfiles.default([]),
    }),
  )
  .max(FLEETS_MAX);

const accountsConfig = z.object({
  BUS_KEYS_DIR: z
    .string()
    .min(1)
    .describe('folder that holds a file for each user of NATS, named after it, with its key'),
  BUS_FLEETS: jsonVariable.pipe(fleets).describe('JSON list of the agents: {"fleet", "hosts", "hostPrefix", …}'),
  BUS_ACCOUNTS_FILE: z.string().min(1).describe("where the server's list of users is written"),
});

/** The public half of a user's key. Throws when there is none, and says which file is missing. */
const publicKeyIn = async (folder: string, user: string): Promise<string> => {
  const file = path.join(folder, user);
  try {
    return publicUserKey(await readFile(file, 'utf8'));
  } catch (cause) {
    throw new Error(`the user ${user} of NATS has no key: ${file} must hold the seed of an nkey, or Ed25519 in PEM`, {
      cause,
    });
  }
};

/** Writes who may log in to a NATS server of the platform's own, and what each may do there, for its configuration to include. Ends with code 78 when a key is missing. */
export const writeBusAccounts = async (
  handle: Pick<ProcessHandle, 'env' | 'stderr' | 'exit'> = process,
): Promise<void> => {
  const { BUS_KEYS_DIR, BUS_FLEETS, BUS_ACCOUNTS_FILE } = readConfig(accountsConfig, handle);
  try {
    const users = await Promise.all(
      platformUsers(BUS_FLEETS.map((each) => ({ name: each.fleet, hosts: fleetHosts(each) }))).map(async (user) => ({
        ...user,
        publicKey: await publicKeyIn(BUS_KEYS_DIR, user.name),
      })),
    );
    await writeFile(BUS_ACCOUNTS_FILE, `${JSON.stringify(busAccounts(users), null, 1)}\n`);
  } catch (fault) {
    handle.stderr.write(`${String(fault)}\n`);
    handle.exit(EXIT_CONFIG);
  }
};
