import {
  commandSubject,
  heartbeat,
  telemetrySubject,
  type RebalancePlanSpec,
  type ServiceName,
} from '@xenolith/contracts';
import {
  BusFault,
  rootCommand,
  uuidFrom,
  type Clock,
  type CommandMessage,
  type JsonObject,
  type MessageBus,
  type Subscription,
} from '@xenolith/kernel';
import { PowerWatch } from './power.watch.js';
import type { RebalancedCluster } from './rebalance.index.js';
import type { Rebalancing } from './rebalance.service.js';

/** How late a policy's look at its cluster may be. */
const LOOK_MS = 1_000;
const COMMAND_MS = 15_000;

/**
 * Hears how busy machines are, and proposes a plan where a cluster's policy asks for one and it gains more than it costs. It keeps nothing: several
 * schedulers look at the same moments and propose under the same ids.
 */
export class Rebalancer {
  private subscription: Subscription | null = null;
  private cancelLook: (() => void) | null = null;
  private lookedAt = 0;
  private readonly power: PowerWatch;

  constructor(
    private readonly parts: Rebalancing,
    private readonly ports: { readonly bus: MessageBus; readonly clock: Clock },
  ) {
    this.power = new PowerWatch(parts, ports, (cluster) => this.isBusy(cluster));
  }

  async start(): Promise<void> {
    const { bus, clock } = this.ports;
    this.lookedAt = clock.now();
    this.subscription = await bus.subscribe(telemetrySubject('*'), (payload) => this.hear(payload));
    this.lookLater();
  }

  async stop(): Promise<void> {
    this.cancelLook?.();
    this.cancelLook = null;
    await this.subscription?.stop();
    this.subscription = null;
  }

  private hear(payload: JsonObject): void {
    const beat = heartbeat.safeParse(payload);
    if (beat.success) this.parts.loads.observe(beat.data, this.ports.clock.now());
  }

  private lookLater(): void {
    this.cancelLook = this.ports.clock.after(LOOK_MS, () => {
      this.look();
      this.lookLater();
    });
  }

  private look(): void {
    const [before, now] = [this.lookedAt, this.ports.clock.now()];
    this.lookedAt = now;
    if (this.parts.capacity.failovers.forgetOld(now)) this.tellClusters(now);
    for (const cluster of this.parts.index.rebalancedClusters()) {
      const turn = (at: number): number => Math.floor(at / (cluster.intervalSeconds * 1_000));
      if (turn(now) > turn(before) && !this.isBusy(cluster.name)) this.consider(cluster, turn(now));
    }
    this.power.look();
  }

  /** Whether their promises hold, where machines that were expected did not come: no event says so. */
  private tellClusters(at: number): void {
    const type = 'RecordClusterAvailability';
    for (const { uid: streamId, found } of this.parts.capacity.failovers.assessments()) {
      const commandId = uuidFrom('availability', streamId, at);
      const data = found as unknown as JsonObject;
      this.send('compute', rootCommand({ commandId, type, streamId, data, actor: 'system:scheduler', at }));
    }
  }

  /** What gets lost is said again with the next change, or found again by the next look. */
  private send(service: ServiceName, message: CommandMessage): void {
    const subject = commandSubject(service, message.type);
    this.ports.bus.request(subject, message, { timeoutMs: COMMAND_MS }).catch((error: unknown) => {
      if (!(error instanceof BusFault)) throw error;
    });
  }

  /** Machines that move already, or a plan that waits for approval. */
  private isBusy(cluster: string): boolean {
    const { index } = this.parts;
    return (
      index.underMaintenance().some((host) => host.cluster === cluster && host.remaining !== 0) ||
      index
        .allPlans()
        .some(
          (plan) =>
            plan.cluster === cluster && (plan.phase === 'Executing' || (plan.phase === 'Proposed' && plan.scheduled)),
        )
    );
  }

  private consider(policy: RebalancedCluster, turn: number): void {
    const { uid, name: cluster, mode, execution, maxMoves } = policy;
    if (mode === 'off') return;
    const at = this.ports.clock.now();
    const spec: RebalancePlanSpec = { cluster, mode, maxMoves, approved: execution === 'automatic' };
    const found = this.parts.proposals.asked(cluster, spec, { atMs: at });
    if (!found.ok || found.value.moves.length === 0) return;
    const commandId = uuidFrom('rebalance', uid, mode, turn);
    const streamId = uuidFrom(commandId, 'plan');
    const type = 'ProposeRebalancePlan';
    const data = { name: `${mode}-${cluster}-${streamId.slice(0, 8)}`, spec, cause: { by: 'Schedule' } };
    this.send('scheduler', rootCommand({ commandId, type, streamId, data, actor: 'system:scheduler', at }));
  }
}
