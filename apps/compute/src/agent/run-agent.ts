import { hostNames } from '@xenolith/contracts';
import { Agent, profiledHosts, type MadeHost } from '@xenolith/agent';
import type { ProcessContext } from '@xenolith/runtime';
import type { AgentConfig } from './config.js';
import { deflatePacker } from './packer.js';
import { FileJournal } from './file-journal.js';
import { lockFolder } from './folder-lock.js';
import { observe, watchAgent } from './observation.js';

const AGENT_VERSION = '0.1.0';
const MS_PER_SECOND = 1000;

/** Starts the agent of a fleet of emulated hosts in this process. Settles when it takes commands; it is ready when all hosts are registered. */
export const runAgent = async (context: ProcessContext<AgentConfig>): Promise<void> => {
  const { config, bus, clock, log, metrics, lifecycle, readiness } = context;
  const unlock = await lockFolder(config.AGENT_DATA_DIR);
  lifecycle.onStop('data folder', unlock);
  const journal = await FileJournal.open(config.AGENT_DATA_DIR);
  lifecycle.onStop('journal', () => journal.close());
  const made = new Map<string, MadeHost>([
    ...hostNames(config.AGENT_KVM_HOSTS, config.AGENT_KVM_PREFIX).map((name) => [name, { hypervisor: 'kvm' }] as const),
    ...profiledHosts(config.AGENT_HOST_PROFILES),
  ]);
  const agent = new Agent(
    {
      hosts: [...hostNames(config.AGENT_HOSTS, config.AGENT_HOST_PREFIX), ...made.keys()],
      made,
      seed: config.AGENT_SEED,
      profile: config.AGENT_PROFILE,
      bootTimeMs: config.AGENT_BOOT_TIME * MS_PER_SECOND,
      agentVersion: AGENT_VERSION,
    },
    { bus, clock, journal, observer: observe(context), packer: deflatePacker },
  );
  readiness.set('registration', () =>
    agent.registered < agent.hosts ? `${agent.registered} of ${agent.hosts} hosts are registered` : undefined,
  );
  await agent.start();
  lifecycle.onStop('agent', () => agent.stop());
  watchAgent(agent, metrics);
  void registerAfterBreaks(agent, context);
  log.info({ hosts: agent.hosts, domains: agent.domains, folder: config.AGENT_DATA_DIR }, 'emulating hosts');
};

const registerAfterBreaks = async (agent: Agent, { bus, log }: ProcessContext<AgentConfig>): Promise<void> => {
  for await (const status of bus.connection.status()) {
    if (status.type !== 'reconnect') continue;
    log.info('NATS is back: registering all hosts again');
    agent.reconnected();
  }
};
