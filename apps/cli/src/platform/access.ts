import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { stringify } from 'yaml';
import { z } from 'zod';
import type { DataFolder } from '../folders.js';
import { writePrivateFile } from '../settings.js';

const tokensSchema = z.array(
  z.strictObject({ token: z.string().min(1), user: z.string().min(1), groups: z.array(z.string()) }),
);
export type Tokens = z.infer<typeof tokensSchema>;

export const ADMINISTRATOR = 'admin';

/** The bearer token of the administrator; the file may hold more, which users added. */
export const ensureTokens = async (folder: DataFolder): Promise<string> => {
  let tokens: Tokens = [];
  try {
    tokens = tokensSchema.parse(JSON.parse(await readFile(folder.tokensFile, 'utf8')));
  } catch (cause) {
    // Absent at the first start. A damaged file is replaced: it locks everybody out as it is.
    if (!(cause instanceof Error)) throw cause;
  }
  const known = tokens.find(({ user }) => user === ADMINISTRATOR);
  if (known !== undefined) return known.token;
  const token = randomBytes(32).toString('base64url');
  const all = [...tokens, { token, user: ADMINISTRATOR, groups: ['system:masters', 'system:authenticated'] }];
  await writePrivateFile(folder.tokensFile, `${JSON.stringify(all, null, 2)}\n`);
  return token;
};

export interface Access {
  readonly url: string;
  /** PEM. */
  readonly authority: string;
  readonly token: string;
}

export const kubeconfig = ({ url, authority, token }: Access): string =>
  stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'xenolith',
        cluster: { server: url, 'certificate-authority-data': Buffer.from(authority).toString('base64') },
      },
    ],
    users: [{ name: ADMINISTRATOR, user: { token } }],
    contexts: [{ name: 'xenolith', context: { cluster: 'xenolith', user: ADMINISTRATOR, namespace: 'default' } }],
    'current-context': 'xenolith',
  });
