import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { TokenReader } from './authenticate.js';
import { CertificateProofs } from './certificate-proofs.js';
import { readFollowed } from './file-follower.js';
import { authorityFiles } from './followed-files.js';
import { issuerKeys, jsonFrom } from './issuer-keys.js';
import { parseNetwork } from './source-address.js';
import { jwtReader, SIGNING_ALGORITHMS, type JwtRules } from './jwt.js';

const optional = <Schema extends z.ZodType>(schema: Schema) =>
  z.preprocess((value) => (value === '' ? undefined : value), schema);

const list = optional(
  z
    .string()
    .transform((text) =>
      text
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== ''),
    )
    .optional(),
);

/** How users prove who they are, in the words of kube-apiserver's flags. */
export const authVariables = {
  OIDC_ISSUER_URL: optional(z.url({ protocol: /^https?$/ }).optional()).describe(
    'issuer of JSON web tokens that are taken as bearer tokens, exactly as their iss says; none are without it',
  ),
  OIDC_AUDIENCES: list.describe('audiences of which a token must name one, with commas between them'),
  OIDC_JWKS_URL: optional(z.url({ protocol: /^https?$/ }).optional()).describe(
    "where the issuer's keys are; default: what its discovery page says",
  ),
  OIDC_JWKS_FILE: optional(z.string().optional()).describe("file of the issuer's keys, instead of asking it"),
  OIDC_CA_FILE: optional(z.string().optional()).describe("authority of the issuer's certificate in PEM"),
  OIDC_SIGNING_ALGS: optional(
    z
      .string()
      .default('RS256')
      .transform((text) => text.split(',').map((item) => item.trim()))
      .pipe(z.array(z.enum(SIGNING_ALGORITHMS)).min(1)),
  ).describe(`algorithms that tokens may be signed by, of ${SIGNING_ALGORITHMS.join(', ')}`),
  OIDC_USERNAME_CLAIM: optional(z.string().default('sub')).describe('claim that is the name of the user'),
  OIDC_USERNAME_PREFIX: optional(z.string().optional()).describe(
    'what stands before it; default: the issuer and "#", unless the claim is email; - for nothing',
  ),
  OIDC_GROUPS_CLAIM: optional(z.string().optional()).describe("claim that lists the user's groups; default: none"),
  OIDC_GROUPS_PREFIX: optional(z.string().default('')).describe('what stands before each group'),
  OIDC_REQUIRED_CLAIMS: list.describe('claims that a token must have, such as team=red, with commas between them'),
  CLIENT_CA_FILE: optional(z.string().optional()).describe(
    'authority of client certificates in PEM: their common name is the user, their organizations are the groups',
  ),
  REQUESTHEADER_CLIENT_CA_FILE: optional(z.string().optional()).describe(
    'authority of the certificates of front proxies, whose X-Remote-User, -Group and -Extra- headers are taken',
  ),
  TRUSTED_PROXIES: list.describe(
    'networks of proxies whose X-Forwarded-For tells where a request came from, such as 10.0.0.0/8; default: none',
  ),
  REQUESTHEADER_ALLOWED_NAMES: list.describe('common names of front proxies; default: all that the authority signed'),
} as const;

type AuthConfig = z.infer<z.ZodObject<typeof authVariables>>;

