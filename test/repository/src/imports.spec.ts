import path from 'node:path';
import ts from 'typescript';
import { expect, it } from 'vitest';
import { read, trackedFiles } from './tracked-files.js';

const files = new Set(trackedFiles.filter((file) => file.endsWith('.ts')));

/** The files of the repository that a file imports by their path, types among them. */
const importsOf = (file: string): readonly string[] =>
  ts
    .preProcessFile(read(file))
    .importedFiles.map(({ fileName }) => fileName)
    .filter((name) => name.startsWith('.'))
    .map((name) => path.join(path.dirname(file), name.replace(/\.js$/, '.ts')))
    .filter((target) => files.has(target));

/** The first way from a file back to itself that each walk finds; none when there is none at all. */
const findCircles = (importsBy: ReadonlyMap<string, readonly string[]>): readonly string[] => {
  const done = new Set<string>();
  const circles: string[] = [];
  const walk = (file: string, way: readonly string[]): void => {
    const met = way.indexOf(file);
    if (met >= 0) circles.push([...way.slice(met), file].join(' → '));
    if (met >= 0 || done.has(file)) return;
    for (const target of importsBy.get(file) ?? []) walk(target, [...way, file]);
    done.add(file);
  };
  for (const file of importsBy.keys()) walk(file, []);
  return circles;
};

it('files import each other in one direction: none comes back to itself', () => {
  expect(findCircles(new Map([...files].map((file) => [file, importsOf(file)])))).toEqual([]);
});

it('a way back is found, wherever it begins', () => {
  const importsBy = new Map([
    ['a', ['b', 'c']],
    ['b', ['c']],
    ['c', ['d']],
    ['d', ['b']],
  ]);
  expect(findCircles(importsBy)).toEqual(['b → c → d → b']);
});
