import { createHash } from 'node:crypto';
import { decodeJwt, errors, jwtVerify, type JWTPayload, type JWTVerifyGetKey } from 'jose';
import { AUTHENTICATED_GROUP } from '@xenolith/tenancy';
import type { User } from '../http/api-request.js';
import { unavailable } from '../http/status.js';
import { unauthorized } from './access.js';
import type { TokenReader } from './authenticate.js';
import { IssuerAway } from './issuer-keys.js';

/** Signatures by a key pair only: who can check a token must not be able to make one. */
export const SIGNING_ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
] as const;

export interface JwtRules {
  readonly issuer: string;
  readonly audiences: readonly string[];
  readonly algorithms: readonly (typeof SIGNING_ALGORITHMS)[number][];
  readonly usernameClaim: string;
  readonly usernamePrefix: string;
  readonly groupsClaim: string | undefined;
  readonly groupsPrefix: string;
  readonly requiredClaims: ReadonlyMap<string, string>;
}

/** Clocks of two machines that both keep time differ by less. */
const CLOCK_TOLERANCE_SECONDS = 10;
/** Tokens are a kilobyte or two; larger ones are not looked into. */
const MAX_TOKEN_CHARACTERS = 16_384;
const MAX_GROUPS = 512;
/** A token that was found good is taken for so long without being looked at again, as kube-apiserver does. */
const REMEMBERED_MS = 10_000;
const REMEMBERED_TOKENS = 4_096;

/** Names that Kubernetes keeps for itself: what a token says must not make anybody one of them. */
const RESERVED = 'system:';

const claimedBy = (token: string): string | undefined => {
  try {
    return decodeJwt(token).iss;
  } catch {
    // Not a JSON web token: another way of proof may know it.
    return undefined;
  }
};

const nameOf = (claims: JWTPayload, rules: JwtRules): string => {
  const value = claims[rules.usernameClaim];
  if (typeof value !== 'string' || value === '')
    throw unauthorized('wrong', `the token has no claim "${rules.usernameClaim}" that names its user`);
  if (rules.usernameClaim === 'email' && claims['email_verified'] === false)
    throw unauthorized('wrong', 'the e-mail address of the token is not verified');
  const name = `${rules.usernamePrefix}${value}`;
  if (name.startsWith(RESERVED))
    throw unauthorized('wrong', `names that begin with "${RESERVED}" are not for tokens to give`);
  return name;
};

const groupsOf = (claims: JWTPayload, rules: JwtRules): readonly string[] => {
  const value = rules.groupsClaim === undefined ? undefined : claims[rules.groupsClaim];
  const listed: readonly unknown[] = typeof value === 'string' ? [value] : Array.isArray(value) ? value : [];
  return listed
    .filter((group): group is string => typeof group === 'string' && group !== '')
    .slice(0, MAX_GROUPS)
    .map((group) => `${rules.groupsPrefix}${group}`)
    .filter((group) => !group.startsWith(RESERVED));
};

const checkRequired = (claims: JWTPayload, { requiredClaims }: JwtRules): void => {
  for (const [name, wanted] of requiredClaims)
    if (claims[name] !== wanted) throw unauthorized('wrong', `the token lacks the claim ${name} that is asked for`);
};

const userOf = (claims: JWTPayload, rules: JwtRules): User => {
  checkRequired(claims, rules);
  return {
    name: nameOf(claims, rules),
    groups: [...new Set([...groupsOf(claims, rules), AUTHENTICATED_GROUP])],
    ...(claims.jti === undefined
      ? {}
      : { extra: { 'authentication.kubernetes.io/credential-id': [`JTI=${claims.jti}`] } }),
    expiresAt: (claims.exp ?? 0) * 1000,
  };
};

/** Why a token is refused, without anything out of it. */
const refusalOf = (error: unknown): Error => {
  if (error instanceof IssuerAway) return unavailable(error.message, error);
  if (error instanceof errors.JWTExpired)
    return unauthorized('expired', 'the token has expired; get a new one from its issuer');
  if (error instanceof errors.JWTClaimValidationFailed)
    return unauthorized('wrong', `the token is not one for this server: its "${error.claim}" is ${error.reason}`);
  if (error instanceof errors.JOSEAlgNotAllowed)
    return unauthorized('wrong', 'the token is signed by an algorithm that is not taken here');
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
    return unauthorized('wrong', 'the token names no key of its issuer');
  if (error instanceof errors.JOSEError) return unauthorized('wrong', 'the token is not one that its issuer signed');
  return error instanceof Error ? error : new Error('a token could not be looked at', { cause: error });
};

/** Tokens that were found good lately, by their digest. */
class Remembered {
  private readonly users = new Map<string, { readonly user: User; readonly until: number }>();

  constructor(private readonly now: () => number) {}

  get(digest: string): User | undefined {
    const known = this.users.get(digest);
    return known !== undefined && known.until > this.now() ? known.user : undefined;
  }

  set(digest: string, user: User): void {
    if (this.users.size >= REMEMBERED_TOKENS) this.users.clear();
    this.users.set(digest, { user, until: Math.min(this.now() + REMEMBERED_MS, user.expiresAt ?? Infinity) });
  }
}

/** Takes the JSON web tokens of one issuer. Null: of another, or no such token. Throws a StatusError (401, 503) for one that is wrong. */
export const jwtReader = (rules: JwtRules, keys: JWTVerifyGetKey, now: () => number): TokenReader => {
  const remembered = new Remembered(now);
  return async (token) => {
    if (token.length > MAX_TOKEN_CHARACTERS || claimedBy(token) !== rules.issuer) return null;
    const digest = createHash('sha256').update(token).digest('base64');
    const known = remembered.get(digest);
    if (known !== undefined) return known;
    try {
      const { payload } = await jwtVerify(token, keys, {
        issuer: rules.issuer,
        audience: [...rules.audiences],
        algorithms: [...rules.algorithms],
        requiredClaims: ['exp'],
        clockTolerance: CLOCK_TOLERANCE_SECONDS,
        currentDate: new Date(now()),
      });
      const user = userOf(payload, rules);
      remembered.set(digest, user);
      return user;
    } catch (error) {
      throw refusalOf(error);
    }
  };
};