/** Variables that mean nothing, or not enough, by themselves; one sentence each. */
export const authFaults = (config: AuthConfig): readonly { readonly variable: string; readonly message: string }[] => {
  const faults: { variable: string; message: string }[] = [];
  const oidc = Object.keys(authVariables).filter((name) => name.startsWith('OIDC_')) as (keyof AuthConfig)[];
  const stated = oidc.filter(
    (name) => !['OIDC_SIGNING_ALGS', 'OIDC_USERNAME_CLAIM', 'OIDC_GROUPS_PREFIX'].includes(name),
  );
  if (config.OIDC_ISSUER_URL === undefined)
    for (const variable of stated.filter((name) => config[name] !== undefined))
      faults.push({ variable, message: 'it needs OIDC_ISSUER_URL' });
  else if ((config.OIDC_AUDIENCES ?? []).length === 0)
    faults.push({ variable: 'OIDC_AUDIENCES', message: 'tokens for others would be taken: name the audience' });
  if (config.OIDC_JWKS_URL !== undefined && config.OIDC_JWKS_FILE !== undefined)
    faults.push({ variable: 'OIDC_JWKS_FILE', message: 'there is OIDC_JWKS_URL, too: leave one of them out' });
  for (const claim of config.OIDC_REQUIRED_CLAIMS ?? [])
    if (!/^[^=]+=./.test(claim)) faults.push({ variable: 'OIDC_REQUIRED_CLAIMS', message: 'each is name=value' });
  if (config.REQUESTHEADER_ALLOWED_NAMES !== undefined && config.REQUESTHEADER_CLIENT_CA_FILE === undefined)
    faults.push({ variable: 'REQUESTHEADER_ALLOWED_NAMES', message: 'it needs REQUESTHEADER_CLIENT_CA_FILE' });
  for (const network of config.TRUSTED_PROXIES ?? [])
    if (parseNetwork(network) === null)
      faults.push({ variable: 'TRUSTED_PROXIES', message: 'each is an address, or a network such as 10.0.0.0/8' });
  return faults;
};

/** Ways of proof beside the tokens of the platform's own. */
export interface ProofOptions {
  readonly tokens: readonly TokenReader[];
  /** By certificates; null: clients are asked for none. */
  readonly certificates: CertificateProofs | null;
}

type Warn = (fields: Record<string, unknown>, message: string) => void;

const splitClaim = (claim: string): readonly [string, string] => {
  const mark = claim.indexOf('=');
  return [claim.slice(0, mark), claim.slice(mark + 1)];
};

const usernamePrefix = (issuer: string, claim: string, stated: string | undefined): string => {
  if (stated === '-') return '';
  return stated ?? (claim === 'email' ? '' : `${issuer}#`);
};

const rulesOf = (issuer: string, config: AuthConfig): JwtRules => ({
  issuer,
  audiences: config.OIDC_AUDIENCES ?? [],
  algorithms: config.OIDC_SIGNING_ALGS,
  usernameClaim: config.OIDC_USERNAME_CLAIM,
  usernamePrefix: usernamePrefix(issuer, config.OIDC_USERNAME_CLAIM, config.OIDC_USERNAME_PREFIX),
  groupsClaim: config.OIDC_GROUPS_CLAIM,
  groupsPrefix: config.OIDC_GROUPS_PREFIX,
  requiredClaims: new Map((config.OIDC_REQUIRED_CLAIMS ?? []).map(splitClaim)),
});

const issuerTokens = async (config: AuthConfig, warn: Warn): Promise<readonly TokenReader[]> => {
  const { OIDC_ISSUER_URL: issuer, OIDC_JWKS_URL: url, OIDC_JWKS_FILE: file, OIDC_CA_FILE: caFile } = config;
  if (issuer === undefined) return [];
  const authority = caFile === undefined ? undefined : await readFile(caFile, 'utf8');
  const source =
    file === undefined
      ? { issuer, url, read: (from: string) => jsonFrom(from, authority) }
      : { issuer, url: file, read: async (from: string) => JSON.parse(await readFile(from, 'utf8')) as unknown };
  return [jwtReader(rulesOf(issuer, config), issuerKeys(source, { now: Date.now, warn }), Date.now)];
};

/** Reads the files that the settings name. Throws a fault for what can't be read. */
export const proofOptions = async (config: AuthConfig, warn: Warn): Promise<ProofOptions> => {
  const files = authorityFiles(config);
  return {
    tokens: await issuerTokens(config, warn),
    certificates:
      files === null
        ? null
        : new CertificateProofs({ names: config.REQUESTHEADER_ALLOWED_NAMES ?? [] }, await readFollowed(files)),
  };
};
