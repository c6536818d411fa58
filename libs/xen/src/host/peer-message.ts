import type { PeerMessage } from '../host-model.js';
import type { SyncPoint } from '../migration/protocol.js';

type Is = (value: unknown) => boolean;

const isNumber: Is = (value) => typeof value === 'number' && Number.isFinite(value);
const isString: Is = (value) => typeof value === 'string';
const isBoolean: Is = (value) => typeof value === 'boolean';
const POINTS: readonly SyncPoint[] = ['1', '1-mem', '1-mem ACK', '2', '3', '4'];
const isPoint: Is = (value) => POINTS.some((point) => point === value);

/** What each message must have beside its type. */
const MEMBERS: Readonly<Record<PeerMessage['type'], Readonly<Record<string, Is>>>> = {
  importMetadata: {},
  metadataImported: {},
  openControl: { memoryPages: isNumber },
  openMemory: {},
  endOfStream: { content: isString },
  handshake: { point: isPoint },
  handshakeError: { errno: isString },
  inquire: {},
  holds: { machine: isBoolean },
  closed: {},
  ping: {},
  pong: {},
  disconnected: {},
};

/** Whether a host's agent may hand this to its host. */
export const isPeerMessage = (value: unknown): value is PeerMessage => {
  if (typeof value !== 'object' || value === null || !('type' in value)) return false;
  const { type } = value;
  if (typeof type !== 'string' || !Object.hasOwn(MEMBERS, type)) return false;
  const members = Object.entries(MEMBERS[type as PeerMessage['type']]);
  const { runsUs, content } = value as { readonly runsUs?: unknown; readonly content?: unknown };
  return (
    members.every(([name, is]) => is((value as Record<string, unknown>)[name])) &&
    (runsUs === undefined || isNumber(runsUs)) &&
    (content === undefined || isString(content))
  );
};
