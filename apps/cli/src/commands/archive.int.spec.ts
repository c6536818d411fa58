import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { dataFolder } from '../folders.js';
import { createDataFolder, mergeSettings, writeSettings } from '../settings.js';
import { archive } from './archive.js';

let root: string;

beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'xenolith-archive-'));
  const folder = dataFolder(path.join(root, 'data'));
  await createDataFolder(folder);
  // A database that can't be reached: whoever gets so far is told of that.
  await writeSettings(folder, { ...mergeSettings(null, {}), database: 'own' });
  await writeFile(path.join(root, 'file'), '');
});
afterEach(() => vi.unstubAllEnvs());
afterAll(() => rm(root, { recursive: true }));

const archiveTo = (to: string): Promise<number> => {
  vi.stubEnv('DATABASE_URL', '');
  return archive({ data: path.join(root, 'data'), olderThan: '1d', to, keep: 100_000 });
};

it.each(['not-there/archive', 'file/archive', 'file'])(
  'refuses a folder that can not be written to, %s, before the log is looked at',
  async (to) => {
    const refused = archiveTo(path.join(root, to));
    await expect(refused).rejects.toThrow(/^nothing was archived: the archive in .* can not be used: /);
    await expect(refused).rejects.toMatchObject({
      advice: [expect.stringMatching(/^Name a folder with --to that this user may write to/)],
    });
  },
);

it.each([
  ['s3://', { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' }],
  ['s3://archives/log', { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' }],
  [
    's3://archives/log',
    { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b', AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:1' },
  ],
])('refuses a bucket that can not be written to, %s, %o, before the log is looked at', async (to, environment) => {
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
  const refused = archiveTo(to);
  await expect(refused).rejects.toThrow(/^nothing was archived: /);
  await expect(refused).rejects.toMatchObject({ advice: [expect.stringMatching(/^Look at the name of the bucket/)] });
});

it('goes on to the log when the place can be written to', async () => {
  await expect(archiveTo(path.join(root, 'archive'))).rejects.toThrow(/DATABASE_URL is not set/);
});
