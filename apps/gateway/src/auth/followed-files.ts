import { X509Certificate, createPrivateKey } from 'node:crypto';
import type { z } from 'zod';
import type { gatewayConfig } from '../settings.js';
import type { Followed } from './file-follower.js';
import { tokenEntries, type TokenEntries } from './static-tokens.js';

type Config = z.infer<typeof gatewayConfig>;

/** The platform's own tokens. What is wrong is told without a word of what is in the file. */
export const tokensFile = ({ TOKENS_FILE }: Pick<Config, 'TOKENS_FILE'>): Omit<Followed<TokenEntries>, 'apply'> => ({
  name: 'tokens',
  files: [TOKENS_FILE],
  parse: ([text = '']) => {
    let found: unknown;
    try {
      found = JSON.parse(text);
    } catch {
      throw new Error('it is no JSON; it must be a list of {"token", "user", "groups"}');
    }
    const parsed = tokenEntries.safeParse(found);
    if (parsed.success) return parsed.data;
    throw new Error(parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; '));
  },
});

/** The certificate of the API and its key, which belong together. */
export const certificateFiles = ({
  TLS_CERT_FILE,
  TLS_KEY_FILE,
}: Pick<Config, 'TLS_CERT_FILE' | 'TLS_KEY_FILE'>): Omit<Followed<{ cert: string; key: string }>, 'apply'> => ({
  name: 'certificate',
  files: [TLS_CERT_FILE, TLS_KEY_FILE],
  parse: ([cert = '', key = '']) => {
    if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key)))
      throw new Error('the key is not that of the certificate');
    return { cert, key };
  },
});
