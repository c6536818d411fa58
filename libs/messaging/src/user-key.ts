import { createPrivateKey } from 'node:crypto';
import { nkeyAuthenticator, nkeys, type Authenticator } from '@nats-io/transport-node';

/** What NATS' form of a user's seed begins with: its letters are SU. A checksum (CRC-16/XMODEM) ends it. */
const USER_SEED_PREFIX = [(18 << 3) | ((20 << 3) >> 5), ((20 << 3) & 31) << 3];
const CRC_POLYNOMIAL = 0x1021;
const RAW_KEY_BYTES = 32;
const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const BASE32_BITS = 5;

const checksum = (bytes: Uint8Array): number => {
  let sum = 0;
  for (const byte of bytes) {
    sum ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) sum = ((sum << 1) ^ ((sum & 0x8000) === 0 ? 0 : CRC_POLYNOMIAL)) & 0xffff;
  }
  return sum;
};

const base32 = (bytes: Uint8Array): string => {
  const bits = Array.from(bytes, (byte) => byte.toString(2).padStart(8, '0')).join('');
  return (bits.match(/.{1,5}/g) ?? [])
    .map((group) => BASE32.charAt(parseInt(group.padEnd(BASE32_BITS, '0'), 2)))
    .join('');
};

const seedOfPem = (pem: string): string => {
  const key = createPrivateKey(pem);
  if (key.asymmetricKeyType !== 'ed25519')
    throw new Error(
      `a user of NATS needs an Ed25519 key, this one is ${key.asymmetricKeyType ?? 'of no known kind'}: make one by openssl genpkey -algorithm ed25519`,
    );
  // PKCS #8 ends with the raw key.
  const raw = key.export({ type: 'pkcs8', format: 'der' }).subarray(-RAW_KEY_BYTES);
  const body = Buffer.concat([Buffer.from(USER_SEED_PREFIX), raw]);
  const sum = Buffer.alloc(2);
  sum.writeUInt16LE(checksum(body));
  return base32(Buffer.concat([body, sum]));
};

/** The seed of an nkey, of that or of an Ed25519 key in PEM, which other tools make. */
const seedOf = (text: string): Uint8Array =>
  new TextEncoder().encode(text.startsWith('-----BEGIN ') ? seedOfPem(text) : text.trim());

/** The public half of a user's key, as servers are told it. Throws for what is neither the seed of an nkey nor an Ed25519 key in PEM. */
export const publicUserKey = (text: string): string => nkeys.fromSeed(seedOf(text)).getPublicKey();

/** Signs the server's challenges with the key that `read` gives, at each connection. */
export const userKeyAuthenticator = (read: () => string): Authenticator => nkeyAuthenticator(() => seedOf(read()));
