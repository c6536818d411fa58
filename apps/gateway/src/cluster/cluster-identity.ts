import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { JsonObject } from '@xenolith/kernel';
import { z } from 'zod';
import type { Authenticate, TokenReader } from '../auth/authenticate.js';
import { CertificateProofs } from '../auth/certificate-proofs.js';
import type { User } from '../http/api-request.js';
import { StatusError } from '../http/status.js';
import { BriefMemory } from './brief-memory.js';
import type { ClusterApi } from './cluster-api.js';
import { ListWatch } from './list-watch.js';

/** Where a cluster tells servers that it aggregates how it proves who it is (`requestheader-…`), and who signs its users' certificates. */
const AUTHENTICATION = {
  path: '/api/v1/namespaces/kube-system/configmaps',
  fieldSelector: 'metadata.name=extension-apiserver-authentication',
} as const;

/** As long as Kubernetes' own servers remember what a cluster said of a token. */
const TOKEN_FRESH_MS = 10_000;
const MAX_TOKENS = 4_096;

const words = z
  .string()
  .default('[]')
  .transform((text, context): readonly string[] => {
    try {
      return z.array(z.string()).parse(JSON.parse(text));
    } catch {
      context.addIssue({ code: 'custom', message: `${text} is no JSON list of strings` });
      return z.NEVER;
    }
  });

const authentication = z.looseObject({
  data: z.looseObject({
    'client-ca-file': z.string().optional(),
    'requestheader-client-ca-file': z.string().optional(),
    'requestheader-allowed-names': words,
    'requestheader-username-headers': words,
    'requestheader-uid-headers': words,
    'requestheader-group-headers': words,
    'requestheader-extra-headers-prefix': words,
  }),
});

const tokenReview = z.looseObject({
  status: z.looseObject({
    authenticated: z.boolean().default(false),
    error: z.string().optional(),
    user: z
      .looseObject({
        username: z.string().default(''),
        uid: z.string().optional(),
        groups: z.array(z.string()).default([]),
        extra: z.record(z.string(), z.array(z.string())).optional(),
      })
      .optional(),
  }),
});

type Warn = (message: string, err: unknown) => void;

/** Who the cluster says that somebody is: by its front proxy, by its users' certificates, and by tokens that it is asked about. */
export class ClusterIdentity {
  private readonly settings: ListWatch;
  private readonly tokens = new BriefMemory<User | null>(MAX_TOKENS);
  private readonly certificates = new CertificateProofs({ names: [] });
  private onChange: () => void = () => undefined;

  constructor(
    private readonly api: ClusterApi,
    private readonly warn: Warn,
  ) {
    this.settings = new ListWatch(api, AUTHENTICATION, { onObjects: (objects) => this.take(objects), warn });
  }

  /** Settles when the cluster's front proxy is known. */
  async start(): Promise<void> {
    await this.settings.start();
  }

  stop(): Promise<void> {
    return this.settings.stop();
  }

  /** Authorities of certificates that clients may show. */
  get authorities(): readonly string[] {
    return this.certificates.authorities;
  }

  /** Calls back when the authorities have changed. */
  whenAuthoritiesChange(listener: () => void): void {
    this.onChange = listener;
  }

  readonly authenticate: Authenticate = (message: IncomingMessage) => {
    const user = this.certificates.authenticate(message);
    return user && { ...user, provenBy: 'cluster' };
  };

  /** Asks the cluster whose a token is. Throws a StatusError (503) when it can't be asked. */
  readonly readToken: TokenReader = async (token) => {
    const key = createHash('sha256').update(token).digest('base64');
    const known = this.tokens.get(key);
    if (known !== undefined) return known;
    const user = await this.review(token);
    this.tokens.set(key, user, TOKEN_FRESH_MS);
    return user;
  };

  private async review(token: string): Promise<User | null> {
    const body: JsonObject = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token } };
    let answer: JsonObject;
    try {
      answer = await this.api.expect('POST', '/apis/authentication.k8s.io/v1/tokenreviews', body);
    } catch (cause) {
      throw cannotAsk('whose this token is', cause);
    }
    const { authenticated, user } = tokenReview.parse(answer).status;
    if (!authenticated || user === undefined || user.username === '') return null;
    const { username: name, groups, uid, extra } = user;
    return { name, groups, provenBy: 'cluster', ...(uid && { uid }), ...(extra && { extra }) };
  }

  private take(objects: ReadonlyMap<string, JsonObject>): void {
    const [stored] = [...objects.values()];
    const read = authentication.safeParse(stored);
    if (!read.success) {
      // What was known goes on: a setting that can't be read names nobody.
      this.warn('extension-apiserver-authentication of the cluster is missing or wrong', read.error);
      return;
    }
    const { data } = read.data;
    const [proxies = null, clients = null] = [data['requestheader-client-ca-file'], data['client-ca-file']];
    const headers = {
      user: data['requestheader-username-headers'],
      uid: data['requestheader-uid-headers'],
      group: data['requestheader-group-headers'],
      extraPrefix: data['requestheader-extra-headers-prefix'],
    };
    this.certificates.replace({ clients, proxies }, { names: data['requestheader-allowed-names'], headers });
    this.onChange();
  }
}

/** The refusal of a request while the cluster does not answer: nobody is let in on a guess. */
export const cannotAsk = (what: string, cause: unknown): StatusError =>
  new StatusError(
    {
      code: 503,
      reason: 'ServiceUnavailable',
      message: `the cluster can't be asked ${what}: ${cause instanceof Error ? cause.message : String(cause)}; ask again`,
      details: { retryAfterSeconds: 1 },
    },
    { cause },
  );
