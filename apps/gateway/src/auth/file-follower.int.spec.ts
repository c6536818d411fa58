import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileFollower } from './file-follower.js';

let folder: string;
let applied: string[][];
let told: string[];
let states: boolean[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'xenolith-follow-'));
  [applied, told, states] = [[], [], []];
});
afterEach(() => rm(folder, { recursive: true }));

const follow = (...files: readonly string[]): FileFollower<string[]> =>
  new FileFollower(
    {
      name: 'the list',
      files: files.map((file) => join(folder, file)),
      parse: (contents) => {
        if (contents.includes('broken')) throw new Error('it is broken');
        return [...contents];
      },
      apply: (meaning) => void applied.push(meaning),
    },
    {
      log: {
        info: (_fields, message) => void told.push(message),
        error: ({ problem }, message) => void told.push(`${message}: ${String(problem)}`),
      },
      onState: (_name, refused) => void states.push(refused),
    },
  );

/** A mounted secret: files are links through `..data`, which is swapped for another folder at once. */
const mount = async (version: number, text: string): Promise<void> => {
  await mkdir(join(folder, `..v${version}`));
  await writeFile(join(folder, `..v${version}`, 'list'), text);
  await symlink(`..v${version}`, join(folder, '..next'));
  await rename(join(folder, '..next'), join(folder, '..data'));
};

describe('files that are followed', () => {
  it('count anew when the kubelet swaps the folder below them', async () => {
    await mount(1, 'one');
    await symlink(join('..data', 'list'), join(folder, 'list'));
    const follower = follow('list');
    await follower.look();
    await follower.look();
    await mount(2, 'two');
    await follower.look();
    expect(applied).toEqual([['one'], ['two']]);
    expect(told).toEqual(['the list changed, and the new one counts from now on']);
  });

  it('go on counting as they were when they are broken or gone, which is said once, and over when they are whole', async () => {
    const file = join(folder, 'list');
    await writeFile(file, 'one');
    const follower = follow('list');
    await follower.look();
    await writeFile(file, 'broken');
    await follower.look();
    expect(told).toEqual([]);
    for (let index = 0; index < 3; index += 1) await follower.look();
    expect(told).toEqual([expect.stringMatching(/^the list can't be used as the files are now.*: it is broken$/)]);
    expect(states.at(-1)).toBe(true);
    await rm(file);
    for (let index = 0; index < 3; index += 1) await follower.look();
    expect(told).toHaveLength(2);
    expect(told[1]).toContain('ENOENT');
    expect(applied).toEqual([['one']]);
    await writeFile(file, 'one');
    await follower.look();
    expect(states.at(-1)).toBe(false);
    await writeFile(file, 'two');
    await follower.look();
    expect(applied).toEqual([['one'], ['two']]);
  });

  it('that belong together are read together', async () => {
    await writeFile(join(folder, 'a'), '1');
    await writeFile(join(folder, 'b'), '1');
    const follower = follow('a', 'b');
    await follower.look();
    await writeFile(join(folder, 'b'), '2');
    await follower.look();
    expect(applied).toEqual([
      ['1', '1'],
      ['1', '2'],
    ]);
  });
});
