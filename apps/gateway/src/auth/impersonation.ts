import type { IncomingMessage } from 'node:http';
import { AUTHENTICATED_GROUP } from '@xenolith/tenancy';
import type { User } from '../http/api-request.js';
import { badRequest } from '../http/status.js';
import { forbidden, type AccessAttributes, type Authorize } from './access.js';

const USER = 'impersonate-user';
const GROUP = 'impersonate-group';
const UID = 'impersonate-uid';
const EXTRA = 'impersonate-extra-';

/** Groups that one request may ask for; each is a right that is looked up. */
const MAX_GROUPS = 128;

const SERVICE_ACCOUNT = /^system:serviceaccount:([^:]+):([^:]+)$/;

const authentication = (plural: string, name: string, subresource?: string): AccessAttributes => ({
  verb: 'impersonate',
  kind: { group: plural === 'uids' || plural === 'userextras' ? 'authentication.k8s.io' : '', plural },
  name,
  ...(subresource === undefined ? {} : { subresource }),
});

const userAttributes = (name: string): AccessAttributes => {
  const [, namespace, account] = SERVICE_ACCOUNT.exec(name) ?? [];
  if (namespace === undefined || account === undefined) return authentication('users', name);
  return { verb: 'impersonate', kind: { group: '', plural: 'serviceaccounts' }, namespace, name: account };
};

type Headers = Readonly<Record<string, readonly string[] | undefined>>;

const extraOf = (headers: Headers): Readonly<Record<string, readonly string[]>> =>
  Object.fromEntries(
    Object.entries(headers)
      .filter(([name]) => name.startsWith(EXTRA))
      .map(([name, values]) => [unescaped(name.slice(EXTRA.length)), values ?? []]),
  );

/** Keys may be percent-encoded; one that is not is taken as it is, as Kubernetes does. */
export const unescaped = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

const groupsOf = (name: string, asked: readonly string[]): readonly string[] => {
  const account = SERVICE_ACCOUNT.exec(name);
  const implied =
    account && asked.length === 0 ? ['system:serviceaccounts', `system:serviceaccounts:${account[1]}`] : [];
  const known = name === 'system:anonymous' ? [] : [AUTHENTICATED_GROUP];
  return [...new Set([...asked, ...implied, ...known])];
};

/**
 * The user that a request is to be made as: the sender, or who the `Impersonate-…` headers name, each part of which the sender must have the
 * right to impersonate (`kubectl --as`). Throws a StatusError (400, 403).
 */
export const impersonated = async (message: IncomingMessage, sender: User, authorize: Authorize): Promise<User> => {
  const headers: Headers = message.headersDistinct;
  const asked = Object.keys(headers).filter((name) => name.startsWith('impersonate-'));
  if (asked.length === 0) return sender;
  const [name = ''] = headers[USER] ?? [];
  if (name === '')
    throw badRequest(`requested ${asked.map((header) => `"${header}"`).join(', ')} without impersonating a user`);
  const groups = headers[GROUP] ?? [];
  if (groups.length > MAX_GROUPS) throw badRequest(`no more than ${MAX_GROUPS} groups can be impersonated at once`);
  const [uid] = headers[UID] ?? [];
  const extra = extraOf(headers);
  const wanted: AccessAttributes[] = [
    userAttributes(name),
    ...groups.map((group) => authentication('groups', group)),
    ...(uid === undefined ? [] : [authentication('uids', uid)]),
    ...Object.entries(extra).flatMap(([key, values]) =>
      values.map((value) => authentication('userextras', value, key)),
    ),
  ];
  for (const attributes of wanted) if (!(await authorize(sender, attributes))) throw forbidden(sender, attributes);
  return {
    name,
    groups: groupsOf(name, groups),
    ...(uid === undefined ? {} : { uid }),
    ...(Object.keys(extra).length === 0 ? {} : { extra }),
    ...(sender.expiresAt === undefined ? {} : { expiresAt: sender.expiresAt }),
    ...(sender.provenBy === undefined ? {} : { provenBy: sender.provenBy }),
    impersonatedBy: sender.name,
  };
};
