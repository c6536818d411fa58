import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { agentSubject, SERVICE_NAMES } from '@xenolith/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeBusAccounts } from './write-bus-accounts.js';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'xenolith-accounts-'));
  const users = [...SERVICE_NAMES, 'agent.default', 'agent.second'];
  for (const user of users)
    await writeFile(
      join(folder, user),
      generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }),
    );
});
afterEach(() => rm(folder, { recursive: true }));

class Ended extends Error {}

/** Runs it as a process would; the exit code, or null, and what it said. */
const run = async (fleets: unknown): Promise<{ readonly code: number | null; readonly told: string }> => {
  let told = '';
  let code: number | null = null;
  const env = {
    BUS_KEYS_DIR: folder,
    BUS_ACCOUNTS_FILE: join(folder, 'accounts.conf'),
    BUS_FLEETS: typeof fleets === 'string' ? fleets : JSON.stringify(fleets),
  };
  const exit = (status: number): never => {
    code = status;
    throw new Ended();
  };
  await writeBusAccounts({ env, stderr: { write: (text: string) => (told += text) !== '' }, exit }).catch(
    (fault: unknown) => {
      if (!(fault instanceof Ended)) throw fault;
    },
  );
  return { code, told };
};

describe('the list of who may log in to NATS', () => {
  it('names each service, and each agent with its own hosts', async () => {
    const fleets = [
      { fleet: 'default', hosts: 2 },
      { fleet: 'second', hosts: 1, hostPrefix: 'second-', kvmHosts: 1, kvmPrefix: 'second-kvm-' },
    ];
    expect(await run(fleets)).toEqual({ code: null, told: '' });
    const { accounts } = JSON.parse(await readFile(join(folder, 'accounts.conf'), 'utf8')) as {
      accounts: { XENOLITH: { users: { nkey: string; permissions: { subscribe: { allow: string[] } } }[] } };
    };
    const { users } = accounts.XENOLITH;
    expect(new Set(users.map(({ nkey }) => nkey)).size).toBe(SERVICE_NAMES.length + fleets.length);
    const heard = users.slice(-2).map(({ permissions }) => permissions.subscribe.allow);
    expect(heard[0]).toContain(agentSubject('host-0002', '*'));
    expect(heard[1]).toEqual(
      expect.arrayContaining([agentSubject('second-0001', '*'), agentSubject('second-kvm-0001', '*')]),
    );
  });

  it.each([
    [
      'a key is missing',
      [{ fleet: 'third', hosts: 1 }],
      /the user agent\.third of NATS has no key: .*agent\.third must/,
    ],
    ['agents are no JSON', 'four', /BUS_FLEETS is wrong: must be JSON/],
    ['hosts are not counted', [{ fleet: 'default' }], /BUS_FLEETS is wrong/],
  ])('is not written when %s, which is said', async (_why, fleets, message) => {
    const { code, told } = await run(fleets);
    expect(code).toBe(78);
    expect(told).toMatch(message);
    await expect(readFile(join(folder, 'accounts.conf'))).rejects.toThrow('ENOENT');
  });
});
