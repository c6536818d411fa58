import type { Authorize } from '../auth/access.js';
import type { ApiAnswer, ApiRequest } from '../http/api-request.js';
import type { ResourcePath } from '../http/api-path.js';
import { readingPast, resolveMoment, type AsOf } from './as-of.js';
import { readHistory } from './history.js';
import type { PastPorts } from './past.js';
import { Explanation } from './why.js';

/** What the log tells of an object, up to a moment; without one, up to now. Throws a StatusError (400, 404). */
export const readPastSubresource = async (
  ports: PastPorts & { readonly authorize: Authorize },
  target: ResourcePath & { readonly name: string },
  request: ApiRequest,
  asOf: AsOf | null,
): Promise<ApiAnswer> => {
  const { past } = ports;
  const newest = async () => {
    const { position } = await readingPast(() => past.newest());
    return { position, head: position, time: request.receivedAt };
  };
  const moment = asOf === null ? await newest() : await resolveMoment(past, asOf.text, request.receivedAt);
  return target.subresource === 'history'
    ? readHistory(ports, target, request, moment)
    : new Explanation(ports, target, request, moment).read();
};
