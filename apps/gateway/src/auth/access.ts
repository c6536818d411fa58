import type { AccessRequest } from '@xenolith/tenancy';
import type { User } from '../http/api-request.js';
import { resourceName, StatusError, type NamedKind, type StatusSource } from '../http/status.js';

/** What a request wants to do, as an authorizer is asked. */
export interface AccessAttributes {
  readonly verb: string;
  readonly kind?: NamedKind;
  readonly namespace?: string;
  readonly name?: string;
  readonly subresource?: string;
  /** Of requests that are about no resource. */
  readonly path?: string;
}

/** Whether a user may do something. A promise where somebody else is asked, which fails with a StatusError when no answer can be had. */
export type Authorize = (user: User, attributes: AccessAttributes) => boolean | Promise<boolean>;

/** The question in the words of rules. */
export const accessRequestOf = (attributes: AccessAttributes): AccessRequest => {
  const { verb, kind, subresource, name, path } = attributes;
  return kind === undefined
    ? { verb, path: path ?? '' }
    : { verb, group: kind.group, resource: kind.plural, subresource, name };
};

/** Why nobody is let in: nothing was shown, nobody knows the token, its time is over, it is wrong in another way, or it was not looked at. */
export const LOGIN_REFUSALS = ['none', 'unknown', 'expired', 'wrong', 'throttled'] as const;
export type LoginRefusal = (typeof LOGIN_REFUSALS)[number];

/** Somebody did not prove who they are. */
export class RefusedLogin extends StatusError {
  constructor(
    readonly refusal: LoginRefusal,
    source: StatusSource,
  ) {
    super(source);
  }
}

const ADVICE = 'send a bearer token of this platform, as the kubeconfig that `xenolith up` wrote does';

export const unauthorized = (refusal: LoginRefusal, why = ADVICE): RefusedLogin =>
  new RefusedLogin(refusal, { code: 401, reason: 'Unauthorized', message: `Unauthorized: ${why}` });

const HELP = 'who administers the platform gives rights by roles, see kubectl create rolebinding --help';

const placeOf = (namespace: string | undefined): string =>
  namespace === undefined || namespace === '' ? 'at the cluster scope' : `in the namespace "${namespace}"`;

/** The refusal in Kubernetes' words; `more` says what else was found. */
export const forbidden = (user: User, attributes: AccessAttributes, more = HELP): StatusError => {
  const { kind, name, namespace, subresource, path = '', verb } = attributes;
  if (kind === undefined)
    return new StatusError({
      code: 403,
      reason: 'Forbidden',
      message: `forbidden: User "${user.name}" cannot ${verb} path "${path}"; ${more}`,
      details: {},
    });
  const resource = `${kind.plural}${subresource === undefined ? '' : `/${subresource}`}`;
  return new StatusError({
    code: 403,
    reason: 'Forbidden',
    message:
      `${resourceName(kind)} ${name === undefined ? 'is' : `"${name}" is`} forbidden: ` +
      `User "${user.name}" cannot ${verb} resource "${resource}" in API group "${kind.group}" ${placeOf(namespace)}; ${more}`,
    details: { group: kind.group, kind: kind.plural, ...(name === undefined ? {} : { name }) },
  });
};
