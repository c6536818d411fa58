import { documentDiff, type JsonObject } from '@xenolith/kernel';
import { z } from 'zod';
import type { ApiAnswer, ApiRequest } from '../http/api-request.js';
import type { ResourcePath } from '../http/api-path.js';
import { jsonAnswer } from '../http/api-request.js';
import { wholeNumber } from '../http/query.js';
import { badRequest } from '../http/status.js';
import { apiVersionOf } from '@xenolith/contracts';
import type { PastMoment } from './as-of.js';
import { changesBehind, lifeOf, originOf, type Describe, type EventWithChange } from './object-past.js';
import type { PastPorts } from './past.js';

const DEFAULT_LIMIT = 100;
/** Each event may bring a whole document. */
const MAX_LIMIT = 1000;

const token = z.strictObject({ uid: z.string(), after: z.number().int().nonnegative(), upTo: z.number().int() });

const writeToken = (next: z.infer<typeof token>): string => Buffer.from(JSON.stringify(next)).toString('base64url');

const readToken = (text: string): z.infer<typeof token> => {
  try {
    return token.parse(JSON.parse(Buffer.from(text, 'base64url').toString()));
  } catch {
    throw badRequest('the continue parameter is not one of this server’s; start again without it');
  }
};

const entryOf = ({ event, change }: EventWithChange, describe: Describe): JsonObject => {
  const description = describe(event);
  return {
    ...originOf(event),
    ...(description !== null && { reason: description.reason, message: description.message }),
    data: event.data,
    ...(change !== undefined && { changes: [...documentDiff(change.before, change.after)] as unknown as JsonObject[] }),
  };
};

/** One page of all that happened to an object, oldest first. Throws a StatusError (400, 404). */
export const readHistory = async (
  ports: PastPorts,
  target: ResourcePath & { readonly name: string },
  request: ApiRequest,
  moment: PastMoment,
): Promise<ApiAnswer> => {
  const { past, describeEvent: describe } = ports;
  const limit = Math.min(wholeNumber(request.query, 'limit') ?? DEFAULT_LIMIT, MAX_LIMIT) || DEFAULT_LIMIT;
  const stated = request.query.get('continue') ?? '';
  const next = stated === '' ? null : readToken(stated);
  const upTo = next?.upTo ?? moment.position;
  const life = await lifeOf(past, target, { uid: next?.uid ?? request.query.get('uid'), upTo: moment.head });
  const streamId = life.streamId;
  const entries = await changesBehind(past, { streamId, after: next?.after ?? 0, upTo, limit });
  const last = entries.at(-1)?.event.version ?? 0;
  return jsonAnswer(200, {
    kind: 'History',
    apiVersion: apiVersionOf(target.kind),
    metadata: {
      name: target.name,
      ...(target.namespace !== '' && { namespace: target.namespace }),
      uid: streamId,
      resourceVersion: String(upTo),
      ...(entries.length === limit && { continue: writeToken({ uid: streamId, after: last, upTo }) }),
    },
    items: entries.map((entry) => entryOf(entry, describe)),
  });
};
