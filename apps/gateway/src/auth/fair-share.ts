import { ADMIN_GROUP } from '@xenolith/tenancy';
import type { User } from '../http/api-request.js';
import { StatusError } from '../http/status.js';

/** How many requests may be worked on at once, and how many may wait. */
export interface Shares {
  /** By all users together: what the services can have in hand without answering each more slowly. */
  readonly active: number;
  /** By one user, so that others find a place at once. */
  readonly activePerUser: number;
  /** One user's queue: a client that keeps more waiting is told to slow down. */
  readonly waitingPerUser: number;
  /** All queues, so that a thousand users do not fill the memory with what waits. */
  readonly waiting: number;
  /** Nobody waits longer for a turn; clients come again by themselves. */
  readonly patienceMs: number;
}

export const SHARES: Shares = {
  active: 256,
  activePerUser: 64,
  waitingPerUser: 256,
  waiting: 4_096,
  patienceMs: 15_000,
};

/** What a client that was sent away waits before it comes again. */
const RETRY_AFTER_SECONDS = 1;

/** Ends a turn; calling it again does nothing. */
export type EndTurn = () => void;

interface Waiter {
  readonly begin: () => void;
  gone: boolean;
}

interface Tenant {
  active: number;
  readonly waiting: Waiter[];
}

const tooMany = (why: string): StatusError =>
  new StatusError({
    code: 429,
    reason: 'TooManyRequests',
    message: `too many requests at once: ${why}; ask again in ${RETRY_AFTER_SECONDS} s, and with fewer side by side`,
    details: { retryAfterSeconds: RETRY_AFTER_SECONDS },
  });

/**
 * Gives requests their turns, user by user: places that become free go round among those who wait, whoever sent how many. Administrators wait for nobody,
 * so that they can end what the others began.
 */
export class FairShare {
  private active = 0;
  private waiting = 0;
  private readonly tenants = new Map<string, Tenant>();

  constructor(private readonly shares: Shares = SHARES) {}

  /** Settles when it is this user's turn. Throws a StatusError (429) when too much waits already, or for too long. */
  async turn(user: User): Promise<EndTurn> {
    if (user.groups.includes(ADMIN_GROUP)) return () => undefined;
    const tenant = this.tenants.get(user.name) ?? { active: 0, waiting: [] };
    this.tenants.set(user.name, tenant);
    if (this.active >= this.shares.active || tenant.active >= this.shares.activePerUser) await this.wait(tenant);
    else this.begin(tenant);
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      this.end(user.name, tenant);
    };
  }

  private begin(tenant: Tenant): void {
    this.active += 1;
    tenant.active += 1;
  }

  private wait(tenant: Tenant): Promise<void> {
    const { waitingPerUser, waiting, patienceMs } = this.shares;
    if (tenant.waiting.length >= waitingPerUser) throw tooMany(`${waitingPerUser} of this user wait already`);
    if (this.waiting >= waiting) throw tooMany(`${waiting} wait already`);
    this.waiting += 1;
    return new Promise((resolve, fail) => {
      const timer = setTimeout(() => {
        waiter.gone = true;
        this.leaveQueue(tenant, waiter);
        fail(tooMany(`there was no place within ${patienceMs} ms`));
      }, patienceMs);
      const waiter: Waiter = {
        gone: false,
        begin: () => {
          clearTimeout(timer);
          this.begin(tenant);
          resolve();
        },
      };
      tenant.waiting.push(waiter);
    });
  }

  private leaveQueue(tenant: Tenant, waiter: Waiter): void {
    this.waiting -= 1;
    tenant.waiting.splice(tenant.waiting.indexOf(waiter), 1);
  }

  private end(name: string, tenant: Tenant): void {
    this.active -= 1;
    tenant.active -= 1;
    this.fill();
    if (tenant.active === 0 && tenant.waiting.length === 0) this.tenants.delete(name);
  }

  /** Hands out places while there are some; who was served goes behind the others. */
  private fill(): void {
    for (const [name, tenant] of this.tenants) {
      if (this.active >= this.shares.active) return;
      if (tenant.active >= this.shares.activePerUser) continue;
      const next = tenant.waiting.shift();
      if (next === undefined) continue;
      this.waiting -= 1;
      this.tenants.delete(name);
      this.tenants.set(name, tenant);
      next.begin();
    }
  }
}
