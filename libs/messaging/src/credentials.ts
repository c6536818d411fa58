import { readFileSync } from 'node:fs';
import {
  credsAuthenticator,
  usernamePasswordAuthenticator,
  type Authenticator,
  type NodeConnectionOptions,
} from '@nats-io/transport-node';
import { userKeyAuthenticator } from './user-key.js';

/**
 * Who this process is to NATS, and how it knows the server. Secrets are in files that their owner alone can read; each is read at every connection, so
 * that a new one counts from the next reconnect on.
 */
export interface BusCredentials {
  /** Authority of the server's certificate (PEM); absent: those that Node knows. */
  readonly caFile?: string | undefined;
  /** Our own certificate and its key (PEM), where the server asks for one. */
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  /** The seed of an nkey, or an Ed25519 key in PEM. */
  readonly nkeyFile?: string | undefined;
  /** A credentials file as `nsc` writes them: a JWT and its seed. */
  readonly credsFile?: string | undefined;
  readonly user?: string | undefined;
  readonly passwordFile?: string | undefined;
}

const authenticatorsOf = (credentials: BusCredentials): readonly Authenticator[] => {
  const { nkeyFile, credsFile, user, passwordFile } = credentials;
  return [
    ...(nkeyFile === undefined ? [] : [userKeyAuthenticator(() => readFileSync(nkeyFile, 'utf8'))]),
    ...(credsFile === undefined ? [] : [credsAuthenticator(() => readFileSync(credsFile))]),
    ...(user === undefined
      ? []
      : [
          usernamePasswordAuthenticator(user, () =>
            passwordFile === undefined ? '' : readFileSync(passwordFile, 'utf8').trim(),
          ),
        ]),
  ];
};

/** What `connect` is told of it. Without TLS in the URL, and without an authority, the server decides whether to encrypt. */
export const connectionSecurity = (natsUrl: string, credentials: BusCredentials): Partial<NodeConnectionOptions> => {
  const { caFile, certFile, keyFile } = credentials;
  const authenticator = authenticatorsOf(credentials);
  const files = Object.entries({ caFile, certFile, keyFile }).filter(([, file]) => file !== undefined);
  // Asked for by us, encryption can't be talked away by whoever sits between.
  const encrypted = natsUrl.startsWith('tls:') || files.length > 0;
  return {
    ...(encrypted ? { tls: Object.fromEntries(files) } : {}),
    ...(authenticator.length === 0 ? {} : { authenticator: [...authenticator] }),
  };
};

/** A server's address without the secrets that a URL may hold. */
export const addressOf = (url: string): string => {
  if (!URL.canParse(url)) return 'an address that is no URL';
  const { protocol, host } = new URL(url);
  return `${protocol}//${host}`;
};
