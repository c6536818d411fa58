import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip, constants, type Gzip } from 'node:zlib';
import type { ApiAnswer, EventSink } from '../http/api-request.js';
import { MAX_BODY_BYTES } from '../http/json-body.js';
import { badRequest, StatusError } from '../http/status.js';

/** Below this, compression costs more than it saves: Kubernetes' own limit. */
const GZIP_FROM_CHARACTERS = 128 * 1024;

const tooLarge = (): StatusError =>
  new StatusError({
    code: 413,
    reason: 'RequestEntityTooLarge',
    message: `Request entity too large: limit is ${MAX_BODY_BYTES} bytes; split the object, or apply files one by one`,
  });

/** The body of a request, up to the limit. A body that goes beyond it is not read to its end. */
export const readBody = async (message: IncomingMessage): Promise<Buffer> => {
  const encoding = message.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity')
    throw new StatusError({
      code: 415,
      reason: 'UnsupportedMediaType',
      message: `content encoding "${encoding}" is not taken; send the body as it is`,
      details: {},
    });
  if (Number(message.headers['content-length'] ?? 0) > MAX_BODY_BYTES) throw tooLarge();
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of message as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > MAX_BODY_BYTES) throw tooLarge();
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof StatusError) throw error;
    throw badRequest('the body of the request broke off');
  }
  return Buffer.concat(chunks);
};

/** How long a client may take what it was sent last; then its connection is closed over it. */
const LINGER_MS = 10_000;

/** A watch's connection. Its small writes are sent at once. */
export class ResponseSink implements EventSink {
  constructor(private readonly response: ServerResponse) {}

  get pendingBytes(): number {
    return this.response.writableLength + (this.response.socket?.writableLength ?? 0);
  }

  get closed(): boolean {
    return this.response.destroyed || this.response.writableEnded || this.response.socket === null;
  }

  write(chunk: Buffer): void {
    if (!this.closed) this.response.write(chunk);
  }

  async drained(): Promise<void> {
    if (this.closed || !this.response.writableNeedDrain) return;
    const gone = new AbortController();
    const close = (): void => gone.abort();
    this.response.once('close', close);
    try {
      await once(this.response, 'drain', { signal: gone.signal });
    } catch {
      // The connection is gone: the caller sees `closed`.
    } finally {
      this.response.off('close', close);
    }
  }

  end(): void {
    if (this.closed) return;
    const linger = setTimeout(() => this.response.destroy(), LINGER_MS);
    linger.unref();
    this.response.once('close', () => clearTimeout(linger));
    this.response.end();
  }

  onClose(listener: () => void): void {
    this.response.once('close', listener);
  }
}

const acceptsGzip = (message: IncomingMessage): boolean =>
  /(^|[\s,])gzip(\s*;\s*q=(?!0(\.0*)?(\s|,|$))[\d.]+)?\s*(,|$)/.test(message.headers['accept-encoding'] ?? '');

/** Writes the pieces as fast as the client takes them; a client that goes away ends it. */
const writePieces = async (pieces: readonly string[], response: ServerResponse, gzip: Gzip | null): Promise<void> => {
  const source = Readable.from(pieces.map((piece) => Buffer.from(piece)));
  try {
    await (gzip === null ? pipeline(source, response) : pipeline(source, gzip, response));
  } catch (error) {
    if (!response.destroyed) throw error;
  }
};

/** Writes an answer; settles when it is handed over (a watch goes on by itself). */
export const writeAnswer = async (
  message: IncomingMessage,
  response: ServerResponse,
  answer: ApiAnswer,
): Promise<void> => {
  if (response.destroyed) return;
  if ('stream' in answer) {
    response.writeHead(answer.status, { 'Content-Type': answer.contentType, 'Cache-Control': 'no-cache, private' });
    response.flushHeaders();
    answer.stream(new ResponseSink(response));
    return;
  }
  const pieces = typeof answer.body === 'string' ? [answer.body] : answer.body;
  const characters = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const headers: Record<string, string | string[]> = {
    'Content-Type': answer.contentType,
    'Cache-Control': 'no-cache, private',
  };
  for (const [name, value] of Object.entries(answer.headers ?? {}))
    headers[name] = typeof value === 'string' ? value : [...value];
  if (characters >= GZIP_FROM_CHARACTERS && acceptsGzip(message)) {
    response.writeHead(answer.status, { ...headers, 'Content-Encoding': 'gzip', Vary: 'Accept-Encoding' });
    await writePieces(pieces, response, createGzip({ level: constants.Z_BEST_SPEED }));
    return;
  }
  const [only] = pieces;
  if (pieces.length === 1 && only !== undefined) {
    const body = Buffer.from(only);
    response.writeHead(
      answer.status,
      answer.status === 304 ? headers : { ...headers, 'Content-Length': String(body.length) },
    );
    response.end(body);
    return;
  }
  response.writeHead(answer.status, headers);
  await writePieces(pieces, response, null);
};
