import { X509Certificate, createPrivateKey } from 'node:crypto';
import type { ClientAuthorities } from './certificate-proofs.js';
import { fingerprintsOf } from './client-certificates.js';
import type { Followed } from './file-follower.js';
import { tokenEntries, type TokenEntries } from './static-tokens.js';

/** The settings that name files which are read again when they change. */
interface Config {
  readonly TOKENS_FILE: string;
  readonly TLS_CERT_FILE: string;
  readonly TLS_KEY_FILE: string;
  readonly CLIENT_CA_FILE?: string | undefined;
  readonly REQUESTHEADER_CLIENT_CA_FILE?: string | undefined;
}

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

/** The authorities of certificates that clients show; null: the settings name none. */
export const authorityFiles = ({
  CLIENT_CA_FILE: clients,
  REQUESTHEADER_CLIENT_CA_FILE: proxies,
}: Pick<Config, 'CLIENT_CA_FILE' | 'REQUESTHEADER_CLIENT_CA_FILE'>): Omit<
  Followed<ClientAuthorities>,
  'apply'
> | null => {
  const files = [clients, proxies].filter((file) => file !== undefined);
  if (files.length === 0) return null;
  return {
    name: 'client-authorities',
    files,
    parse: (contents) => {
      for (const [index, text] of contents.entries())
        if (fingerprintsOf(text).size === 0) throw new Error(`there is no certificate in PEM in ${files[index] ?? ''}`);
      const of = (file: string | undefined): string | null =>
        file === undefined ? null : (contents[files.indexOf(file)] ?? null);
      return { clients: of(clients), proxies: of(proxies) };
    },
  };
};
