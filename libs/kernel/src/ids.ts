import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import { canonicalJson } from './json.js';

/** A UUID in its lower-case text form. */
export type Uuid = string;

/** Lower-case hex SHA-256 of the canonical JSON of `value` (64 characters). */
export const hashOf = (value: unknown): string => bytesToHex(sha256(utf8ToBytes(canonicalJson(value))));

/**
 * A UUID that depends on its parts only (RFC 9562 version 8, from SHA-256). Everything that `decide` names gets its id here,
 * from the command's id, so that a repeated command names the same things and a replay gives the same log.
 */
export const uuidFrom = (...parts: readonly (string | number)[]): Uuid => {
  const digest = sha256(utf8ToBytes(parts.join('\u0000'))).slice(0, 16);
  digest[6] = ((digest[6] ?? 0) & 0x0f) | 0x80;
  digest[8] = ((digest[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytesToHex(digest);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
};

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export const isUuid = (text: string): text is Uuid => UUID.test(text);
