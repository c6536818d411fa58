import type { Agent, AgentObserver } from '@xenolith/agent';
import type { Lifecycle, Log, Metrics } from '@xenolith/runtime';
import { Counter, Gauge } from 'prom-client';

/** Puts what the agent says into the log and into metrics. */
export const observe = (parts: {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly lifecycle: Lifecycle;
}): AgentObserver => {
  const { log, metrics, lifecycle } = parts;
  const registers = [metrics.registry];
  const struck = new Counter({
    name: 'xenolith_agent_faults_total',
    help: 'Commands that fault rules struck, by type.',
    labelNames: ['type'],
    registers,
  });
  const crashes = new Counter({ name: 'xenolith_agent_host_crashes_total', help: 'Crashes of hosts.', registers });
  return {
    registered: (host) => log.debug({ host }, 'registered'),
    crashed: (host) => {
      crashes.inc();
      log.warn({ host }, 'the host crashed and boots again');
    },
    struck: ({ type, host, id }, rule) => {
      struck.inc({ type });
      log.info({ type, host, commandId: id, rule }, 'a fault rule struck');
    },
    answered: ({ type, host, id }, reply) => {
      if (reply?.ok !== true)
        log.info({ type, host, commandId: id, code: reply?.rejection.code ?? 'unanswered' }, 'a command was refused');
    },
    refused: ({ type, actor, commandId }, { code, message }) =>
      log.warn({ type, actor, commandId, code }, `a service refused what the agent said: ${message}`),
    unanswered: ({ type, actor, commandId }, error) =>
      log.debug({ type, actor, commandId, err: error }, 'nobody answered; it is said again'),
    defect: (error) => lifecycle.fail(error, 'the agent cannot go on'),
  };
};

export const watchAgent = (agent: Agent, metrics: Metrics): void => {
  const gauge = (name: string, help: string, value: () => number): void => {
    const watched: Gauge = new Gauge({
      name,
      help,
      registers: [metrics.registry],
      collect: (): void => watched.set(value()),
    });
  };
  gauge('xenolith_agent_hosts', 'Hosts that this agent emulates.', () => agent.hosts);
  gauge('xenolith_agent_hosts_registered', 'Hosts whose registration was answered.', () => agent.registered);
  gauge('xenolith_agent_domains', 'Domains on all hosts.', () => agent.domains);
  gauge('xenolith_agent_unanswered', 'Things said to services that nobody has answered yet.', () => agent.unanswered);
};
