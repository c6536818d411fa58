import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { request } from 'node:https';
import path from 'node:path';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { repositoryRoot } from '../folders.js';
import { waitUntil } from '../waiting.js';
import type { Access } from './access.js';

const FIELD_MANAGER = 'xenolith-starter';
const REQUEST_TIMEOUT_MS = 10_000;
/** Services may answer 503 for a moment after they are ready, while leases move. */
const ATTEMPTS_TIMEOUT_MS = 20_000;
const ATTEMPT_PAUSE_MS = 250;
const FIRST_RETRIED_STATUS = 500;

const objectSchema = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }),
});
export type InventoryObject = z.infer<typeof objectSchema>;

export interface Inventory {
  readonly objects: readonly InventoryObject[];
  /** Changes when a file does. */
  readonly hash: string;
}

export const starterFolder = path.join(repositoryRoot, 'deploy', 'starter');

/** Files in the order of their names, objects in the order of the file. */
export const readInventory = async (folder: string): Promise<Inventory> => {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.yaml')).sort();
  const texts = await Promise.all(names.map((name) => readFile(path.join(folder, name), 'utf8')));
  const objects = texts.flatMap((text) =>
    parseAllDocuments(text).map((document) => objectSchema.parse(document.toJS())),
  );
  return { objects, hash: createHash('sha256').update(texts.join('\n---\n')).digest('hex') };
};

interface Answer {
  readonly status: number;
  readonly body: string;
}

const send = (access: Access, method: string, target: string, body?: unknown): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const sent = request(
      new URL(target, access.url),
      {
        method,
        ca: access.authority,
        timeout: REQUEST_TIMEOUT_MS,
        headers: {
          authorization: `Bearer ${access.token}`,
          accept: 'application/json',
          'content-type': 'application/apply-patch+yaml',
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.once('error', reject);
        response.once('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
        );
      },
    );
    sent.once('error', reject);
    sent.once('timeout', () => sent.destroy(new Error(`no answer within ${REQUEST_TIMEOUT_MS} ms`)));
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });

const resourceList = z.looseObject({
  resources: z.array(z.looseObject({ name: z.string(), kind: z.string(), namespaced: z.boolean() })),
});
const statusObject = z.looseObject({ message: z.string().optional() });

const messageOf = (answer: Answer): string => {
  try {
    return statusObject.parse(JSON.parse(answer.body)).message ?? `HTTP ${answer.status}`;
  } catch {
    return `HTTP ${answer.status}`;
  }
};

const groupPath = (apiVersion: string): string =>
  apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;

const applyOnce = async (access: Access, object: InventoryObject): Promise<Answer> => {
  const base = groupPath(object.apiVersion);
  const discovered = await send(access, 'GET', base);
  if (discovered.status !== 200) return discovered;
  const { resources } = resourceList.parse(JSON.parse(discovered.body));
  const resource = resources.find(({ kind, name }) => kind === object.kind && !name.includes('/'));
  if (resource === undefined)
    return {
      status: 404,
      body: JSON.stringify({ message: `the server has no kind ${object.kind} in ${object.apiVersion}` }),
    };
  const namespace = resource.namespaced ? `/namespaces/${object.metadata.namespace ?? 'default'}` : '';
  const target = `${base}${namespace}/${resource.name}/${object.metadata.name}`;
  return send(access, 'PATCH', `${target}?fieldManager=${FIELD_MANAGER}&force=true`, object);
};

/** Applies the objects in order. The answer lists what was refused, one sentence each; empty when all went in. */
export const applyInventory = async (access: Access, inventory: Inventory): Promise<readonly string[]> => {
  const refusals: string[] = [];
  for (const object of inventory.objects) {
    let why = '';
    const settled = await waitUntil(
      async () => {
        try {
          const answer = await applyOnce(access, object);
          why = answer.status < 300 ? '' : messageOf(answer);
          return answer.status < FIRST_RETRIED_STATUS;
        } catch (cause) {
          why = cause instanceof Error ? cause.message : String(cause);
          return false;
        }
      },
      { timeoutMs: ATTEMPTS_TIMEOUT_MS, everyMs: ATTEMPT_PAUSE_MS },
    );
    if (why !== '') refusals.push(`${object.kind} ${object.metadata.name}: ${why}`);
    // The server does not answer at all: the others would only wait as long.
    if (!settled) break;
  }
  return refusals;
};
