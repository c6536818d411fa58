import { X509Certificate } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { TLSSocket, type DetailedPeerCertificate, type PeerCertificate } from 'node:tls';
import { AUTHENTICATED_GROUP } from '@xenolith/tenancy';
import type { User } from '../http/api-request.js';
import { unescaped } from './impersonation.js';

/** Longer chains than any that people make; also the end of a certificate that is its own issuer. */
const MAX_CHAIN = 10;

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Who a certificate proves somebody to be; null: nobody whom this authority answers for. */
export type ReadCertificate = (message: IncomingMessage) => User | null;

/** Each of the certificates in a text; throws for one that is none. */
export const fingerprintsOf = (authority: string): ReadonlySet<string> =>
  new Set((authority.match(PEM) ?? []).map((pem) => new X509Certificate(pem).fingerprint256));

/** The types say that there is always an issuer; a chain that was sent short has none. */
const issuerOf = (certificate: DetailedPeerCertificate): DetailedPeerCertificate | undefined =>
  certificate.issuerCertificate;

const endsIn = (certificate: DetailedPeerCertificate, authorities: ReadonlySet<string>): boolean => {
  let at = issuerOf(certificate);
  for (let depth = 0; depth < MAX_CHAIN && at !== undefined; depth += 1) {
    if (authorities.has(at.fingerprint256)) return true;
    at = issuerOf(at);
  }
  return false;
};

/**
 * The certificate that the client proved to hold, if one of these authorities stands behind it. The TLS layer has checked the chain, its purpose and
 * its times; which of several authorities it ends in, and that its time has not come since, is looked at here.
 */
const provenCertificate = (message: IncomingMessage, authorities: ReadonlySet<string>): PeerCertificate | null => {
  const { socket } = message;
  if (!(socket instanceof TLSSocket) || !socket.authorized || socket.destroyed) return null;
  const certificate = socket.getPeerCertificate(true);
  if (Object.keys(certificate).length === 0 || Date.parse(certificate.valid_to) <= Date.now()) return null;
  return endsIn(certificate, authorities) ? certificate : null;
};

/** Whether the client has sent a certificate, good or not. */
export const showsCertificate = ({ socket }: IncomingMessage): boolean =>
  socket instanceof TLSSocket && Object.keys(socket.getPeerCertificate()).length > 0;

const listOf = (value: string | readonly string[] | undefined): readonly string[] =>
  value === undefined ? [] : typeof value === 'string' ? [value] : value;

const subjectOf = ({ subject }: PeerCertificate): { readonly name: string; readonly groups: readonly string[] } => ({
  name: listOf(subject.CN)[0] ?? '',
  groups: listOf(subject.O),
});

const ANONYMOUS = { name: 'system:anonymous', group: 'system:unauthenticated' } as const;

/** Who a proxy says is nobody does not become somebody here. */
const known = (name: string, groups: readonly string[]): readonly string[] =>
  name === ANONYMOUS.name || groups.includes(ANONYMOUS.group)
    ? [...new Set(groups)]
    : [...new Set([...groups, AUTHENTICATED_GROUP])];

/** Users by their certificates: the common name is the user's, the organizations are the groups. */
export const clientCertificates = (authority: string): ReadCertificate => {
  const authorities = fingerprintsOf(authority);
  return (message) => {
    const certificate = provenCertificate(message, authorities);
    if (certificate === null) return null;
    const { name, groups } = subjectOf(certificate);
    return name === '' ? null : { name, groups: known(name, groups), expiresAt: Date.parse(certificate.valid_to) };
  };
};

/** The headers in which a front proxy names a user: of several, the first that the request has; extra keys behind any of the prefixes. */
export interface RemoteHeaders {
  readonly user: readonly string[];
  readonly uid: readonly string[];
  readonly group: readonly string[];
  readonly extraPrefix: readonly string[];
}

const REMOTE_HEADERS: RemoteHeaders = {
  user: ['x-remote-user'],
  uid: ['x-remote-uid'],
  group: ['x-remote-group'],
  extraPrefix: ['x-remote-extra-'],
};

const firstHeader = (message: IncomingMessage, names: readonly string[]): readonly string[] =>
  names.map((name) => message.headersDistinct[name.toLowerCase()] ?? []).find((values) => values.length > 0) ?? [];

const extraOf = (message: IncomingMessage, prefixes: readonly string[]): Pick<User, 'extra'> => {
  const extra = prefixes.flatMap((prefix) =>
    Object.entries(message.headersDistinct)
      .filter(([name]) => name.startsWith(prefix.toLowerCase()))
      .map(([name, values]): [string, readonly string[]] => [unescaped(name.slice(prefix.length)), values ?? []]),
  );
  return extra.length === 0 ? {} : { extra: Object.fromEntries(extra) };
};

/**
 * Users whom a front proxy names, as Kubernetes' aggregation does: the headers count when the proxy's certificate is of its authority and bears one of
 * the names (none: any), and mean nothing from anybody else.
 */
export const frontProxy = (
  authority: string,
  names: readonly string[],
  headers: RemoteHeaders = REMOTE_HEADERS,
): ReadCertificate => {
  const authorities = fingerprintsOf(authority);
  return (message) => {
    const certificate = provenCertificate(message, authorities);
    if (certificate === null || (names.length > 0 && !names.includes(subjectOf(certificate).name))) return null;
    const [name = ''] = firstHeader(message, headers.user);
    if (name === '') return null;
    const [uid] = firstHeader(message, headers.uid);
    return {
      name,
      groups: known(name, firstHeader(message, headers.group)),
      ...(uid === undefined ? {} : { uid }),
      ...extraOf(message, headers.extraPrefix),
    };
  };
};
