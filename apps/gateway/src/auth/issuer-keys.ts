import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import { z } from 'zod';

/** Kept keys are asked for anew when they are older: an issuer's key that was withdrawn is refused after this. */
const REFRESH_MS = 10 * 60_000;
/** An issuer that is away takes nobody's session with it at once; keys this old are not trusted any more. */
const MAX_AGE_MS = 24 * 60 * 60_000;
/** Tokens of unknown keys make the issuer be asked no more often than this. */
const COOL_DOWN_MS = 10_000;
/** An issuer answers at once, or counts as away. */
const TIMEOUT_MS = 5_000;
/** A key set has a few keys of a kilobyte or so. */
const MAX_BYTES = 512 * 1024;

const discoveryPage = z.object({ issuer: z.string(), jwks_uri: z.url({ protocol: /^https?$/ }) });
const keySet = z.object({ keys: z.array(z.looseObject({ kty: z.string() })).max(100) });

export interface KeySource {
  readonly issuer: string;
  /** Absent: what the issuer's discovery page says. */
  readonly url: string | undefined;
  readonly read: (url: string) => Promise<unknown>;
}

/** The keys of the issuer can't be had at the moment. */
export class IssuerAway extends Error {
  override readonly name = 'IssuerAway';
}

/** What stands at a URL, as JSON. Throws a fault when it does not come whole, in time and with 200. */
export const jsonFrom = (url: string, authority: string | undefined): Promise<unknown> =>
  new Promise((resolve, fail) => {
    const secure = url.startsWith('https:');
    const options = { signal: AbortSignal.timeout(TIMEOUT_MS), headers: { accept: 'application/json' } };
    const request = secure ? httpsRequest(url, { ...options, ca: authority }) : httpRequest(url, options);
    request.on('error', fail);
    request.on('response', (response) => {
      if (response.statusCode !== 200) {
        response.resume();
        fail(new Error(`${url} answers ${response.statusCode ?? 0}`));
        return;
      }
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > MAX_BYTES) response.destroy(new Error(`${url} answers more than ${MAX_BYTES} bytes`));
        else chunks.push(chunk);
      });
      response.on('error', fail);
      response.on('end', () => {
        try {
          resolve(JSON.parse(Buffer.concat(chunks).toString()));
        } catch (cause) {
          fail(new Error(`${url} answers no JSON`, { cause }));
        }
      });
    });
    request.end();
  });

interface Kept {
  readonly keys: JWTVerifyGetKey;
  readonly readAt: number;
}

interface Tools {
  readonly now: () => number;
  readonly warn: (fields: Record<string, unknown>, message: string) => void;
}

/** The keys of an issuer: read at the first token, anew in good time, and when a token names a key that is not among them. */
class IssuerKeys {
  private kept: Kept | null = null;
  private reading: Promise<void> | null = null;
  private askedAt = -Infinity;

  constructor(
    private readonly source: KeySource,
    private readonly tools: Tools,
  ) {}

  readonly find: JWTVerifyGetKey = async (header, token) => {
    const kept = await this.current();
    try {
      return await kept.keys(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey) || !this.mayAsk()) throw error;
      await this.refresh();
      return (this.kept ?? kept).keys(header, token);
    }
  };

  private async current(): Promise<Kept> {
    const now = this.tools.now();
    if (this.kept === null || now - this.kept.readAt > MAX_AGE_MS) {
      if (this.reading !== null || this.mayAsk()) await this.refresh();
    } else if (now - this.kept.readAt > REFRESH_MS && this.mayAsk()) void this.refresh();
    if (this.kept === null || this.tools.now() - this.kept.readAt > MAX_AGE_MS)
      throw new IssuerAway(`the keys of the issuer ${this.source.issuer} can't be read at the moment; try again`);
    return this.kept;
  }

  private mayAsk(): boolean {
    return this.tools.now() - this.askedAt >= COOL_DOWN_MS;
  }

  /** Reads the keys once for all who wait; what fails is logged, and leaves the keys that are kept. */
  private refresh(): Promise<void> {
    this.reading ??= this.readKeys().finally(() => {
      this.reading = null;
    });
    return this.reading;
  }

  private async readKeys(): Promise<void> {
    const { issuer, read } = this.source;
    this.askedAt = this.tools.now();
    try {
      const keys = keySet.parse(await read(this.source.url ?? (await this.discover()))) as JSONWebKeySet;
      this.kept = { keys: createLocalJWKSet(keys), readAt: this.tools.now() };
    } catch (err) {
      this.tools.warn({ err, issuer }, 'the keys of the issuer of tokens could not be read');
    }
  }

  private async discover(): Promise<string> {
    const { issuer, read } = this.source;
    const page = discoveryPage.parse(await read(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`));
    if (page.issuer !== issuer) throw new Error(`the discovery page of ${issuer} is that of ${page.issuer}`);
    return page.jwks_uri;
  }
}

/** Finds the key that a token names. Throws `IssuerAway`, or one of jose's errors. */
export const issuerKeys = (source: KeySource, tools: Tools): JWTVerifyGetKey => new IssuerKeys(source, tools).find;
