// The library below looks its classes up by metadata, which this import brings.
import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import * as x509 from '@peculiar/x509';
import type { DataFolder } from '../folders.js';
import { writePrivateFile } from '../settings.js';

const DAY_MS = 86_400_000;
/** The authority signs certificates of one data folder only; it lives as long as that is likely to. */
const AUTHORITY_DAYS = 3_650;
/** Clients refuse server certificates that are valid for longer than this. */
const SERVER_DAYS = 397;
/** A server certificate that ends sooner than this is replaced at the next start. */
export const RENEW_BEFORE_DAYS = 60;
/** A machine's clock may be a little behind its client's. */
const CLOCK_SKEW_MS = 5 * 60_000;

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

const pemOf = (label: string, der: ArrayBuffer): string =>
  `-----BEGIN ${label}-----\n${(
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  ).join('\n')}\n-----END ${label}-----\n`;

const newKeys = (): Promise<webcrypto.CryptoKeyPair> =>
  webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);

const validFor = (days: number): { notBefore: Date; notAfter: Date } => ({
  notBefore: new Date(Date.now() - CLOCK_SKEW_MS),
  notAfter: new Date(Date.now() + days * DAY_MS),
});

interface Signed {
  readonly certificate: x509.X509Certificate;
  readonly keys: webcrypto.CryptoKeyPair;
}

const newAuthority = async (): Promise<Signed> => {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: randomBytes(16).toString('hex'),
    name: 'CN=xenolith-ca',
    ...validFor(AUTHORITY_DAYS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate, keys };
};

const newServer = async (authority: Signed, name: string): Promise<Signed> => {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: randomBytes(16).toString('hex'),
    subject: `CN=xenolith-${name}`,
    issuer: authority.certificate.subject,
    ...validFor(SERVER_DAYS),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: authority.keys.privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([
        { type: 'dns', value: 'localhost' },
        { type: 'ip', value: '127.0.0.1' },
        { type: 'ip', value: '::1' },
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(authority.certificate, false),
    ],
  });
  return { certificate, keys };
};

const save = async (folder: DataFolder, name: string, signed: Signed): Promise<void> => {
  const key = await webcrypto.subtle.exportKey('pkcs8', signed.keys.privateKey);
  // The key first: a certificate never stands beside a key that is not its own for longer than a crash allows.
  await writePrivateFile(path.join(folder.tls, `${name}.key`), pemOf('PRIVATE KEY', key));
  const file = path.join(folder.tls, `${name}.crt`);
  await writeFile(file, `${signed.certificate.toString('pem')}\n`);
  await chmod(file, 0o644);
};

/** A stored pair, or null when it is missing, damaged, does not belong together, or ends soon. */
const load = async (folder: DataFolder, name: string): Promise<Signed | null> => {
  try {
    const certificate = new x509.X509Certificate(await readFile(path.join(folder.tls, `${name}.crt`), 'utf8'));
    const pem = await readFile(path.join(folder.tls, `${name}.key`), 'utf8');
    const der = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
    const privateKey = await webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, true, ['sign']);
    const publicKey = (await certificate.publicKey.export(ALGORITHM, ['verify'])) as webcrypto.CryptoKey;
    const challenge = randomBytes(32);
    const signature = await webcrypto.subtle.sign(ALGORITHM, privateKey, challenge);
    if (!(await webcrypto.subtle.verify(ALGORITHM, publicKey, signature, challenge))) return null;
    if (certificate.notAfter.getTime() - Date.now() < RENEW_BEFORE_DAYS * DAY_MS) return null;
    return { certificate, keys: { privateKey, publicKey } };
  } catch {
    return null;
  }
};

/** Whom the authority vouches for: each has a key of its own. */
const SERVERS = { server: 'gateway', nats: 'nats', postgres: 'postgres' } as const;
export type CertifiedServer = keyof typeof SERVERS;

/** Names of the files of all certificates, the authority's first. */
export const certificateNames = ['ca', ...Object.keys(SERVERS)] as const;

/** Where a server's certificate and its key are. */
export const certificateFiles = (
  folder: DataFolder,
  name: CertifiedServer,
): { readonly certificate: string; readonly key: string } => ({
  certificate: path.join(folder.tls, `${name}.crt`),
  key: path.join(folder.tls, `${name}.key`),
});

export const authorityFile = (folder: DataFolder): string => path.join(folder.tls, 'ca.crt');

/**
 * An authority, and certificates of the servers for loopback names, in `folder.tls`. What is missing, damaged, or ends soon is made anew. The answer is
 * the authority's certificate (PEM).
 */
export const ensureCertificates = async (folder: DataFolder): Promise<string> => {
  let authority = await load(folder, 'ca');
  if (authority === null) {
    authority = await newAuthority();
    await save(folder, 'ca', authority);
  }
  for (const [name, subject] of Object.entries(SERVERS)) {
    const known = await load(folder, name);
    const issued = known !== null && (await known.certificate.verify({ publicKey: authority.certificate }));
    if (!issued) await save(folder, name, await newServer(authority, subject));
  }
  return authority.certificate.toString('pem');
};
