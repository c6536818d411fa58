import { commandSubject, type KindDefinition } from '@xenolith/contracts';
import type { KeyLock } from '@xenolith/engine';
import {
  BusFault,
  uuidFrom,
  type CommandAnswer,
  type CommandMessage,
  type EventLog,
  type JsonObject,
  type MessageBus,
  type Reply,
  type Result,
  type Uuid,
} from '@xenolith/kernel';
import type { Admit } from '../auth/admission.js';
import type { DocumentCache } from '../cache/document-cache.js';
import type { ServedKind } from '../discovery/index.js';
import { actorOf, type ApiRequest } from '../http/api-request.js';
import { requestTimeoutMs } from '../http/query.js';
import { statusOfFault } from '../http/rejection-table.js';
import { badRequest, methodNotAllowed, resourceName, StatusError, timedOut } from '../http/status.js';

export interface WritePorts {
  readonly cache: DocumentCache;
  readonly bus: MessageBus;
  readonly log: Pick<EventLog, 'commandResult'>;
  /** Changes of one object are merged one after the other: at once they would only meet in conflicts. */
  readonly locks: KeyLock;
  /** Looks at each object before it is written. */
  readonly admit: Admit;
}

/**
 * What one command may carry. Its event and the document that it leaves travel together in one message of the log's feed, which NATS limits to
 * 1 MiB.
 */
const MAX_COMMAND_BYTES = 384 * 1024;

/** Longest key that is taken; any UUID, hash or sentence fits. */
const MAX_KEY_LENGTH = 255;

/** Ids of the commands of one request. With an `Idempotency-Key` they are the same whenever the user asks with it again. */
export interface CommandIds {
  /** The id of the n-th command of the request. */
  readonly nth: (index: number) => Uuid;
  /** True when the client may ask again with the same key. */
  readonly repeatable: boolean;
}

export const commandIds = (request: ApiRequest): CommandIds => {
  const key = request.headers['idempotency-key'];
  if (key === undefined) {
    const seed = request.id;
    return { nth: (index) => (index === 0 ? seed : uuidFrom(seed, index)), repeatable: false };
  }
  if (typeof key !== 'string' || key === '' || key.length > MAX_KEY_LENGTH)
    throw badRequest(`the Idempotency-Key header must have 1 to ${MAX_KEY_LENGTH} characters`);
  return {
    nth: (index) => uuidFrom('request', request.user.name, request.method, request.path, key, index),
    repeatable: true,
  };
};

export interface Deadline {
  /** Milliseconds that are left, at least one. */
  left(): number;
}

export const deadlineOf = (request: ApiRequest): Deadline => {
  const end = request.receivedAt + requestTimeoutMs(request.query);
  return { left: () => Math.max(1, end - Date.now()) };
};

export const writable = (kind: ServedKind): KindDefinition => {
  if (kind.definition === null)
    throw methodNotAllowed(`${resourceName(kind)} are a view of the log; nobody writes them`);
  return kind.definition;
};

export interface CommandToSend {
  readonly kind: KindDefinition;
  readonly type: string;
  readonly streamId: Uuid;
  readonly commandId: Uuid;
  readonly data: JsonObject;
  readonly expectedVersion?: number;
  readonly dryRun: boolean;
}

/** Sends a command to the service that owns the kind. Throws a StatusError when it can't be known what became of it. */
export const sendCommand = async (
  ports: WritePorts,
  command: CommandToSend,
  request: ApiRequest,
  deadline: Deadline,
): Promise<Result<CommandAnswer>> => {
  const bytes = Buffer.byteLength(JSON.stringify(command.data));
  if (bytes > MAX_COMMAND_BYTES)
    throw new StatusError({
      code: 413,
      reason: 'RequestEntityTooLarge',
      message: `Request entity too large: the object has ${bytes} bytes with its managed fields, the limit is ${MAX_COMMAND_BYTES}; shorten its annotations or split it`,
    });
  const message: CommandMessage = {
    commandId: command.commandId,
    type: command.type,
    streamId: command.streamId,
    data: command.data,
    actor: actorOf(request.user),
    sourceAddress: request.sourceAddress,
    correlationId: command.commandId,
    causationId: command.commandId,
    at: Date.now(),
    ...(command.expectedVersion === undefined ? {} : { expectedVersion: command.expectedVersion }),
    ...(command.dryRun ? { dryRun: true } : {}),
  };
  try {
    const subject = commandSubject(command.kind.service, command.type);
    return answerOf(await ports.bus.request(subject, message, { timeoutMs: deadline.left() }));
  } catch (error) {
    if (error instanceof BusFault) throw statusOfFault(error);
    throw error;
  }
};

const answerOf = (reply: Reply): Result<CommandAnswer> =>
  reply.ok ? { ok: true, value: reply.value as unknown as CommandAnswer } : reply;

/** The stored answer of a command that was sent before under the same key; null: it is new. */
export const earlierAnswer = async (ports: WritePorts, commandId: Uuid): Promise<Result<CommandAnswer> | null> => {
  const stored = await ports.log.commandResult(commandId);
  return stored === null || stored.cancelled ? null : answerOf(stored.result as unknown as Reply);
};

/** The object as the command left it, once this gateway has seen it: its JSON. Null: the object is gone. */
export const writtenText = async (
  ports: WritePorts,
  kind: ServedKind,
  answer: CommandAnswer,
  deadline: Deadline,
): Promise<string | null> => {
  const { streamId, version, document } = answer;
  if (!(await ports.cache.reachVersion(streamId, version, deadline.left())))
    throw timedOut(
      'the change was made, but this gateway has not seen it in time; read the object before you ask again',
    );
  if (document === null) return null;
  const now = ports.cache.byId(streamId);
  if (now?.version === version) return now.text;
  // Somebody changed it again meanwhile: the answer is still what this command left.
  const then = ports.cache.store(kind).ring.find(streamId, version);
  return then?.object.text ?? now?.text ?? JSON.stringify(document);
};
