import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { appendOf, nextTestId, writeTo } from '@xenolith/testing';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { archiveLog, openArchiveStore, openEventStore, runSequencer, verifyLog } from '../index.js';
import { useTestbed } from '../testbed.spec-fixture.js';
import { FolderStore, type ArchiveStore } from './archive-store.js';
import { S3Store } from './s3-store.js';

/** What we use of the server, which has no types. */
interface S3Server {
  run(): Promise<AddressInfo>;
  close(): Promise<void>;
}
const S3rver = createRequire(import.meta.url)('@20minutes/s3rver') as new (options: object) => S3Server;

const testbed = useTestbed();
let folder: string;
let server: S3Server;
/** The only login that the server knows. */
let environment: Record<string, string>;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'xenolith-archive-'));
  server = new S3rver({
    address: '127.0.0.1',
    port: 0,
    silent: true,
    directory: path.join(folder, 's3'),
    configureBuckets: [{ name: 'archives' }],
  });
  const { port } = await server.run();
  environment = {
    AWS_ACCESS_KEY_ID: 'S3RVER',
    AWS_SECRET_ACCESS_KEY: 'S3RVER',
    AWS_ENDPOINT_URL: `http://127.0.0.1:${port}`,
  };
});

afterAll(async () => {
  vi.unstubAllEnvs();
  await server.close();
  await rm(folder, { recursive: true, force: true });
});

const places: readonly (readonly [string, () => ArchiveStore])[] = [
  ['a folder', () => new FolderStore(path.join(folder, 'files'))],
  ['a bucket of S3', () => new S3Store('s3://archives/site 1/log/', environment)],
];

describe.each(places)('an archive in %s', (_place, open) => {
  it('keeps files, writes none over, and replaces only what was expected', async () => {
    const store = open();
    const [one, two] = [Buffer.from('one \u0000 ä'), Buffer.alloc(300_000, 'two')];
    expect(await store.read('manifest.json')).toBeNull();
    expect(await store.size('segments/1.zst')).toBeNull();
    expect(await store.putIfAbsent('segments/1.zst', one)).toBe(true);
    expect(await store.putIfAbsent('segments/1.zst', two)).toBe(false);
    expect(await store.read('segments/1.zst')).toEqual(one);
    expect(await store.size('segments/1.zst')).toBe(one.length);
    expect(await store.replace('manifest.json', two, one)).toBe(false);
    expect(await store.replace('manifest.json', one, null)).toBe(true);
    expect(await store.replace('manifest.json', two, null)).toBe(false);
    expect(await store.replace('manifest.json', two, one)).toBe(true);
    expect(await store.read('manifest.json')).toEqual(two);
  });

  it('says that it can be written to, without a change to what is there', async () => {
    const store = open();
    await store.checkWritable();
    await store.checkWritable();
    expect(await store.read('segments/2.zst')).toBeNull();
    expect(await store.putIfAbsent('segments/2.zst', Buffer.from('two'))).toBe(true);
  });
});

describe('an archive in S3', () => {
  it.each([
    ['s3://archives', { AWS_SECRET_ACCESS_KEY: 'guessed' }, /403 SignatureDoesNotMatch/],
    ['s3://nowhere/log', {}, /NoSuchBucket/],
    ['s3://archives', { AWS_ENDPOINT_URL: 'http://127.0.0.1:1' }, /fails/],
  ])('says why it can not be used: %s, %o', async (location, changed, message) => {
    const store = new S3Store(location, { ...environment, ...changed });
    await expect(store.read('manifest.json')).rejects.toThrow(message);
    await expect(store.checkWritable()).rejects.toThrow(message);
  });

  it('says what of its place or its login is missing', () => {
    expect(() => new S3Store('s3://', environment)).toThrow(/s3:\/\/bucket\/prefix/);
    expect(() => new S3Store('s3://archives', {})).toThrow(/AWS_ACCESS_KEY_ID.*AWS_SECRET_ACCESS_KEY/);
  });

  it('is where the past is read from, by the login of the process', async () => {
    for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
    const databaseUrl = await testbed().newDatabase();
    const sequencer = await runSequencer({ databaseUrl });
    const store = await openEventStore({ databaseUrl, name: 'test' });
    const streamId = nextTestId();
    for (let n = 0; n < 5; n += 1) await store.append(appendOf([writeTo(streamId, { ends: n === 4, document: null })]));
    const { position: head } = await store.past.newest();
    const before = await store.past.eventsAfter(0, head);
    const place = await openArchiveStore('s3://archives/here');
    const result = await archiveLog({
      ownerUrl: databaseUrl,
      store: place,
      before: Date.now() + 60_000,
      keepNewest: 0,
    });
    expect(result).toMatchObject({ position: head, removed: head - 1 });
    expect(await store.past.eventsAfter(0, head)).toEqual(before);
    expect((await verifyLog({ databaseUrl })).sound).toBe(true);
    await store.close();
    await sequencer.stop();
  });
});
