import type { JsonObject } from '@xenolith/kernel';
import { ADMIN_GROUP } from '@xenolith/tenancy';
import { z } from 'zod';
import { forbidden, type AccessAttributes } from '../auth/access.js';
import type { User } from '../http/api-request.js';
import { BriefMemory } from './brief-memory.js';
import type { ClusterApi } from './cluster-api.js';
import { cannotAsk } from './cluster-identity.js';

/** As long as Kubernetes' own servers remember what a cluster allowed and denied. */
const ALLOWED_FRESH_MS = 10_000;
const DENIED_FRESH_MS = 10_000;
/** Questions of some hundred users, each with some dozen of them. */
const MAX_REMEMBERED = 8_192;

const OWN_GROUP = /\.xenolith\.dev$/;
/** That of all our kinds. */
const VERSION = 'v1alpha1';

const review = z.looseObject({ status: z.looseObject({ allowed: z.boolean(), denied: z.boolean().optional() }) });

const attributesOf = (attributes: AccessAttributes): JsonObject => {
  const { verb, kind, namespace, name, subresource, path } = attributes;
  if (kind === undefined) return { nonResourceAttributes: { verb, path: path ?? '' } };
  return {
    resourceAttributes: {
      verb,
      group: kind.group,
      version: verb === 'impersonate' ? 'v1' : VERSION,
      resource: kind.plural,
      ...(subresource === undefined ? {} : { subresource }),
      ...(namespace === undefined || namespace === '' ? {} : { namespace }),
      ...(name === undefined ? {} : { name }),
    },
  };
};

const specOf = ({ name, groups, uid, extra }: User, attributes: AccessAttributes): JsonObject => ({
  ...attributesOf(attributes),
  user: name,
  groups,
  ...(uid === undefined ? {} : { uid }),
  ...(extra === undefined ? {} : { extra }),
});

/** What the users of the cluster may do: the cluster is asked about each request, as Kubernetes' own aggregated servers do. */
export class ClusterAccess {
  private readonly remembered = new BriefMemory<boolean>(MAX_REMEMBERED);
  /** The same question that is under way is not asked again. */
  private readonly asked = new Map<string, Promise<boolean>>();

  constructor(private readonly api: ClusterApi) {}

  /** Throws a StatusError: 403 for what the cluster serves itself, 503 while it can't be asked. */
  async allows(user: User, attributes: AccessAttributes): Promise<boolean> {
    if (isForeign(attributes))
      throw forbidden(user, attributes, 'the cluster serves this itself: ask its API, not the gateway');
    if (user.groups.includes(ADMIN_GROUP)) return true;
    const spec = specOf(user, attributes);
    const key = JSON.stringify(spec);
    const known = this.remembered.get(key);
    if (known !== undefined) return known;
    const underWay = this.asked.get(key);
    if (underWay !== undefined) return underWay;
    const question = this.ask(key, spec).finally(() => this.asked.delete(key));
    this.asked.set(key, question);
    return question;
  }

  private async ask(key: string, spec: JsonObject): Promise<boolean> {
    try {
      const body: JsonObject = { apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview', spec };
      const path = '/apis/authorization.k8s.io/v1/subjectaccessreviews';
      const { allowed, denied = false } = review.parse(await this.api.expect('POST', path, body)).status;
      const holds = allowed && !denied;
      this.remembered.set(key, holds, holds ? ALLOWED_FRESH_MS : DENIED_FRESH_MS);
      return holds;
    } catch (cause) {
      throw cannotAsk('whether this is allowed', cause);
    }
  }
}

/** Rights to impersonate are about the cluster's own users, whoever is asked. */
const isForeign = ({ kind, verb }: AccessAttributes): boolean =>
  kind !== undefined && verb !== 'impersonate' && !OWN_GROUP.test(kind.group);
