import { text } from 'node:stream/consumers';
import { testRunLabel } from '@xenolith/testing/containers';
import { describe, expect, it } from 'vitest';
import { engine, imageOf, needsEngine, PROCESSES, type ProcessName } from './engine.js';

const MIB = 2 ** 20;
/** Node itself is 120 MiB of it. */
const MAX_BYTES = 180 * MIB;
/** sysexits.h's EX_CONFIG. */
const EXIT_CONFIG = 78;
/** Code 127 is what shells say, too, of a program that is not there. */
const NO_SUCH_PROGRAM = /no such file or directory|executable file not found/;

interface Ended {
  readonly code: number;
  readonly output: string;
}

/** Runs a program in a new container of the image, confined as ours are meant to run, to its end. */
const run = async (process: ProcessName, entrypoint: readonly string[]): Promise<Ended> => {
  const { container } = await engine();
  const made = await container.dockerode.createContainer({
    Image: imageOf(process),
    Entrypoint: [...entrypoint],
    Labels: { ...testRunLabel() },
    // A terminal: its output comes as it is, not in the engine's frames.
    Tty: true,
    HostConfig: { NetworkMode: 'none', ReadonlyRootfs: true, CapDrop: ['ALL'], SecurityOpt: ['no-new-privileges'] },
  });
  try {
    const ended = made.wait({ condition: 'next-exit' }) as Promise<{ StatusCode: number }>;
    await made.start();
    const { StatusCode } = await ended;
    // As a stream: the client would read a whole answer as JSON where it can.
    const output = await made.logs({ stdout: true, stderr: true, follow: true });
    return { code: StatusCode, output: await text(output) };
  } finally {
    await made.remove({ force: true, v: true });
  }
};

const evaluate = async (process: ProcessName, script: string): Promise<unknown> => {
  const { code, output } = await run(process, ['/bin/node', '-e', script]);
  expect(output, `exit code ${code}`).not.toBe('');
  return JSON.parse(output);
};

const inspect = async (process: ProcessName) =>
  (await engine()).container.dockerode.getImage(imageOf(process)).inspect();

/** Every program and every file that its owner's rights are lent by, and where its user may write. */
const LOOK_AROUND = `
const fs = require('fs');
const found = { programs: [], lending: [], writable: [] };
const visit = (folder) => {
  try { fs.accessSync(folder, fs.constants.W_OK); found.writable.push(folder); } catch {}
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const path = (folder === '/' ? '' : folder) + '/' + entry.name;
    if (['/proc', '/sys', '/dev'].includes(path)) continue;
    if (entry.isDirectory()) visit(path);
    else if (entry.isFile()) {
      const { mode } = fs.statSync(path);
      if (mode & 0o6000) found.lending.push(path);
      if ((mode & 0o111) && !path.includes('/lib')) found.programs.push(path);
    }
  }
};
visit('/');
console.log(JSON.stringify({ ...found, uid: process.getuid(), groups: process.getgroups() }));`;

interface Surroundings {
  readonly programs: readonly string[];
  readonly lending: readonly string[];
  readonly writable: readonly string[];
  readonly uid: number;
  readonly groups: readonly number[];
}

interface Bill {
  readonly bomFormat: string;
  readonly specVersion: string;
  readonly metadata: { readonly component: { readonly name: string } };
  readonly components: readonly { readonly name: string; readonly version: string; readonly purl: string }[];
}

describe.each(PROCESSES)('the image of the %s', (process) => {
  needsEngine();

  it('is small, runs as nobody in particular, and says what it is', async () => {
    const image = await inspect(process);
    const labels = image.Config.Labels;
    expect(image.Size).toBeLessThan(MAX_BYTES);
    expect(image.Config.User).toBe('65532:65532');
    expect(labels).toMatchObject({
      'org.opencontainers.image.title': `xenolith-${process}`,
      'org.opencontainers.image.licenses': 'Apache-2.0',
      'org.opencontainers.image.version': expect.stringMatching(/^\d+\.\d+\.\d+/) as string,
      'org.opencontainers.image.revision': expect.stringMatching(/^([0-9a-f]{40}|unknown)$/) as string,
      'dev.xenolith.sbom.path': '/app/sbom.cdx.json',
    });
  });

  it('holds one program, Node, and nothing that lends rights', async () => {
    const { programs, lending, writable, uid } = (await evaluate(process, LOOK_AROUND)) as Surroundings;
    // The engine itself puts its mark into every container.
    expect(programs.filter((path) => path !== '/.dockerenv' && !path.startsWith('/app/'))).toEqual(['/bin/node']);
    expect(lending).toEqual([]);
    // The root is read-only here; without that, these two could be written to.
    expect(writable.filter((folder) => !['/tmp', '/data'].includes(folder))).toEqual([]);
    expect(uid).toBe(65_532);
  });

  it('has no shell', async () => {
    await expect(run(process, ['/bin/sh', '-c', 'exit 0'])).rejects.toThrow(NO_SUCH_PROGRAM);
  });

  it('carries the bill of what is in it', async () => {
    const image = await inspect(process);
    const file = image.Config.Labels['dev.xenolith.sbom.path'] ?? '';
    const bill = (await evaluate(process, `console.log(require('fs').readFileSync('${file}', 'utf8'))`)) as Bill;
    expect(`${bill.bomFormat} ${bill.specVersion}`).toBe(image.Config.Labels['dev.xenolith.sbom.format']);
    expect(bill.metadata.component.name).toBe(`xenolith-${process}`);
    const names = bill.components.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['node', 'glibc', 'zod', '@nestjs/core', 'contracts']));
    expect(names.filter((name) => /^(typescript|vitest|eslint|testcontainers)$/.test(name))).toEqual([]);
    const node = bill.components.find(({ name }) => name === 'node');
    expect(await evaluate(process, 'console.log(JSON.stringify(process.versions.node))')).toBe(node?.version);
  });

  it('is unhealthy while nothing answers in it', async () => {
    expect((await inspect(process)).Config.Healthcheck).toMatchObject({
      Test: ['CMD', '/bin/node', '/app/health.mjs'],
    });
    expect((await run(process, ['/bin/node', '/app/health.mjs'])).code).toBe(1);
  });

  it('says what it has to be told, and ends with the code for that', async () => {
    const { code, output } = await run(process, ['/bin/node', '/app/main.js']);
    expect(code).toBe(EXIT_CONFIG);
    expect(output).toContain('NATS_URL is not set');
  });
});
