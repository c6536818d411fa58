import type { PolicyRule } from '@xenolith/contracts';
import type { Subject } from '@xenolith/tenancy';
import { z } from 'zod';
import type { ServedKind } from '../discovery/index.js';
import type { ResourcePath } from '../http/api-path.js';
import { jsonAnswer, type ApiAnswer, type ApiRequest, type User } from '../http/api-request.js';
import { OBJECT_TYPES, parseBody } from '../http/json-body.js';
import { badRequest, StatusError } from '../http/status.js';
import type { AccessAttributes } from './access.js';
import type { TokenReader } from './authenticate.js';
import type { Authorizer } from './authorizer.js';

export interface ReviewPorts {
  readonly access: Pick<Authorizer, 'allows' | 'rulesOf'>;
  readonly readToken: TokenReader;
}

const text = z.string().default('');

const attributes = {
  resourceAttributes: z
    .object({ verb: text, group: text, resource: text, subresource: text, namespace: text, name: text })
    .optional(),
  nonResourceAttributes: z.object({ verb: text, path: text }).optional(),
};

const ownAccess = z.object({ spec: z.object(attributes) });
const otherAccess = z.object({
  spec: z.object({ ...attributes, user: text, groups: z.array(z.string()).default([]) }),
});
const rules = z.object({ spec: z.object({ namespace: text }).prefault({}) });
const token = z.object({
  spec: z.object({ token: z.string().min(1), audiences: z.array(z.string()).optional() }),
});

type Asked = z.infer<typeof ownAccess>['spec'];

const read = <Schema extends z.ZodType>(schema: Schema, kind: ServedKind, body: unknown): z.infer<Schema> => {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw badRequest(`the body is not a ${kind.kind}: ${faults.join('; ')}`);
};

const invalid = (kind: ServedKind, field: string, message: string): StatusError =>
  new StatusError({
    code: 422,
    reason: 'Invalid',
    message: `${kind.kind}.${kind.group} "" is invalid: ${field}: ${message}`,
    details: { group: kind.group, kind: kind.kind, causes: [{ field, reason: 'FieldValueInvalid', message }] },
  });

const optional = (value: string): string | undefined => (value === '' ? undefined : value);

const attributesOf = (kind: ServedKind, asked: Asked): AccessAttributes => {
  const { resourceAttributes: resource, nonResourceAttributes: path } = asked;
  if ((resource === undefined) === (path === undefined))
    throw invalid(kind, 'spec', 'exactly one of nonResourceAttributes or resourceAttributes must be specified');
  if (resource === undefined) return { verb: path?.verb ?? '', path: path?.path ?? '' };
  const [name, subresource] = [optional(resource.name), optional(resource.subresource)];
  return {
    verb: resource.verb,
    kind: { group: resource.group, plural: resource.resource },
    // As in requests: what is asked of a namespace is asked within it.
    namespace:
      resource.resource === 'namespaces' && resource.group === '' && resource.namespace === ''
        ? resource.name
        : resource.namespace,
    ...(name === undefined ? {} : { name }),
    ...(subresource === undefined ? {} : { subresource }),
  };
};

const answer = (kind: ServedKind, spec: unknown, status: unknown): ApiAnswer =>
  jsonAnswer(201, {
    kind: kind.kind,
    apiVersion: `${kind.group}/${kind.version}`,
    metadata: {},
    ...(spec === undefined ? {} : { spec }),
    status,
  });

const access = (ports: ReviewPorts, kind: ServedKind, subject: Subject, spec: Asked): ApiAnswer => {
  const allowed = ports.access.allows(subject, attributesOf(kind, spec));
  return answer(kind, spec, allowed ? { allowed } : { allowed, reason: 'no role that the user has grants it' });
};

const accessOfOther = (ports: ReviewPorts, target: ResourcePath, body: unknown): ApiAnswer => {
  const { kind, namespace } = target;
  const { spec } = read(otherAccess, kind, body);
  if (spec.user === '' && spec.groups.length === 0)
    throw invalid(kind, 'spec.user', 'at least one of user or group must be specified');
  if (kind.namespaced && spec.resourceAttributes?.namespace !== namespace)
    throw invalid(kind, 'spec.resourceAttributes.namespace', `must be the namespace of the request, "${namespace}"`);
  return access(ports, kind, { name: spec.user, groups: spec.groups }, spec);
};

const isPathRule = ({ nonResourceURLs = [] }: PolicyRule): boolean => nonResourceURLs.length > 0;

const rulesAnswer = (ports: ReviewPorts, kind: ServedKind, user: User, body: unknown): ApiAnswer => {
  const { spec } = read(rules, kind, body);
  if (spec.namespace === '') throw badRequest('no namespace on request: state spec.namespace');
  const all = ports.access.rulesOf(user, spec.namespace);
  return answer(
    kind,
    {},
    {
      resourceRules: all.filter((rule) => !isPathRule(rule)),
      nonResourceRules: all.filter(isPathRule).map(({ verbs, nonResourceURLs }) => ({ verbs, nonResourceURLs })),
      incomplete: false,
    },
  );
};

const userInfo = ({ name, groups, uid, extra }: User) => ({
  username: name,
  ...(uid === undefined ? {} : { uid }),
  groups,
  ...(extra === undefined ? {} : { extra }),
});

const tokenAnswer = async (ports: ReviewPorts, kind: ServedKind, body: unknown): Promise<ApiAnswer> => {
  const { spec } = read(token, kind, body);
  try {
    const user = await ports.readToken(spec.token);
    // The token itself is in no answer.
    if (user !== null) return answer(kind, {}, { authenticated: true, user: userInfo(user) });
    return answer(kind, {}, { authenticated: false, error: 'no bearer token of this platform' });
  } catch (error) {
    if (error instanceof StatusError && error.code === 401)
      return answer(kind, {}, { authenticated: false, error: error.message });
    throw error;
  }
};

/** Answers a question about identity or rights (`kubectl auth can-i`, `auth whoami`), to which the sender was found to have the right. */
export const reviewAnswer = async (
  ports: ReviewPorts,
  target: ResourcePath,
  request: ApiRequest,
): Promise<ApiAnswer> => {
  const { kind } = target;
  const { user } = request;
  if (kind.kind === 'SelfSubjectReview') return answer(kind, undefined, { userInfo: userInfo(user) });
  const body = parseBody(await request.body(), request.headers['content-type'], OBJECT_TYPES);
  switch (kind.kind) {
    case 'SelfSubjectAccessReview':
      return access(ports, kind, user, read(ownAccess, kind, body).spec);
    case 'SelfSubjectRulesReview':
      return rulesAnswer(ports, kind, user, body);
    case 'TokenReview':
      return tokenAnswer(ports, kind, body);
    default:
      return accessOfOther(ports, target, body);
  }
};
