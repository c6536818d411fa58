import { setTimeout as pause } from 'node:timers/promises';
import { messageOf } from '../terminal.js';
import { refusalOf, type Answer, type ApiClient } from './api-client.js';
import { newMachine, ReplayedMachines, type ReplayedMachine } from './machines.js';
import type { MachineSize } from './sizing.js';
import type { DensitySample, Usage } from './statistics.js';
import type { TraceEvent } from './trace.js';

/** Machines carry the replay's id under this label. */
export const RUN_LABEL = 'replay.xenolith.dev/run';

/** After a deletion the scheduler has this long to give the room to a machine that waits for it. */
const ROOM_GRACE_MS = 1_500;
const LOOK_EVERY_MS = 100;
/** What a scheduler says of hosts that may take the machine in a moment, though none leaves: it tries such a machine again by itself. */
const PASSING_REASON = /taken by others at the same moment|not ready|no host has registered/;
/** A host's crash is noticed and mended in this time; for the rest a moment is enough. */
const PASSING_LIMIT_MS = 15_000;
/** A platform that did nothing for a machine in this time has lost it. */
const START_LIMIT_MS = 600_000;
const GONE_LIMIT_MS = 120_000;
/** How often a request is tried that met a broken connection or an overloaded server, and the first pause, which doubles. */
const ATTEMPTS = 7;
const FIRST_PAUSE_MS = 100;
const SAMPLES = 240;
const MS_PER_DAY = 86_400_000;

export interface ReplayPlan {
  readonly run: string;
  readonly collection: string;
  readonly events: readonly TraceEvent[];
  readonly sizes: readonly MachineSize[];
  readonly nameOf: (machine: number) => string;
  /** Trace time to real time; null: as fast as the platform takes it. */
  readonly speed: number | null;
  /** Events under way at once. */
  readonly concurrency: number;
}

const retryable = (answer: Answer): boolean => answer.status === 429 || answer.status >= 500;

/** Does what a trace says through the API, in its order but for a window of events that are under way at once. */
export class Replayer {
  readonly machines: ReplayedMachines;
  readonly samples: DensitySample[] = [];
  /** Events that have been begun. */
  begun = 0;
  deleted = 0;
  day: number;
  private readonly all: ReplayedMachine[];
  private readonly deleting = new Set<number>();
  private readonly startedAt = performance.now();
  private active = 0;
  private lastDeletionAt = Number.NEGATIVE_INFINITY;
  /** Settles when every machine that was asked for so far runs or has been refused. */
  private decided: Promise<unknown> = Promise.resolve();
  private wake: (() => void) | null = null;
  private stopped = false;

  constructor(
    private readonly client: ApiClient,
    private readonly plan: ReplayPlan,
    private readonly usage: Usage,
  ) {
    this.machines = new ReplayedMachines(usage);
    this.day = plan.events[0]?.at ?? 0;
    const orders = new Map(
      plan.events.flatMap((event, order) => (event.kind === 'create' ? [[event.machine, order]] : [])),
    );
    this.all = plan.sizes.map((size, index) => newMachine(plan.nameOf(index), size, orders.get(index) ?? 0));
  }

  /** Begins nothing more. */
  stop(): void {
    this.stopped = true;
    this.wake?.();
  }

  get seconds(): number {
    return (performance.now() - this.startedAt) / 1000;
  }

  /** Settles when every event has been done, or, once stopped, those that were begun. */
  async run(): Promise<void> {
    const looker = setInterval(() => this.giveUpUnplaced(), LOOK_EVERY_MS);
    const every = Math.max(1, Math.ceil(this.plan.events.length / SAMPLES));
    const underWay = new Set<Promise<void>>();
    for (const [order, event] of this.plan.events.entries()) {
      await this.untilDue(event);
      await this.untilRoom();
      if (this.stopped) break;
      this.begun = order + 1;
      this.day = event.at;
      this.active += 1;
      const doing = this.perform(event, order).finally(() => {
        this.active -= 1;
        underWay.delete(doing);
        this.wake?.();
      });
      underWay.add(doing);
      if (order % every === 0) this.samples.push(this.usage.sample(event.at, this.seconds));
    }
    await Promise.all(underWay);
    clearInterval(looker);
    this.samples.push(this.usage.sample(this.day, this.seconds));
  }

