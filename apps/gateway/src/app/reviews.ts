import { z } from 'zod';
import { SERVED_KINDS, type Verb } from '../discovery/index.js';
import type { Authorize } from '../http/access.js';
import { jsonAnswer, type ApiAnswer, type ApiRequest } from '../http/api-request.js';
import { OBJECT_TYPES, parseBody } from '../http/json-body.js';
import { badRequest } from '../http/status.js';

const ACCESS_PATH = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
const RULES_PATH = '/apis/authorization.k8s.io/v1/selfsubjectrulesreviews';
const IDENTITY_PATH = '/apis/authentication.k8s.io/v1/selfsubjectreviews';

const accessReview = z.object({
  spec: z.object({
    resourceAttributes: z
      .object({
        verb: z.string().default(''),
        group: z.string().default(''),
        resource: z.string().default(''),
        subresource: z.string().optional(),
        namespace: z.string().optional(),
        name: z.string().optional(),
      })
      .optional(),
    nonResourceAttributes: z.object({ verb: z.string().default(''), path: z.string().default('') }).optional(),
  }),
});

const rulesReview = z.object({ spec: z.object({ namespace: z.string().optional() }).default({}) });

const accessAnswer = (authorize: Authorize, request: ApiRequest, input: unknown): ApiAnswer => {
  const review = accessReview.safeParse(input);
  if (!review.success) throw badRequest('the body is not a SelfSubjectAccessReview with a spec');
  const { resourceAttributes: resource, nonResourceAttributes: path } = review.data.spec;
  const allowed =
    resource === undefined
      ? authorize(request.user, { verb: path?.verb ?? '', path: path?.path ?? '' })
      : authorize(request.user, {
          verb: resource.verb,
          kind: { group: resource.group, plural: resource.resource },
          ...(resource.namespace === undefined ? {} : { namespace: resource.namespace }),
          ...(resource.name === undefined ? {} : { name: resource.name }),
          ...(resource.subresource === undefined ? {} : { subresource: resource.subresource }),
        });
  return jsonAnswer(201, {
    kind: 'SelfSubjectAccessReview',
    apiVersion: 'authorization.k8s.io/v1',
    metadata: {},
    spec: review.data.spec,
    status: { allowed },
  });
};

const VERBS: readonly Verb[] = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

/** What the user may do with each kind, as the authorizer answers it verb by verb. */
const rulesAnswer = (authorize: Authorize, request: ApiRequest, input: unknown): ApiAnswer => {
  const review = rulesReview.safeParse(input);
  if (!review.success) throw badRequest('the body is not a SelfSubjectRulesReview with a spec');
  const { namespace } = review.data.spec;
  const resourceRules = SERVED_KINDS.map((kind) => ({
    verbs: VERBS.filter(
      (verb) => kind.verbs.includes(verb) && authorize(request.user, { verb, kind, ...(namespace && { namespace }) }),
    ),
    apiGroups: [kind.group],
    resources: [kind.plural],
  }));
  const nonResourceRules = [{ verbs: ['get'], nonResourceURLs: ['/api', '/api/*', '/apis', '/apis/*', '/openapi/*'] }];
  return jsonAnswer(201, {
    kind: 'SelfSubjectRulesReview',
    apiVersion: 'authorization.k8s.io/v1',
    metadata: {},
    spec: {},
    status: { resourceRules, nonResourceRules, incomplete: false },
  });
};

/** What `kubectl auth can-i` and `kubectl auth whoami` ask; null for any other request. */
export const reviewAnswer = async (authorize: Authorize, request: ApiRequest): Promise<ApiAnswer | null> => {
  if (request.method !== 'POST') return null;
  if (request.path === IDENTITY_PATH) {
    const { name, groups } = request.user;
    return jsonAnswer(201, {
      kind: 'SelfSubjectReview',
      apiVersion: 'authentication.k8s.io/v1',
      metadata: {},
      status: { userInfo: { username: name, groups } },
    });
  }
  if (request.path !== ACCESS_PATH && request.path !== RULES_PATH) return null;
  const input = parseBody(await request.body(), request.headers['content-type'], OBJECT_TYPES);
  return request.path === ACCESS_PATH
    ? accessAnswer(authorize, request, input)
    : rulesAnswer(authorize, request, input);
};
