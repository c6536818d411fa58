import { createHash } from 'node:crypto';

/** What the chain says of an event, with its JSON as PostgreSQL holds it. */
export interface ChainedEvent {
  readonly position: number;
  readonly streamId: string;
  readonly version: number;
  readonly eventId: string;
  readonly category: string;
  readonly type: string;
  readonly schemaVersion: number;
  /** Microseconds since the epoch. */
  readonly recordedAtUs: string;
  readonly data: string;
  readonly metadata: string;
}

export const LINK_BYTES = 32;
/** What the first event's link follows. */
export const FIRST_LINK: Buffer = Buffer.alloc(LINK_BYTES);

const sha256 = (...parts: readonly (string | Buffer)[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/**
 * The link of an event: SHA-256 over the link before it and the SHA-256 of its parts, joined by U+001F. `es.chronicle_step` computes the same in the
 * database; who verifies does not ask the database to.
 */
export const linkOf = (before: Buffer, event: ChainedEvent): Buffer => {
  const { position, streamId, version, eventId, category, type, schemaVersion, recordedAtUs, data, metadata } = event;
  const parts = [position, streamId, version, eventId, category, type, schemaVersion, recordedAtUs, data, metadata];
  return sha256(before, sha256(parts.join('\u001f')));
};
