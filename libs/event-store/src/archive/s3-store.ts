import { AwsClient } from 'aws4fetch';
import { z } from 'zod';
import { sha256 } from './archive-format.js';
import { ArchiveUnavailable, WRITE_CHECK, type ArchiveStore } from './archive-store.js';

/** A segment has a megabyte or so; a store that does not move it by then is down. */
const REQUEST_LIMIT_MS = 60_000;
/** Refusals for being too busy are mostly over by then. */
const RETRIES = 3;

/** What every tool of S3 reads; there is none for an archive in a folder, so that it is asked for here only. */
const environmentSchema = z.object({
  AWS_ACCESS_KEY_ID: z.string().min(1),
  AWS_SECRET_ACCESS_KEY: z.string().min(1),
  AWS_SESSION_TOKEN: z.string().optional(),
  AWS_REGION: z.string().min(1).default('us-east-1'),
  /** Of another store than Amazon's. Buckets are the first segment of the path there. */
  AWS_ENDPOINT_URL_S3: z.url().optional(),
  AWS_ENDPOINT_URL: z.url().optional(),
});

export type S3Environment = Readonly<Record<string, string | undefined>>;

const LOCATION = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:\/[^/?#]+)*)\/?$/;

const encodedPath = (path: string): string => path.split('/').map(encodeURIComponent).join('/');

const faultOf = (body: string): string => {
  const part = (name: string): string => new RegExp(`<${name}>([^<]*)</${name}>`).exec(body)?.[1] ?? '';
  return [part('Code'), part('Message')].filter((text) => text !== '').join(': ');
};

/** An archive in a bucket of Amazon's S3, or of what speaks its protocol. Puts state what they expect to find: a store that knows no conditions has the looks before them only. */
export class S3Store implements ArchiveStore {
  readonly location: string;
  private readonly client: AwsClient;
  private readonly base: string;

  /** Throws an `ArchiveUnavailable` when the location or the environment says too little. */
  constructor(location: string, environment: S3Environment) {
    const [, bucket, prefix = ''] = LOCATION.exec(location) ?? [];
    if (bucket === undefined)
      throw new ArchiveUnavailable(
        `"${location}" names no place in S3: write s3://bucket/prefix, with a bucket of 3 to 63 small letters, digits, dots and hyphens`,
      );
    const known = environmentSchema.safeParse(
      Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== '')),
    );
    if (!known.success)
      throw new ArchiveUnavailable(
        `the archive in ${location} needs these variables of the environment: ${known.error.issues.map(({ path, message }) => `${path.join('.')} (${message})`).join(', ')}`,
      );
    const { data } = known;
    const endpoint = data.AWS_ENDPOINT_URL_S3 ?? data.AWS_ENDPOINT_URL;
    const root =
      endpoint === undefined
        ? `https://${bucket}.s3.${data.AWS_REGION}.amazonaws.com`
        : `${endpoint.replace(/\/$/, '')}/${bucket}`;
    this.location = `s3://${bucket}${prefix}`;
    this.base = root + encodedPath(prefix);
    this.client = new AwsClient({
      accessKeyId: data.AWS_ACCESS_KEY_ID,
      secretAccessKey: data.AWS_SECRET_ACCESS_KEY,
      ...(data.AWS_SESSION_TOKEN !== undefined && { sessionToken: data.AWS_SESSION_TOKEN }),
      region: data.AWS_REGION,
      service: 's3',
      retries: RETRIES,
    });
  }

  async read(name: string): Promise<Buffer | null> {
    return (await this.get(name))?.content ?? null;
  }

  async size(name: string): Promise<number | null> {
    const answer = await this.ask(name, { method: 'HEAD' });
    if (answer.status === 404) return null;
    if (!answer.ok) throw this.unavailable(`HEAD ${name} is answered ${answer.status}`);
    return Number(answer.headers.get('content-length'));
  }

  async putIfAbsent(name: string, content: Buffer): Promise<boolean> {
    return (await this.size(name)) === null && this.put(name, content, { 'if-none-match': '*' });
  }

  async replace(name: string, content: Buffer, expected: Buffer | null): Promise<boolean> {
    const found = await this.get(name);
    if (expected === null) return found === null && this.put(name, content, { 'if-none-match': '*' });
    if (found?.content.equals(expected) !== true) return false;
    return this.put(name, content, found.etag === null ? {} : { 'if-match': found.etag });
  }

  /** Leaves an empty object: logins of archives need not be allowed to delete. */
  async checkWritable(): Promise<void> {
    await this.put(WRITE_CHECK, Buffer.alloc(0), {});
  }

  private async get(name: string): Promise<{ readonly content: Buffer; readonly etag: string | null } | null> {
    const answer = await this.ask(name, { method: 'GET' });
    const content = Buffer.from(await answer.arrayBuffer());
    if (answer.ok) return { content, etag: answer.headers.get('etag') };
    const fault = faultOf(content.toString());
    if (answer.status === 404 && !fault.startsWith('NoSuchBucket')) return null;
    throw this.unavailable(`GET ${name} is answered ${answer.status} ${fault}`);
  }

  private async put(name: string, content: Buffer, conditions: Readonly<Record<string, string>>): Promise<boolean> {
    const answer = await this.ask(name, {
      method: 'PUT',
      body: new Uint8Array(content),
      // The store compares what arrives with it.
      headers: { ...conditions, 'x-amz-content-sha256': sha256(content) },
    });
    const fault = faultOf(await answer.text());
    if (answer.ok) return true;
    if (answer.status === 412 || answer.status === 409) return false;
    throw this.unavailable(`PUT ${name} is answered ${answer.status} ${fault}`);
  }

  private async ask(name: string, request: RequestInit): Promise<Response> {
    try {
      return await this.client.fetch(`${this.base}/${encodedPath(name)}`, {
        ...request,
        signal: AbortSignal.timeout(REQUEST_LIMIT_MS),
      });
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw this.unavailable(`${request.method ?? 'GET'} ${name} fails: ${why}`, cause);
    }
  }

  private unavailable(why: string, cause?: unknown): ArchiveUnavailable {
    return new ArchiveUnavailable(`the archive in ${this.location} can not be used: ${why.trim()}`, { cause });
  }
}
