import { agentSubject } from '@xenolith/contracts';
import {
  hashOf,
  rootCommand,
  uuidFrom,
  type Clock,
  type JsonObject,
  type MessageBus,
  type Uuid,
} from '@xenolith/kernel';
import type { FaultRuleIndex } from './fault-rule.index.js';
import type { HostIndex } from './host.index.js';

const PUSH_MS = 5_000;
/** Pause before a host that did not take its rules is asked again. */
const RETRY_MS = 2_000;
/** Hosts that are being told at once. */
const AT_ONCE = 64;

/** The rules that no host needs to be told of: an agent starts with none. */
const NO_RULES = hashOf([]);

/**
 * Keeps every host's agent at the fault rules in force. What a host should know is a state, not history: it is pushed until it is there, whenever a
 * rule changes or a host comes with a new boot.
 */
export class FaultRulePusher {
  /** What each host has taken: hash of the rules and boot id. */
  private readonly taken = new Map<Uuid, string>();
  private readonly dirty = new Set<Uuid>();
  private readonly busy = new Set<Uuid>();
  private readonly unlisten: (() => void)[] = [];
  private sent = 0;
  private running = false;

  constructor(
    private readonly indexes: { readonly hosts: HostIndex; readonly faultRules: FaultRuleIndex },
    private readonly ports: { readonly bus: MessageBus; readonly clock: Clock },
  ) {}

  start(): void {
    this.running = true;
    this.unlisten.push(
      this.indexes.faultRules.onChange(() => this.lookAtAll()),
      this.indexes.hosts.onChange((uid) => this.lookAt(uid)),
    );
    this.lookAtAll();
  }

  stop(): void {
    this.running = false;
    for (const unlisten of this.unlisten.splice(0)) unlisten();
    this.dirty.clear();
  }

  private lookAtAll(): void {
    for (const host of this.indexes.hosts.all()) this.lookAt(host.uid);
  }

  private lookAt(uid: Uuid): void {
    const host = this.indexes.hosts.get(uid);
    if (host === undefined) {
      this.taken.delete(uid);
      return;
    }
    // A host that does not answer is told once it is back; of one that is off, whoever switches its power is told.
    if ((!host.ready && host.powered === 'On') || this.taken.get(uid) === this.wanted(host.bootId)) return;
    if (!this.taken.has(uid) && hashOf(this.rules()) === NO_RULES) return;
    this.dirty.add(uid);
    this.pump();
  }

  private rules(): JsonObject[] {
    return this.indexes.faultRules.inForce().map((rule) => ({ ...rule }));
  }

  private wanted(bootId: string): string {
    return `${hashOf(this.rules())}/${bootId}`;
  }

  private pump(): void {
    for (const uid of this.dirty) {
      if (!this.running || this.busy.size >= AT_ONCE) return;
      if (this.busy.has(uid)) continue;
      this.dirty.delete(uid);
      this.busy.add(uid);
      this.push(uid)
        .then((taken) => this.pushed(uid, taken))
        .catch(() => this.pushed(uid, false));
    }
  }

  private pushed(uid: Uuid, taken: boolean): void {
    this.busy.delete(uid);
    if (taken) this.lookAt(uid);
    else this.ports.clock.after(RETRY_MS, () => this.running && this.lookAt(uid));
    this.pump();
  }

  /** True once the host has taken the rules. */
  private async push(uid: Uuid): Promise<boolean> {
    const host = this.indexes.hosts.get(uid);
    if (host === undefined) return true;
    const [rules, wanted, now] = [this.rules(), this.wanted(host.bootId), this.ports.clock.now()];
    this.sent += 1;
    const commandId = uuidFrom('fault-rules', uid, wanted, now, this.sent);
    const type = 'SetFaultRules';
    const message = rootCommand({ commandId, type, streamId: uid, data: { rules }, actor: 'system:compute', at: now });
    const subject = agentSubject(host.name, type);
    const reply = await this.ports.bus.request(subject, message, { timeoutMs: PUSH_MS });
    if (reply.ok) this.taken.set(uid, wanted);
    return reply.ok;
  }
}
