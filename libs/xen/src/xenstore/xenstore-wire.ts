import type { Errno } from '../outcome.js';
import { PAYLOAD_MAX } from './xenstore-answer.js';

/** Message types by name (public/io/xs_wire.h `xsd_sockmsg_type`); 20 was RESTRICT and is invalid. */
export const MESSAGE_TYPES = {
  CONTROL: 0,
  DIRECTORY: 1,
  READ: 2,
  GET_PERMS: 3,
  WATCH: 4,
  UNWATCH: 5,
  TRANSACTION_START: 6,
  TRANSACTION_END: 7,
  INTRODUCE: 8,
  RELEASE: 9,
  GET_DOMAIN_PATH: 10,
  WRITE: 11,
  MKDIR: 12,
  RM: 13,
  SET_PERMS: 14,
  WATCH_EVENT: 15,
  ERROR: 16,
  IS_DOMAIN_INTRODUCED: 17,
  RESUME: 18,
  SET_TARGET: 19,
  RESET_WATCHES: 21,
  DIRECTORY_PART: 22,
  GET_FEATURE: 23,
  SET_FEATURE: 24,
  GET_QUOTA: 25,
  SET_QUOTA: 26,
} as const;
export type MessageType = keyof typeof MESSAGE_TYPES;

const NAMES = new Map(Object.entries(MESSAGE_TYPES).map(([name, type]) => [type, name as MessageType]));

/** Name of a type's number; null for one that no message may have, which is ENOSYS. */
export const messageTypeName = (type: number): MessageType | null => NAMES.get(type as never) ?? null;

/** The errors that have a name on the wire, in the header's order. */
export const WIRE_ERRORS = [
  'EINVAL',
  'EACCES',
  'EEXIST',
  'EISDIR',
  'ENOENT',
  'ENOMEM',
  'ENOSPC',
  'EIO',
  'ENOTEMPTY',
  'ENOSYS',
  'EROFS',
  'EBUSY',
  'EAGAIN',
  'EISCONN',
  'E2BIG',
  'EPERM',
] as const satisfies readonly Errno[];

/** `struct xsd_sockmsg`: four 32-bit numbers, in the machine's order, which is little-endian on x86. */
export const HEADER_BYTES = 16;

export interface WireMessage {
  readonly type: number;
  /** Echoed by the answer; 0 in events. */
  readonly requestId: number;
  /** 0 outside of transactions, and in events. */
  readonly transactionId: number;
  /** A text of bytes: one character each. */
  readonly payload: string;
}

/** `needed` bytes are still missing; or the peer broke the protocol, and the daemon drops its connection. */
export type Decoded =
  | { readonly state: 'message'; readonly message: WireMessage; readonly bytes: number }
  | { readonly state: 'incomplete'; readonly needed: number }
  | { readonly state: 'too-long'; readonly length: number };

export const encodeMessage = (message: WireMessage): Uint8Array => {
  const { payload } = message;
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, message.type, true);
  view.setUint32(4, message.requestId, true);
  view.setUint32(8, message.transactionId, true);
  view.setUint32(12, payload.length, true);
  for (let at = 0; at < payload.length; at += 1) bytes[HEADER_BYTES + at] = payload.charCodeAt(at);
  return bytes;
};

/** The first message of what came in. */
export const decodeMessage = (bytes: Uint8Array): Decoded => {
  if (bytes.length < HEADER_BYTES) return { state: 'incomplete', needed: HEADER_BYTES - bytes.length };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(12, true);
  if (length > PAYLOAD_MAX) return { state: 'too-long', length };
  const end = HEADER_BYTES + length;
  if (bytes.length < end) return { state: 'incomplete', needed: end - bytes.length };
  let payload = '';
  for (let at = HEADER_BYTES; at < end; at += 1) payload += String.fromCharCode(bytes[at] ?? 0);
  const [type, requestId, transactionId] = [0, 4, 8].map((at) => view.getUint32(at, true)) as [number, number, number];
  return { state: 'message', message: { type, requestId, transactionId, payload }, bytes: end };
};

const NUL = '\0';

/** Strings as a payload has them: each ends in a NUL. */
export const joinStrings = (strings: readonly string[]): string => strings.map((each) => each + NUL).join('');

/** The strings of a payload; what follows its last NUL is no string (tools/xenstored/core.c `get_strings`). */
export const splitStrings = (payload: string): readonly string[] => payload.split(NUL).slice(0, -1);

/** The one string of a payload that has exactly one NUL, at its end; null otherwise (`onearg`). */
export const singleString = (payload: string): string | null =>
  payload.length > 0 && payload.indexOf(NUL) === payload.length - 1 ? payload.slice(0, -1) : null;

/** A WRITE's path and value; the value has no NUL at its end and may hold some. */
export const splitWrite = (payload: string): { readonly path: string; readonly value: string } | null => {
  const nul = payload.indexOf(NUL);
  return nul < 0 ? null : { path: payload.slice(0, nul), value: payload.slice(nul + 1) };
};
