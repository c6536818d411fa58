import { membershipSubject, memberPresence } from '@xenolith/contracts';
import type { Clock, JsonObject, MessageBus, Subscription } from '@xenolith/kernel';
import type { HostShare } from './host-share.js';

const PRESENT_MS = 1_000;
/** Three messages may be lost before a scheduler counts as gone. */
const FORGOTTEN_MS = 3_500;

/** Schedulers tell each other that they are there and divide the hosts among them, the same way each, in the order of their names. */
export class Membership {
  /** When each of the others is forgotten unless it says something, in milliseconds since the epoch. */
  private readonly others = new Map<string, number>();
  private subscription: Subscription | null = null;
  private cancelNext: (() => void) | null = null;

  constructor(
    private readonly instance: string,
    private readonly share: HostShare,
    private readonly ports: { readonly bus: MessageBus; readonly clock: Clock },
  ) {}

  async start(): Promise<void> {
    this.subscription = await this.ports.bus.subscribe(membershipSubject('scheduler'), (payload) => this.hear(payload));
    this.tell();
  }

  /** The others need not wait until this one is forgotten. */
  async stop(): Promise<void> {
    this.cancelNext?.();
    this.cancelNext = null;
    this.publish(true);
    await this.subscription?.stop();
    this.subscription = null;
  }

  private tell(): void {
    this.publish(false);
    this.divide();
    this.cancelNext = this.ports.clock.after(PRESENT_MS, () => this.tell());
  }

  private publish(leaving: boolean): void {
    this.ports.bus.publish(membershipSubject('scheduler'), { instance: this.instance, leaving });
  }

  private hear(payload: JsonObject): void {
    const heard = memberPresence.safeParse(payload);
    if (!heard.success || heard.data.instance === this.instance) return;
    const { instance, leaving } = heard.data;
    if (leaving) this.others.delete(instance);
    else this.others.set(instance, this.ports.clock.now() + FORGOTTEN_MS);
    this.divide();
  }

  private divide(): void {
    const now = this.ports.clock.now();
    for (const [instance, until] of this.others) if (until < now) this.others.delete(instance);
    const members = [this.instance, ...this.others.keys()].sort();
    this.share.divide(members.indexOf(this.instance), members.length);
  }
}
