import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { programFile } from './programs.js';

let root: string;

const write = async (file: string, at: number): Promise<void> => {
  const whole = path.join(root, file);
  await mkdir(path.dirname(whole), { recursive: true });
  await writeFile(whole, '');
  await utimes(whole, at, at);
};

beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'xenolith-programs-'));
});
beforeEach(async () => {
  await write('apps/network/dist/tsconfig.build.tsbuildinfo', 100);
  await write('libs/network/dist/tsconfig.build.tsbuildinfo', 110);
  await write('node_modules/.package-lock.json', 50);
  await write('.runtime/programs/network.js', 120);
});
afterAll(() => rm(root, { recursive: true }));

const bundled = (): boolean => programFile('network', root) === path.join(root, '.runtime/programs/network.js');
const compiled = (): boolean => programFile('network', root) === path.join(root, 'apps/network/dist/main.js');

it('a program starts from its bundle', () => {
  expect(bundled()).toBe(true);
});

it('a library that was built since by hand is what a program starts with', async () => {
  await write('libs/network/dist/tsconfig.build.tsbuildinfo', 130);
  expect(compiled()).toBe(true);
});

it('dependencies that were installed since are those that a program starts with', async () => {
  await write('node_modules/.package-lock.json', 130);
  expect(compiled()).toBe(true);
});

it('without a bundle a program starts from its modules', async () => {
  await rm(path.join(root, '.runtime/programs/network.js'));
  expect(compiled()).toBe(true);
});
