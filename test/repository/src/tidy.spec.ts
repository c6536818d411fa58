import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { linesMatching, manifestOf, read, trackedFiles, workspaces } from './tracked-files.js';

const NONE: readonly string[] = [];
const MAX_LINES = 400;

const sources = trackedFiles.filter((file) => /\.(ts|mts|sh|sql)$/.test(file) && !file.startsWith('test/repository/'));
const code = sources.filter((file) => file.endsWith('.ts'));
const isTest = (file: string): boolean =>
  /\.spec(-fixture)?\.ts$/.test(file) || file.startsWith('test/') || file.startsWith('libs/testing/');
const documents = trackedFiles.filter((file) => file.endsWith('.md'));

describe('source files', () => {
  it(`have at most ${MAX_LINES} lines, tests excepted`, () => {
    const long = code
      .filter((file) => !isTest(file))
      .filter((file) => read(file).trimEnd().split('\n').length > MAX_LINES);
    expect(long).toEqual(NONE);
  });

  it('leave nothing for later', () => {
    expect(linesMatching(sources, /\b(TODO|FIXME|XXX|HACK)\b|not implemented|@ts-ignore|@ts-nocheck/i)).toEqual(NONE);
  });

  it('run all their tests: none is singled out, and what is left out says why', () => {
    expect(linesMatching(code, /\b(it|test|describe)\.(only|todo|skip)\(/)).toEqual(NONE);
  });

  it('say why where they turn a rule off', () => {
    const disabled = linesMatching(code, /eslint-disable/).filter((line) => !/ -- \S/.test(line));
    expect(disabled).toEqual(NONE);
  });

  it('have names that say what is in them', () => {
    const vague = code.filter((file) =>
      /(^|[/.-])(utils?|common|shared|helpers?|types|misc|manager|impl)\.ts$/.test(file),
    );
    expect(vague).toEqual(NONE);
    const badlyWritten = code.filter((file) => !/^[a-z0-9]+([.-][a-z0-9]+)*\.ts$/.test(path.basename(file)));
    expect(badlyWritten).toEqual(NONE);
  });
});

describe('the repository', () => {
  it('names no folder of somebody’s machine', () => {
    const texts = trackedFiles.filter((file) => !/\.(png|jpg|zip|gz)$/.test(file) && file !== 'package-lock.json');
    const elsewhere = texts.filter((file) => !file.startsWith('test/repository/'));
    expect(linesMatching(elsewhere, /(^|[^\w.-])\/(work|farm|root|Users)\/|(^|[^\w.-])\/home\/\w/)).toEqual(NONE);
  });

  it('names no host that packages are downloaded from', () => {
    const lock = read('package-lock.json');
    expect(lock).not.toMatch(/"resolved": "https?:/);
    expect(read('.npmrc')).not.toMatch(/registry\s*=/);
  });

  it('runs nothing of its own when it is installed', () => {
    const scripts = ['.', ...workspaces].flatMap((folder) =>
      Object.keys(manifestOf(folder).scripts ?? {})
        .filter((script) => /^(pre|post)?(install|prepare|publish)$/.test(script))
        .map((script) => `${folder}: ${script}`),
    );
    expect(scripts).toEqual(NONE);
  });

  it('pins every dependency to one version', () => {
    const loose = ['.', ...workspaces].flatMap((folder) => {
      const { dependencies, devDependencies, optionalDependencies } = manifestOf(folder);
      return Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies })
        .filter(([, version]) => !/^\d+\.\d+\.\d+([-+][\w.]+)?$/.test(version))
        .map(([name, version]) => `${folder}: ${name} ${version}`);
    });
    expect(loose).toEqual(NONE);
  });

  it('pins a package to the same version everywhere', () => {
    const versions = new Map<string, Set<string>>();
    for (const folder of ['.', ...workspaces]) {
      const { dependencies, devDependencies, optionalDependencies } = manifestOf(folder);
      for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies }))
        versions.set(name, (versions.get(name) ?? new Set()).add(version));
    }
    expect([...versions].filter(([, found]) => found.size > 1).map(([name]) => name)).toEqual(NONE);
  });

  it('has no dead links between its documents', () => {
    const known = new Set(trackedFiles);
    const folders = new Set(trackedFiles.flatMap((file) => ancestors(file)));
    const dead = documents.flatMap((file) =>
      [...read(file).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)].flatMap(([, target = '']) => {
        const resolved = path.normalize(path.join(path.dirname(file), target)).replace(/\/$/, '');
        return known.has(resolved) || folders.has(resolved) ? [] : [`${file}: ${target}`];
      }),
    );
    expect(dead).toEqual(NONE);
  });
});

const ancestors = (file: string): readonly string[] => {
  const parts = path.dirname(file).split('/');
  return parts.map((_, depth) => parts.slice(0, depth + 1).join('/'));
};

describe('every workspace', () => {
  const checked = (
    JSON.parse(read('tsconfig.json')) as { readonly references: readonly { readonly path: string }[] }
  ).references.map((reference) => reference.path);

  it('is built and checked from the root', () => {
    expect([...checked].sort()).toEqual([...workspaces].sort());
  });

  it.each(workspaces)('%s has a name after its folder and a layer', (folder) => {
    const { name, nx } = manifestOf(folder);
    const base = path.basename(folder);
    expect([`@xenolith/${base}`, `@xenolith/app-${base}`]).toContain(name);
    expect(nx?.tags?.filter((tag) => tag.startsWith('layer:'))).toHaveLength(1);
  });

  it.each(workspaces.filter((folder) => folder.startsWith('libs/')))('%s has one door', (folder) => {
    expect(trackedFiles).toContain(`${folder}/src/index.ts`);
    expect(manifestOf(folder).exports?.['.']).toMatchObject({ '@xenolith/source': './src/index.ts' });
  });

  const pure = workspaces.filter((folder) => manifestOf(folder).nx?.tags?.includes('platform:pure') === true);
  it.each(pure)('%s is pure, so it compiles without a platform', (folder) => {
    expect(read(`${folder}/tsconfig.build.json`)).toContain('tsconfig.pure.json');
    expect(read('eslint.config.mjs')).toContain(`'${folder}'`);
  });
});
