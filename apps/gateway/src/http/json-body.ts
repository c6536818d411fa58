import { parse as parseYaml } from 'yaml';
import { duplicateFields } from './duplicate-fields.js';
import { parseKubernetesProtobuf, PROTOBUF_TYPE } from './kubernetes-protobuf.js';
import { badRequest, StatusError } from './status.js';

/** Kubernetes' limit for a request. */
export const MAX_BODY_BYTES = 3 * 2 ** 20;

/** No kind of ours nests deeper than a dozen levels; recursion over what passes is safe. */
export const MAX_DEPTH = 64;

const TOO_DEEP = `the body nests deeper than ${MAX_DEPTH} levels; no kind of this server does`;

/** Looks at every member without recursion: depth, and names that would change how JavaScript objects behave. */
const checkShape = (root: unknown): void => {
  let level: unknown[] = [root];
  for (let depth = 0; level.length > 0; depth += 1) {
    const below: unknown[] = [];
    for (const value of level) {
      if (typeof value !== 'object' || value === null) continue;
      if (depth >= MAX_DEPTH) throw badRequest(TOO_DEEP);
      if (Array.isArray(value)) {
        for (const item of value) below.push(item);
        continue;
      }
      for (const key of Object.keys(value)) {
        if (key === '__proto__')
          throw badRequest('the body has a member named "__proto__"; no kind of this server has');
        below.push((value as Record<string, unknown>)[key]);
      }
    }
    level = below;
  }
};

const decodeUtf8 = (body: Buffer): string => {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch (cause) {
    throw new StatusError({ code: 400, reason: 'BadRequest', message: 'the body is not UTF-8 text' }, { cause });
  }
};

const because = (error: unknown): string => (error instanceof Error ? (error.message.split('\n')[0] ?? '') : '');

/** The media type alone, in lower case. */
export const mediaType = (header: string | undefined): string =>
  (header ?? '').split(';')[0]?.trim().toLowerCase() ?? '';

const YAML_TYPES = ['application/yaml', 'application/x-yaml', 'text/yaml', 'application/apply-patch+yaml'];

const parseText = (text: string, type: string): unknown => {
  const yaml = YAML_TYPES.includes(type) && !/^\s*[[{]/.test(text);
  try {
    return yaml ? (parseYaml(text, { maxAliasCount: 10 }) as unknown) : (JSON.parse(text) as unknown);
  } catch (cause) {
    throw new StatusError(
      { code: 400, reason: 'BadRequest', message: `the body is not ${yaml ? 'YAML' : 'JSON'}: ${because(cause)}` },
      { cause },
    );
  }
};

/** Members that a JSON body, which was parsed before, names twice; YAML that does is refused when it is parsed. */
export const duplicatesIn = (body: Buffer, contentType: string | undefined): ReturnType<typeof duplicateFields> => {
  if (mediaType(contentType) === PROTOBUF_TYPE) return [];
  const text = body.toString();
  return /^\s*[[{]/.test(text) ? duplicateFields(text) : [];
};

/** A body of one of the accepted types as a value; throws a StatusError. */
export const parseBody = (body: Buffer, contentType: string | undefined, accepted: readonly string[]): unknown => {
  const type = mediaType(contentType) || (accepted[0] ?? '');
  if (!accepted.includes(type))
    throw new StatusError({
      code: 415,
      reason: 'UnsupportedMediaType',
      message: `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}`,
      details: {},
    });
  if (body.length === 0) throw badRequest('the request has no body; send an object');
  const value = type === PROTOBUF_TYPE ? parseKubernetesProtobuf(body) : parseText(decodeUtf8(body), type);
  checkShape(value);
  return value;
};

export const OBJECT_TYPES = ['application/json', 'application/yaml', 'application/x-yaml', 'text/yaml', PROTOBUF_TYPE];
