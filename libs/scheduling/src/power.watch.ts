import { commandSubject, type RebalancePlanSpec } from '@xenolith/contracts';
import { BusFault, rootCommand, uuidFrom, type Clock, type CommandMessage, type MessageBus } from '@xenolith/kernel';
import type { PoweredCluster } from './rebalance.index.js';
import type { Rebalancing } from './rebalance.service.js';

const ACTOR = 'system:scheduler';
const COMMAND_MS = 15_000;
/** Of one plan: as many as fill a few waves, as what is left is looked at again. */
const MOVES_MAX = 16;
const MS_PER_SECOND = 1_000;

/** What a look at a cluster came to, and at what: while that is the same, another look would find the same. */
interface Looked {
  readonly at: string;
}

/**
 * Looks after the power of the hosts of clusters whose policy asks for it: wakes parked hosts that are needed, proposes plans that park those which are not. What is
 * decided is in the log; several schedulers look at the same, and say it under the same ids.
 */
export class PowerWatch {
  private readonly woken = new Map<string, Looked>();
  private readonly parked = new Map<string, Looked>();

  constructor(
    private readonly parts: Rebalancing,
    private readonly ports: { readonly bus: MessageBus; readonly clock: Clock },
    /** Machines move already, or a plan waits for approval. */
    private readonly isBusy: (cluster: string) => boolean,
  ) {}

  look(): void {
    const clusters = this.parts.index.poweredClusters();
    if (clusters.length === 0) return;
    const now = this.ports.clock.now();
    this.seeEmptyHosts(now);
    for (const cluster of clusters) {
      const woken = cluster.mode === 'Automatic' && this.wake(cluster, now);
      if (!woken && !this.isBusy(cluster.name)) this.park(cluster, now);
    }
  }

  private seeEmptyHosts(now: number): void {
    const { table } = this.parts.capacity.standing();
    const empty: string[] = [];
    for (let slot = 0; slot < table.length; slot += 1)
      if (table.isOpen(slot) && table.usedMemory[slot] === 0) empty.push(table.uids[slot] ?? '');
    this.parts.idle.observe(empty, now);
  }

  /** Whether a host is being woken. */
  private wake(cluster: PoweredCluster, now: number): boolean {
    const { capacity, proposals } = this.parts;
    const { table } = capacity.standing();
    const waiting = capacity.waiting().map(({ virtualMachine }) => virtualMachine.uid);
    const at = JSON.stringify([table.journal.revision, waiting, cluster]);
    if (this.woken.get(cluster.name)?.at === at) return false;
    const found = proposals.waking(cluster.name, now);
    // A wake that gets lost is found again by the next look.
    if (found === null) {
      this.woken.set(cluster.name, { at });
      return false;
    }
    const slot = table.slotNamed(found.host) ?? 0;
    const streamId = table.uids[slot] ?? '';
    const type = 'WakeHost';
    const commandId = uuidFrom('wake', streamId, table.stream[slot] ?? 0);
    const { reason } = found;
    this.send('compute', rootCommand({ commandId, type, streamId, data: { reason }, actor: ACTOR, at: now }));
    return true;
  }

  private park(cluster: PoweredCluster, now: number): void {
    const { capacity, proposals, idle } = this.parts;
    const { uid, name, idleSeconds, mode } = cluster;
    const { table } = capacity.standing();
    const idleMs = idleSeconds * MS_PER_SECOND;
    const turn = Math.floor(now / idleMs);
    const ripe = [...table.uids].filter((host) => idle.isIdle(host, idleMs, now)).length;
    const at = JSON.stringify([table.journal.revision, ripe, turn, cluster]);
    if (this.parked.get(name)?.at === at) return;
    this.parked.set(name, { at });
    const spec: RebalancePlanSpec = {
      cluster: name,
      mode: 'consolidate',
      maxMoves: MOVES_MAX,
      park: true,
      approved: mode === 'Automatic',
    };
    const found = proposals.asked(name, spec, { atMs: now, idleOnly: true });
    if (!found.ok || (found.value.parks ?? []).length === 0) return;
    const commandId = uuidFrom('power', uid, at);
    const streamId = uuidFrom(commandId, 'plan');
    const type = 'ProposeRebalancePlan';
    const data = { name: `park-${name}-${streamId.slice(0, 8)}`, spec, cause: { by: 'PowerManagement' } };
    this.send('scheduler', rootCommand({ commandId, type, streamId, data, actor: ACTOR, at: now }));
  }

  private send(service: 'compute' | 'scheduler', message: CommandMessage): void {
    const subject = commandSubject(service, message.type);
    this.ports.bus.request(subject, message, { timeoutMs: COMMAND_MS }).catch((error: unknown) => {
      if (!(error instanceof BusFault)) throw error;
    });
  }
}
