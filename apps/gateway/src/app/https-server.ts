import 'reflect-metadata';
import type { Socket } from 'node:net';
import { Server as TlsServer, type SecureContextOptions } from 'node:tls';
import { Module, type DynamicModule, type LoggerService } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyReply } from 'fastify';
import { statusBody, type StatusSource } from '../http/status.js';
import { ApiController, GATEWAY, type Gateway } from './api.controller.js';

/** Kubernetes clients send tokens and long selectors, never more than this. */
const MAX_HEADER_BYTES = 64 * 1024;
/** A client that takes longer for its headers, or for the whole of a request, holds a connection for nothing. */
const PATIENCE: Patience = { headersMs: 20_000, requestMs: 60_000, checkMs: 5_000 };
/** Longer than the pauses of client libraries between two polls. */
const KEEP_ALIVE_MS = 120_000;
/** Open connections; a cluster's worth of clients and 10,000 watches. */
const MAX_CONNECTIONS = 20_000;

/** How long clients may take. */
export interface Patience {
  readonly headersMs: number;
  readonly requestMs: number;
  /** How often slow requests are looked for. */
  readonly checkMs: number;
}

export interface HttpsOptions {
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
  readonly tls: { readonly cert: string | Buffer; readonly key: string | Buffer };
  readonly logger: LoggerService | false;
  readonly patience?: Patience;
  /** Authorities of certificates that clients may prove who they are with; null: clients are asked for none. */
  readonly clientAuthorities: readonly string[] | null;
}

/** What connections are shown, and whom they trust. */
type Shown = Pick<HttpsOptions, 'tls' | 'clientAuthorities'>;

const contextOf = ({ tls, clientAuthorities }: Shown): SecureContextOptions => ({
  ...tls,
  ...(clientAuthorities === null ? {} : { ca: [...clientAuthorities] }),
  minVersion: 'TLSv1.2',
});

export interface HttpsServer {
  readonly port: number;
  /** New connections are shown this one. Throws when the certificate and the key do not belong together. */
  replaceCertificate(tls: HttpsOptions['tls']): void;
  /** Other authorities of clients' certificates, for connections from now on. */
  trust(authorities: readonly string[]): void;
  /** Takes no more requests, ends watches, waits for what is under way. */
  close(): Promise<void>;
}

@Module({})
class GatewayModule {
  static of(gateway: Gateway): DynamicModule {
    return {
      module: GatewayModule,
      controllers: [ApiController],
      providers: [{ provide: GATEWAY, useValue: gateway }],
    };
  }
}

/** What is wrong with a request that is no HTTP, or does not come in time. */
const brokenRequest = (code: string): StatusSource => {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return {
        code: 431,
        reason: 'RequestHeaderFieldsTooLarge',
        message: `the headers of the request are longer than ${MAX_HEADER_BYTES} bytes; shorten its query or its token`,
      };
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return {
        code: 408,
        reason: 'Timeout',
        message: 'the request did not arrive whole in time; send it again',
      };
    default:
      return { code: 400, reason: 'BadRequest', message: 'this is not an HTTP/1.1 request' };
  }
};

const REASON_PHRASES: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
};

/** What Go's servers, Kubernetes' among them, answer to who forgot the s. */
const PLAIN_HTTP_ANSWER = 'HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n';

/** Node hands over the broken TLS socket alone; the TCP socket below it has no public name. */
const answerPlainHttp = (socket: Socket & { readonly _parent?: Socket }): void => {
  const below = socket._parent;
  if (below?.writable === true) below.end(PLAIN_HTTP_ANSWER);
  else socket.destroy();
};

const answerBroken = (error: Error & { code?: string }, socket: Socket): void => {
  if (error.code === 'ERR_SSL_HTTP_REQUEST') {
    answerPlainHttp(socket);
    return;
  }
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const source = brokenRequest(error.code ?? '');
  const body = JSON.stringify(statusBody(source));
  socket.end(
    `HTTP/1.1 ${source.code} ${REASON_PHRASES[source.code] ?? ''}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
};

/** A request that fits no route, such as one whose path has a broken escape. */
const answerBadUrl = (_error: unknown, _request: unknown, reply: FastifyReply): void => {
  const body = statusBody({ code: 400, reason: 'BadRequest', message: 'the path of the request is no valid URL' });
  void reply.code(400).type('application/json').send(JSON.stringify(body));
};

/** Serves the API over HTTPS: Nest on Fastify, with bodies left to the verbs, which know what each may be. */
export const openHttpsServer = async (gateway: Gateway, options: HttpsOptions): Promise<HttpsServer> => {
  const patience = options.patience ?? PATIENCE;
  let shown: Shown = options;
  // A certificate that is missing or wrong breaks no connection: there are other ways to prove who one is.
  const asksForCertificates = shown.clientAuthorities === null ? {} : { requestCert: true, rejectUnauthorized: false };
  const adapter = new FastifyAdapter({
    https: {
      ...contextOf(shown),
      ...asksForCertificates,
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: patience.headersMs,
      requestTimeout: patience.requestMs,
      connectionsCheckingInterval: patience.checkMs,
      noDelay: true,
    },
    keepAliveTimeout: KEEP_ALIVE_MS,
    requestTimeout: patience.requestMs,
    clientErrorHandler: answerBroken,
    forceCloseConnections: 'idle',
    exposeHeadRoutes: false,
    frameworkErrors: answerBadUrl,
  });
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment -- Nest types its options as a class and takes plain objects
  const app = await NestFactory.create<NestFastifyApplication>(GatewayModule.of(gateway), adapter, {
    logger: options.logger,
    bodyParser: false,
    abortOnError: false,
  });
  const fastify = app.getHttpAdapter().getInstance();
  fastify.removeAllContentTypeParsers();
  fastify.addContentTypeParser('*', (_request, _payload, done) => done(null, undefined));
  await app.listen(options.port, options.host);
  fastify.server.maxConnections = MAX_CONNECTIONS;
  const address = fastify.server.address();
  const show = (next: Shown): void => {
    if (fastify.server instanceof TlsServer) fastify.server.setSecureContext(contextOf(next));
    shown = next;
  };
  return {
    port: typeof address === 'object' && address !== null ? address.port : options.port,
    replaceCertificate: (tls) => show({ ...shown, tls }),
    trust: (clientAuthorities) => show({ ...shown, clientAuthorities }),
    close: async () => {
      gateway.ports.sessions.stop();
      await app.close();
    },
  };
};
