import { agentSubject, commandSubject, inventoryAnswer, type Heartbeat } from '@xenolith/contracts';
import { rootCommand, uuidFrom, type Clock, type JsonObject, type MessageBus, type Uuid } from '@xenolith/kernel';
import type { HostIndex, IndexedHost } from './host.index.js';
import { inventoryDifference } from './inventory.js';
import type { IndexedMachine, VirtualMachineIndex } from './virtual-machine.index.js';

/** What differs so long without a moment of agreement, on a host where much begins and ends, is looked at however it changes. */
const LONGEST_DOUBT_MS = 30_000;
/** Pauses between two looks at a host that differs in the same way as before: work under way may explain it for long. They double. */
const FIRST_PAUSE_MS = 4_000;
const LONGEST_PAUSE_MS = 300_000;
/** Hosts that are being asked at once; the others are asked upon a later heartbeat. */
const ASKED_AT_ONCE = 64;
const ASK_MS = 5_000;
const COMMAND_MS = 5_000;

/** A host whose heartbeats say that it runs something else than the log knows. */
interface Doubt {
  /** Both digests, as the last heartbeat found them. */
  pair: string;
  since: number;
  /** The pair for which the host was asked last. */
  askedFor: string | null;
  pauseMs: number;
  notBefore: number;
  asking: boolean;
}

/**
 * Sees to it that what the platform says of machines is what their hosts do. Each heartbeat carries a digest of the host's inventory, which costs the log nothing; one
 * that differs from what the machines say, twice in the same way, makes the watch ask the host itself. Operations under way differ too, and are passed over;
 * what is left enters the host's stream.
 */
export class InventoryWatch {
  private readonly doubts = new Map<Uuid, Doubt>();
  private asked = 0;
  private asking = 0;

  constructor(
    private readonly indexes: { readonly hosts: HostIndex; readonly machines: VirtualMachineIndex },
    private readonly ports: { readonly bus: MessageBus; readonly clock: Clock },
  ) {}

  heard(beat: Heartbeat): void {
    const host = this.indexes.hosts.get(beat.host);
    const believed = this.indexes.machines.digestOn(beat.host);
    if (host === undefined || beat.inventory === believed) {
      this.doubts.delete(beat.host);
      return;
    }
    // Another boot registers first; an end of a guest that is still to be reported explains itself.
    if (beat.inventory === undefined || !host.ready || host.bootId !== beat.bootId) return;
    const now = this.ports.clock.now();
    const pair = `${beat.inventory}/${believed}`;
    const doubt = this.doubts.get(host.uid) ?? newDoubt(now);
    this.doubts.set(host.uid, doubt);
    const stays = doubt.pair === pair;
    doubt.pair = pair;
    if (doubt.asking || this.asking >= ASKED_AT_ONCE) return;
    if (doubt.askedFor === pair ? now < doubt.notBefore : !stays && now - doubt.since < LONGEST_DOUBT_MS) return;
    this.ask(host, doubt);
  }

  private ask(host: IndexedHost, doubt: Doubt): void {
    const now = this.ports.clock.now();
    const again = doubt.askedFor === doubt.pair;
    doubt.pauseMs = again ? Math.min(LONGEST_PAUSE_MS, 2 * doubt.pauseMs) : FIRST_PAUSE_MS;
    doubt.askedFor = doubt.pair;
    doubt.notBefore = now + doubt.pauseMs;
    doubt.since = now;
    doubt.asking = true;
    this.asking += 1;
    this.compare(host)
      // Whoever does not answer is asked again after the pause.
      .catch(() => undefined)
      .finally(() => {
        doubt.asking = false;
        this.asking -= 1;
      });
  }

  /** What the machines know is taken before the host is asked, so that its answer is the newer of the two. */
  private async compare(host: IndexedHost): Promise<void> {
    const { machines } = this.indexes;
    const onHost: readonly IndexedMachine[] = machines.onHost(host.uid);
    const reply = await this.request(agentSubject(host.name, 'GetInventory'), host.uid, {
      type: 'GetInventory',
      data: {},
      timeoutMs: ASK_MS,
    });
    if (!reply.ok) return;
    const { bootId, domains, unreported } = inventoryAnswer.parse(reply.value);
    if (bootId !== host.bootId || unreported > 0) return;
    const found = inventoryDifference(host.uid, domains, { onHost, get: (uid) => machines.get(uid) });
    if (found.missing.length === 0 && found.changed.length === 0 && found.strays.length === 0) return;
    await this.request(commandSubject('compute', 'RecordInventoryDifference'), host.uid, {
      type: 'RecordInventoryDifference',
      data: { bootId, ...found } as unknown as JsonObject,
      timeoutMs: COMMAND_MS,
    });
  }

  private request(
    subject: string,
    host: Uuid,
    asked: { readonly type: string; readonly data: JsonObject; readonly timeoutMs: number },
  ): ReturnType<MessageBus['request']> {
    const { type, data, timeoutMs } = asked;
    const at = this.ports.clock.now();
    this.asked += 1;
    const commandId = uuidFrom('inventory', host, type, at, this.asked);
    const message = rootCommand({ commandId, type, streamId: host, data, actor: 'system:compute', at });
    return this.ports.bus.request(subject, message, { timeoutMs });
  }
}

const newDoubt = (now: number): Doubt => ({
  pair: '',
  since: now,
  askedFor: null,
  pauseMs: FIRST_PAUSE_MS,
  notBefore: 0,
  asking: false,
});
