import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { User } from './api-request.js';
import { resourceName, StatusError, type NamedKind } from './status.js';

export const tokenEntries = z.array(
  z.strictObject({
    token: z.string().min(16, 'a token has 16 characters or more'),
    user: z.string().min(1),
    groups: z.array(z.string()).default([]),
  }),
);
export type TokenEntries = z.input<typeof tokenEntries>;

/** Members may do everything: Kubernetes' own word for its superusers. */
export const ADMIN_GROUP = 'system:masters';
/** Every authenticated user is a member. */
export const AUTHENTICATED_GROUP = 'system:authenticated';

const digestOf = (token: string): string => createHash('sha256').update(token).digest('base64');

export type Authenticate = (authorization: string | undefined) => User | null;

/** Looks tokens up by their digest, so that the time it takes tells nothing of their text. */
export const bearerTokens = (entries: TokenEntries): Authenticate => {
  const users = new Map<string, User>();
  for (const entry of tokenEntries.parse(entries))
    users.set(digestOf(entry.token), {
      name: entry.user,
      groups: [...new Set([...entry.groups, AUTHENTICATED_GROUP])],
    });
  return (authorization) => {
    const match = /^bearer +(\S+)$/i.exec(authorization ?? '');
    return match?.[1] === undefined ? null : (users.get(digestOf(match[1])) ?? null);
  };
};

export const unauthorized = (): StatusError =>
  new StatusError({
    code: 401,
    reason: 'Unauthorized',
    message: 'Unauthorized: send a bearer token of this platform, as the kubeconfig that `xenolith up` wrote does',
  });

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

export type Authorize = (user: User, attributes: AccessAttributes) => boolean;

const READ_ONLY: readonly string[] = ['get', 'list', 'watch'];

/** Administrators may do everything, everybody else may read. */
export const adminsOrReadOnly: Authorize = (user, attributes) =>
  user.groups.includes(ADMIN_GROUP) || READ_ONLY.includes(attributes.verb);

export const forbidden = (user: User, attributes: AccessAttributes): StatusError => {
  const { kind } = attributes;
  const where =
    attributes.namespace === undefined || attributes.namespace === ''
      ? 'at the cluster scope'
      : `in the namespace "${attributes.namespace}"`;
  const what =
    kind === undefined
      ? `path "${attributes.path ?? ''}"`
      : `resource "${kind.plural}${attributes.subresource === undefined ? '' : `/${attributes.subresource}`}" in API group "${kind.group}" ${where}`;
  const subject =
    kind === undefined
      ? 'forbidden'
      : `${resourceName(kind)} ${attributes.name === undefined ? 'is' : `"${attributes.name}" is`} forbidden`;
  return new StatusError({
    code: 403,
    reason: 'Forbidden',
    message: `${subject}: User "${user.name}" cannot ${attributes.verb} ${what}; ask for a token of the group ${ADMIN_GROUP}`,
    details:
      kind === undefined
        ? {}
        : { group: kind.group, kind: kind.plural, ...(attributes.name === undefined ? {} : { name: attributes.name }) },
  });
};
