import { Controller, Get, Header, Inject, Module, Param, Query, Res, type DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Registry } from 'prom-client';
import { Health, type HealthReport } from './health.js';
import { NestLog, type Log } from './log.js';

const LIVENESS = Symbol('liveness');
const READINESS = Symbol('readiness');
const REGISTRY = Symbol('registry');
const TEXT = 'text/plain; charset=utf-8';

/** What is used of Fastify's reply. */
interface Answer {
  code(status: number): Answer;
  header(name: string, value: string): Answer;
  send(body: string): unknown;
}

interface ProbeQuery {
  readonly verbose?: string;
  readonly exclude?: string | readonly string[];
}

/** 500 for a failed probe, as Kubernetes' API server has it; a good one is `ok`, and the whole list with `?verbose`. */
const answer = (to: Answer, report: HealthReport, query: ProbeQuery): unknown =>
  to
    .code(report.ok ? 200 : 500)
    .header('content-type', TEXT)
    .header('x-content-type-options', 'nosniff')
    .send(report.ok && query.verbose === undefined ? 'ok' : report.text);

const excluded = (query: ProbeQuery): readonly string[] =>
  typeof query.exclude === 'string' ? [query.exclude] : (query.exclude ?? []);

@Controller()
class Probes {
  constructor(
    @Inject(LIVENESS) private readonly liveness: Health,
    @Inject(READINESS) private readonly readiness: Health,
    @Inject(REGISTRY) private readonly registry: Registry,
  ) {}

  @Get('livez')
  async livez(@Query() query: ProbeQuery, @Res() response: Answer): Promise<void> {
    await answer(response, await this.liveness.report(excluded(query)), query);
  }

  @Get(['readyz', 'healthz'])
  async readyz(@Query() query: ProbeQuery, @Res() response: Answer): Promise<void> {
    await answer(response, await this.readiness.report(excluded(query)), query);
  }

  @Get('readyz/:check')
  async one(@Param('check') check: string, @Query() query: ProbeQuery, @Res() response: Answer): Promise<void> {
    await answer(response, await this.readiness.reportOf(check), query);
  }

  @Get('metrics')
  @Header('content-type', 'text/plain; version=0.0.4; charset=utf-8')
  metrics(): Promise<string> {
    return this.registry.metrics();
  }
}

@Module({})
class SidePortModule {}

export interface SidePort {
  /** The port that was taken. */
  readonly port: number;
  close(): Promise<void>;
}

/**
 * Opens the port for probes and metrics. It is an application of its own, which answers from the first moment, while the service still waits for its
 * database.
 */
export const openSidePort = async (options: {
  readonly host: string;
  readonly port: number;
  readonly liveness: Health;
  readonly readiness: Health;
  readonly registry: Registry;
  readonly log: Log;
}): Promise<SidePort> => {
  const module: DynamicModule = {
    module: SidePortModule,
    controllers: [Probes],
    providers: [
      { provide: LIVENESS, useValue: options.liveness },
      { provide: READINESS, useValue: options.readiness },
      { provide: REGISTRY, useValue: options.registry },
    ],
  };
  const app = await NestFactory.create<NestFastifyApplication>(
    module,
    new FastifyAdapter({ forceCloseConnections: true }),
    // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment -- Nest types its options as a class and takes plain objects
    {
      logger: new NestLog(options.log),
      abortOnError: false,
    },
  );
  await app.listen(options.port, options.host);
  const address = app.getHttpServer().address();
  const port = typeof address === 'object' && address !== null ? address.port : options.port;
  return { port, close: () => app.close() };
};
