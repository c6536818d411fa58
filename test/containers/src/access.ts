// The library below looks its classes up by metadata, which this import brings.
import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import { chmod, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';

const DAY_MS = 86_400_000;
/** A container's clock may be a little behind. */
const CLOCK_SKEW_MS = 60_000;
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

const certificate = async (): Promise<{ readonly cert: string; readonly key: string }> => {
  x509.cryptoProvider.set(webcrypto);
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const signed = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=xenolith-gateway',
    notBefore: new Date(Date.now() - CLOCK_SKEW_MS),
    notAfter: new Date(Date.now() + DAY_MS),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }]),
    ],
  });
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  return { cert: signed.toString('pem'), key: `-----BEGIN PRIVATE KEY-----\n${key}\n-----END PRIVATE KEY-----\n` };
};

/** How kubectl reaches a gateway on this machine as an administrator. */
export const kubeconfigOf = (of: {
  readonly port: number;
  readonly authority: string;
  readonly token: string;
}): object => ({
  apiVersion: 'v1',
  kind: 'Config',
  clusters: [
    {
      name: 'xenolith',
      cluster: {
        server: `https://127.0.0.1:${of.port}`,
        'certificate-authority-data': Buffer.from(of.authority).toString('base64'),
      },
    },
  ],
  users: [{ name: 'admin', user: { token: of.token } }],
  contexts: [{ name: 'xenolith', context: { cluster: 'xenolith', user: 'admin', namespace: 'default' } }],
  'current-context': 'xenolith',
});

export interface Access {
  /** Holds what the gateway is given; its image's user must be able to read it. */
  readonly folder: string;
  readonly kubeconfig: string;
}

/** A certificate, an administrator's token and the kubeconfig for both, in a new folder. */
export const makeAccess = async (port: number): Promise<Access> => {
  const folder = await mkdtemp(join(tmpdir(), 'xenolith-containers-'));
  await chmod(folder, 0o755);
  const { cert, key } = await certificate();
  const token = randomBytes(32).toString('base64url');
  const user = { token, user: 'admin', groups: ['system:masters', 'system:authenticated'] };
  const config = kubeconfigOf({ port, authority: cert, token });
  const files = { 'server.crt': cert, 'server.key': key, 'tokens.json': JSON.stringify([user]) };
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  const kubeconfig = join(folder, 'kubeconfig');
  await writeFile(kubeconfig, JSON.stringify(config));
  return { folder, kubeconfig };
};
