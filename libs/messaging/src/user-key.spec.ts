import { generateKeyPairSync } from 'node:crypto';
import { nkeys } from '@nats-io/transport-node';
import { describe, expect, it } from 'vitest';
import { publicUserKey, userKeyAuthenticator } from './user-key.js';

const pemOf = (type: 'ed25519' | 'x25519'): string =>
  (type === 'ed25519' ? generateKeyPairSync('ed25519') : generateKeyPairSync('x25519')).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;

describe("a user's key", () => {
  it('is an Ed25519 key in PEM, whose challenge the public half that the server is told can check', () => {
    for (let round = 0; round < 3; round += 1) {
      const pem = pemOf('ed25519');
      const known = publicUserKey(pem);
      expect(known).toMatch(/^U[A-Z2-7]{55}$/);
      const answer = userKeyAuthenticator(() => pem)('challenge');
      if (!answer || !('sig' in answer)) throw new Error('nothing is signed');
      expect(answer.nkey).toBe(known);
      const signature = Buffer.from(answer.sig, 'base64url');
      expect(nkeys.fromPublic(known).verify(new TextEncoder().encode('challenge'), signature)).toBe(true);
    }
  });

  it('is the seed of an nkey', () => {
    const pair = nkeys.createUser();
    expect(publicUserKey(`${new TextDecoder().decode(pair.getSeed())}\n`)).toBe(pair.getPublicKey());
  });

  it('is nothing else, and what is wrong is said', () => {
    expect(() => publicUserKey(pemOf('x25519'))).toThrow(/needs an Ed25519 key, this one is x25519.*openssl genpkey/);
    expect(() => publicUserKey('nonsense')).toThrow();
  });
});
