import { freePort, startNats, startPostgres, type TestPostgres, type TestServer } from '@xenolith/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkDatabase, checkNats, requireSameDatabase } from './own-servers.js';

let postgres: TestPostgres;
let nats: TestServer;

beforeAll(async () => {
  [postgres, nats] = await Promise.all([startPostgres(), startNats()]);
});
afterAll(async () => {
  await Promise.all([postgres.stop(), nats.stop()]);
});

const changed = (url: string, change: (url: URL) => void): string => {
  const parsed = new URL(url);
  change(parsed);
  return parsed.toString();
};

describe('servers that people bring', () => {
  it('are taken when they can be used', async () => {
    await checkDatabase(await postgres.createDatabase());
    await checkNats(nats.url);
  });

  it('are refused with the reason when they can not, and not only by services that never become ready', async () => {
    const port = await freePort();
    const missing = changed(postgres.url, (url) => (url.pathname = '/nowhere'));
    await expect(checkDatabase(missing)).rejects.toThrow(/has no database .*\/nowhere/);
    const stranger = changed(postgres.url, (url) => (url.username = 'stranger'));
    await expect(checkDatabase(stranger)).rejects.toThrow(/refuses the log-in: role "stranger" does not exist/);
    const silent = changed(postgres.url, (url) => (url.port = String(port)));
    await expect(checkDatabase(silent)).rejects.toThrow(/can't be reached/);
    await expect(checkDatabase('localhost')).rejects.toThrow('DATABASE_URL is no URL');
    await expect(checkNats(`nats://127.0.0.1:${port}`)).rejects.toThrow(/can't be reached/);
  });

  it('are named without their password', async () => {
    const secret = changed(postgres.url, (url) => {
      url.password = 'hunter2';
      url.pathname = '/nowhere';
    });
    await expect(checkDatabase(secret)).rejects.not.toThrow(/hunter2/);
  });
});

describe('a data folder', () => {
  it('goes on with the database that it began with', () => {
    requireSameDatabase('/data', undefined, 'own');
    requireSameDatabase('/data', 'own', 'own');
    expect(() => requireSameDatabase('/data', 'own', 'embedded')).toThrow(/DATABASE_URL is not set/);
    expect(() => requireSameDatabase('/data', 'embedded', 'own')).toThrow(/DATABASE_URL is set/);
  });
});