  /** Deletes every machine that is left. The answer is how many could not be. */
  async clear(): Promise<number> {
    const left = [...this.machines.present.values()];
    const lanes = Array.from({ length: this.plan.concurrency }, async () => {
      for (let machine = left.pop(); machine; machine = left.pop()) await this.remove(machine);
    });
    await Promise.all(lanes);
    return this.machines.present.size;
  }

  private async untilDue(event: TraceEvent): Promise<void> {
    const { speed } = this.plan;
    if (speed === null) return;
    // What ran before the trace begins is there from the start.
    const dueMs = (Math.max(0, event.at) * MS_PER_DAY) / speed;
    while (!this.stopped) {
      const leftMs = dueMs - 1000 * this.seconds;
      if (leftMs <= 0) return;
      await pause(Math.min(leftMs, LOOK_EVERY_MS));
    }
  }

  private async untilRoom(): Promise<void> {
    while (this.active >= this.plan.concurrency && !this.stopped) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      this.wake = null;
    }
  }

  private async perform(event: TraceEvent, order: number): Promise<void> {
    const machine = this.all[event.machine];
    if (!machine) return;
    if (event.kind === 'create') {
      this.decided = this.decided.then(() => machine.settled);
      await this.create(machine);
    } else {
      this.deleting.add(order);
      // Room that the trace makes later must not help what it asks for earlier.
      await this.decided;
      if (machine.phase === 'running' && (await this.remove(machine))) this.deleted += 1;
      this.deleting.delete(order);
      this.lastDeletionAt = performance.now();
    }
  }

  private async create(machine: ReplayedMachine): Promise<void> {
    this.machines.asked(machine);
    const answer = await this.insist('POST', this.plan.collection, this.objectOf(machine));
    // A conflict comes from an attempt of ours whose answer was lost.
    if (answer.status >= 300 && answer.status !== 409) {
      const { reason, message } = refusalOf(answer);
      this.machines.refuse(machine, reason, message);
      this.machines.present.delete(machine.name);
      return;
    }
    this.machines.accepted += 1;
    const late = setTimeout(
      () => this.machines.refuse(machine, 'Timeout', `it did not start within ${START_LIMIT_MS / 1000} s`),
      START_LIMIT_MS,
    );
    await machine.settled;
    clearTimeout(late);
    if (machine.phase === 'refused') await this.remove(machine);
  }

  private async remove(machine: ReplayedMachine): Promise<boolean> {
    const answer = await this.insist('DELETE', `${this.plan.collection}/${machine.name}`);
    if (answer.status === 404) this.machines.onGone(machine.name);
    else if (answer.status >= 300) return false;
    const limit = new AbortController();
    const late = pause(GONE_LIMIT_MS, undefined, { signal: limit.signal, ref: false }).catch(() => undefined);
    await Promise.race([machine.gone, late]);
    limit.abort();
    return machine.phase === 'gone';
  }

  /** A machine that no host fits is refused once nothing that came before it can make room, nor a passing reason pass. */
  private giveUpUnplaced(): void {
    const now = performance.now();
    if (now - this.lastDeletionAt < ROOM_GRACE_MS) return;
    const firstDeletion = Math.min(...this.deleting, Number.POSITIVE_INFINITY);
    for (const [machine, { message, since }] of this.machines.unplaced) {
      const patienceMs = PASSING_REASON.test(message) ? PASSING_LIMIT_MS : 0;
      if (firstDeletion > machine.order && now - since >= patienceMs)
        this.machines.refuse(machine, 'Unschedulable', message);
    }
  }

  private objectOf(machine: ReplayedMachine): object {
    return {
      apiVersion: 'compute.xenolith.dev/v1alpha1',
      kind: 'VirtualMachine',
      metadata: { name: machine.name, labels: { [RUN_LABEL]: this.plan.run } },
      spec: { cpu: { vcpus: machine.size.vcpus }, memory: `${machine.size.memoryMiB}Mi` },
    };
  }

  private async insist(method: string, target: string, body?: object): Promise<Answer> {
    let pauseMs = FIRST_PAUSE_MS;
    for (let attempt = 1; ; attempt += 1) {
      let answer: Answer;
      try {
        answer = await this.client.send(method, target, body);
        if (!retryable(answer)) return answer;
      } catch (cause) {
        answer = { status: 599, body: { reason: 'NoAnswer', message: messageOf(cause) } };
      }
      if (attempt >= ATTEMPTS) return answer;
      await pause(pauseMs);
      pauseMs *= 2;
    }
  }
}
