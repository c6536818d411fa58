import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { All, Controller, Inject, Req, Res } from '@nestjs/common';
import { trace } from '@opentelemetry/api';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { RefusedLogin } from '../auth/access.js';
import { isAudited } from '../auth/audited.js';
import { bearerTokenOf } from '../auth/authenticate.js';
import { showsCertificate } from '../auth/client-certificates.js';
import type { EndTurn, FairShare } from '../auth/fair-share.js';
import type { LoginGuard } from '../auth/login-guard.js';
import type { SourceAddress } from '../auth/source-address.js';
import { versionPage } from '../discovery/index.js';
import { jsonAnswer, type ApiAnswer, type ApiRequest, type User } from '../http/api-request.js';
import { readAsOf, withoutMoment } from '../past/as-of.js';
import { statusBody, StatusError } from '../http/status.js';
import { answerRequest, authenticated, type ApiPorts } from './api.js';
import type { GatewayLog, RequestObserver } from './gateway-log.js';
import { readBody, writeAnswer } from './http-response.js';
import { requestLabels, routeOf } from './request-labels.js';

export const GATEWAY = Symbol('gateway');

/** Everything that the controller needs. */
export interface Gateway {
  readonly ports: ApiPorts;
  readonly log: GatewayLog;
  readonly turns: FairShare;
  readonly logins: LoginGuard;
  readonly sourceAddress: SourceAddress;
  readonly observer?: RequestObserver;
  readonly version: string;
  /** `/healthz` and its kin, as Kubernetes prints them. */
  readonly health: (path: string, query: URLSearchParams) => Promise<{ readonly ok: boolean; readonly text: string }>;
}

const HEALTH_PATHS = /^\/(healthz|livez|readyz)(\/[a-z0-9-]+)?$/;

/** All paths of the API: which resource and verb a path means is looked up in the kinds, not in routes. */
@Controller()
export class ApiController {
  constructor(@Inject(GATEWAY) private readonly gateway: Gateway) {}

  @All('*')
  async handle(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    reply.hijack();
    await this.serve(request.raw, reply.raw);
  }

  private async serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const receivedAt = Date.now();
    const started = performance.now();
    let user: User | undefined;
    let answer: ApiAnswer;
    const id = randomUUID();
    const address = this.gateway.sourceAddress(message);
    let endTurn: EndTurn = () => undefined;
    nameSpan(message);
    try {
      const { path, query } = targetOf(message.url ?? '/');
      const open = await this.openPage(message.method ?? '', path, query);
      if (open === null) {
        user = await this.gateway.logins.admit(bearerTokenOf(message), address, () =>
          authenticated(this.gateway.ports, message),
        );
        endTurn = await this.gateway.turns.turn(user);
        answer = await answerRequest(
          this.gateway.ports,
          asRequest(message, { id, path, query, user, receivedAt, sourceAddress: address }),
        );
      } else answer = open;
    } catch (error) {
      answer = this.failure(error, message, response);
    }
    response.setHeader('Audit-Id', id);
    try {
      await writeAnswer(message, response, answer);
    } finally {
      endTurn();
    }
    this.record(message, answer.status, { id, user, address, seconds: (performance.now() - started) / 1000 });
  }

  /** Pages that need no token. */
  private async openPage(method: string, asked: string, query: URLSearchParams): Promise<ApiAnswer | null> {
    if (method !== 'GET') return null;
    // A context that looks at the past asks there for what is no part of it, too.
    const path = withoutMoment(asked);
    if (path !== '/version' && !HEALTH_PATHS.test(path)) return null;
    readAsOf({ path: asked, query });
    if (path === '/version')
      return jsonAnswer(
        200,
        versionPage({
          version: this.gateway.version,
          runtime: `node ${process.version}`,
          platform: `${process.platform}/${process.arch}`,
        }),
      );
    const { ok, text } = await this.gateway.health(path, query);
    const body = ok && !query.has('verbose') ? 'ok' : text;
    return { status: ok ? 200 : 500, contentType: 'text/plain; charset=utf-8', body };
  }

  private failure(error: unknown, message: IncomingMessage, response: ServerResponse): ApiAnswer {
    const status =
      error instanceof StatusError
        ? error
        : new StatusError({
            code: 500,
            reason: 'InternalError',
            message: 'the gateway failed on this request; its log tells why, under the trace id of the request',
          });
    // Refusals that the client can act on show in the line of the request; what failed on our side needs its cause.
    if (status.code === 500 || (status.code > 500 && status.cause !== undefined))
      this.gateway.log.error({ err: error, method: message.method, url: message.url }, 'a request failed');
    const { retryAfterSeconds } = status.source.details ?? {};
    if (error instanceof RefusedLogin) this.gateway.observer?.loginRefused(error.refusal);
    // What is left of a body that was not read would be taken for the next request.
    if (!message.complete) response.shouldKeepAlive = false;
    // A certificate is looked at once for each connection; on the next one its authority may be known.
    if (status.code === 401 && showsCertificate(message)) response.shouldKeepAlive = false;
    return jsonAnswer(status.code, statusBody(status.source), {
      ...(retryAfterSeconds === undefined ? {} : { 'Retry-After': String(retryAfterSeconds) }),
      ...(status.code === 401 ? { 'WWW-Authenticate': 'Bearer realm="xenolith"' } : {}),
    });
  }

  /** One line for each change, and for each request that was refused: who asked for what, from where, and what came of it. */
  private record(
    message: IncomingMessage,
    code: number,
    more: {
      readonly id: string;
      readonly user: User | undefined;
      readonly address: string;
      readonly seconds: number;
    },
  ): void {
    const method = message.method ?? '';
    this.gateway.observer?.answered({ ...requestLabels(method, message.url ?? '/'), code, seconds: more.seconds });
    if (!isAudited(method, message.url ?? '/', code)) return;
    this.gateway.log.info(
      {
        method,
        url: message.url,
        code,
        user: more.user?.name,
        ...(more.user?.impersonatedBy === undefined ? {} : { impersonatedBy: more.user.impersonatedBy }),
        address: more.address,
        requestId: more.id,
        userAgent: message.headers['user-agent'],
        durationMs: Math.round(more.seconds * 1000),
        traceId: trace.getActiveSpan()?.spanContext().traceId,
      },
      'request',
    );
  }
}

/** What the server's span is called by the instrumentation of HTTP is the method alone, as only we know which paths are of one kind. */
const nameSpan = ({ method = '', url = '/' }: IncomingMessage): void => {
  const route = routeOf(url);
  if (route === null) return;
  const { verb, resource } = requestLabels(method, url);
  trace
    .getActiveSpan()
    ?.updateName(`${method} ${route}`)
    .setAttributes({ 'http.route': route, 'xenolith.api.verb': verb, 'xenolith.api.resource': resource });
};

/** Path and query as they were sent: decoding is left to who knows which part is a name. */
const targetOf = (url: string): { readonly path: string; readonly query: URLSearchParams } => {
  const mark = url.indexOf('?');
  const path = (mark < 0 ? url : url.slice(0, mark)).replace(/\/+$/, '');
  return { path: path === '' ? '/' : path, query: new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1)) };
};

const asRequest = (
  message: IncomingMessage,
  read: Pick<ApiRequest, 'id' | 'path' | 'query' | 'user' | 'receivedAt' | 'sourceAddress'>,
): ApiRequest => {
  let body: Promise<Buffer> | null = null;
  return {
    ...read,
    method: message.method ?? '',
    headers: message.headers,
    body: () => (body ??= readBody(message)),
  };
};
