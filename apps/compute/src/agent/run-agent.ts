import { hostNames } from '@xenolith/contracts';
import { Agent, profiledHosts, type AgentOptions, type MadeHost } from '@xenolith/agent';
import { present, type MessageBus } from '@xenolith/kernel';
import type { EarlyContext, ProcessContext } from '@xenolith/runtime';
import type { AgentConfig } from './config.js';
import { deflatePacker } from './packer.js';
import { FileJournal } from './file-journal.js';
import { lockFolder } from './folder-lock.js';
import { openHostSocket } from './host-socket.js';
import { observe, watchAgent } from './observation.js';

const AGENT_VERSION = '0.1.0';
const MS_PER_SECOND = 1000;

const optionsOf = (config: AgentConfig): AgentOptions => {
  const made = new Map<string, MadeHost>([
    ...hostNames(config.AGENT_KVM_HOSTS, config.AGENT_KVM_PREFIX).map((name) => [name, { hypervisor: 'kvm' }] as const),
    ...profiledHosts(config.AGENT_HOST_PROFILES),
  ]);
  return {
    hosts: [...hostNames(config.AGENT_HOSTS, config.AGENT_HOST_PREFIX), ...made.keys()],
    made,
    seed: config.AGENT_SEED,
    profile: config.AGENT_PROFILE,
    bootTimeMs: config.AGENT_BOOT_TIME * MS_PER_SECOND,
    agentVersion: AGENT_VERSION,
  };
};

/** The agent of a fleet of emulated hosts in this process. */
export class FleetProcess {
  private agent: Agent | null = null;
  /** None before the control plane is reached. */
  private bus: MessageBus | null = null;

  /** Brings the hosts back from the journal and lets them be operated directly: for that no control plane is needed. */
  async open(context: EarlyContext<AgentConfig>): Promise<void> {
    const { config, clock, log, lifecycle, readiness } = context;
    const unlock = await lockFolder(config.AGENT_DATA_DIR);
    lifecycle.onStop('data folder', unlock);
    const journal = await FileJournal.open(config.AGENT_DATA_DIR);
    lifecycle.onStop('journal', () => journal.close());
    const busOf = (): MessageBus => present(this.bus, 'an agent starts once the bus is there');
    const ports = {
      get bus() {
        return busOf();
      },
      clock,
      journal,
      observer: observe(context),
      packer: deflatePacker,
    };
    const agent = new Agent(optionsOf(config), ports);
    this.agent = agent;
    readiness.set('registration', () =>
      agent.registered < agent.hosts ? `${agent.registered} of ${agent.hosts} hosts are registered` : undefined,
    );
    await agent.open();
    lifecycle.onStop('agent', () => agent.stop());
    await this.openSocket(agent, context);
    log.info({ hosts: agent.hosts, domains: agent.domains, folder: config.AGENT_DATA_DIR }, 'emulating hosts');
  }

  /** Settles when it takes commands; it is ready when all hosts are registered. */
  async start(context: ProcessContext<AgentConfig>): Promise<void> {
    const agent = present(this.agent, 'an agent is opened before it starts');
    this.bus = context.bus;
    await agent.start();
    // Before the bus is closed, which waits for those who are being answered.
    context.lifecycle.onStop('agent', () => agent.stop());
    watchAgent(agent, context.metrics);
    void registerAfterBreaks(agent, context);
  }

  private async openSocket(agent: Agent, { config, log, lifecycle }: EarlyContext<AgentConfig>): Promise<void> {
    try {
      lifecycle.onStop('direct calls', await openHostSocket(agent, config.AGENT_DATA_DIR, log));
    } catch (error) {
      // Such as a path that is too long for a socket. The hosts do not depend on it.
      log.error({ err: error }, 'hosts cannot be operated directly: the socket could not be opened');
    }
  }
}

const registerAfterBreaks = async (agent: Agent, { bus, log }: ProcessContext<AgentConfig>): Promise<void> => {
  for await (const status of bus.connection.status()) {
    if (status.type !== 'reconnect') continue;
    log.info('NATS is back: registering all hosts again');
    agent.reconnected();
  }
};
