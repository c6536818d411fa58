import { listFailoverPlansData, querySubject } from '@xenolith/contracts';
import {
  ok,
  reject,
  type CommandMessage,
  type JsonObject,
  type MessageBus,
  type Reply,
  type Subscription,
} from '@xenolith/kernel';
import type { CapacityIndex } from './capacity.index.js';

export const LIST_FAILOVER_PLANS = 'ListFailoverPlans';

/** Characters of one answer's plans: NATS takes a MiB, and a plan of a full host is some 100 KiB. */
const PAGE_CHARACTERS = 256 * 1024;
const PAGE_PLANS = 512;

/** Answers what the plans for the loss of hosts are. */
export class FailoverPlanQueries {
  private subscription: Subscription | null = null;

  constructor(
    private readonly index: CapacityIndex,
    private readonly ports: {
      readonly bus: MessageBus;
      /** Settles when the index has seen the log up to a position. */
      readonly caughtUp: (position: number) => Promise<void>;
    },
  ) {}

  async start(): Promise<void> {
    const subject = querySubject('scheduler', LIST_FAILOVER_PLANS);
    this.subscription = await this.ports.bus.serve(subject, (message) => this.answer(message));
  }

  async stop(): Promise<void> {
    await this.subscription?.stop();
    this.subscription = null;
  }

  private async answer({ data }: CommandMessage): Promise<Reply> {
    const asked = listFailoverPlansData.safeParse(data);
    if (!asked.success)
      return reject('command_malformed', `a list of failover plans is asked for otherwise: ${asked.error.message}`);
    const { position, name, after } = asked.data;
    await this.ports.caughtUp(position);
    const plans = this.index.failovers;
    if (name !== undefined) return ok({ plans: [plans.named(name) ?? []].flat(), more: false });
    return ok(pageOf(plans.after(after)));
  }
}

const pageOf = (plans: Iterable<JsonObject>): JsonObject => {
  const page: JsonObject[] = [];
  let characters = 0;
  for (const plan of plans) {
    const size = JSON.stringify(plan).length;
    const isFull = page.length === PAGE_PLANS || characters + size > PAGE_CHARACTERS;
    if (isFull && page.length > 0) return { plans: page, more: true };
    page.push(plan);
    characters += size;
  }
  return { plans: page, more: false };
};
