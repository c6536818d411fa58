import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { RefusedLogin } from './access.js';

/** How many wrong tokens are looked at. */
export interface LoginLimits {
  /** From one address, within the time below. */
  readonly failures: number;
  readonly windowMs: number;
}

/** A client whose token has ended asks a few times for each command; somebody who tries tokens would send thousands. */
export const LOGIN_LIMITS: LoginLimits = { failures: 60, windowMs: 60_000 };

/** Addresses that are remembered; who has more of them makes the guard forget the oldest. */
const MAX_ADDRESSES = 4_096;
/** Tokens that were good lately, by their digests: what one client sends must not lock out others behind the same proxy. */
const MAX_GOOD_TOKENS = 4_096;

interface Failures {
  count: number;
  readonly endsAt: number;
}

const IPV6_GROUPS = 8;
const NETWORK_GROUPS = 4;

/** Whoever has an IPv6 address has 2^64 of them: the network counts. */
const sourceOf = (address: string): string => {
  if (!isIPv6(address)) return address;
  const [head = '', tail = ''] = address.toLowerCase().split('::');
  const [front, back] = [head, tail].map((part) => part.split(':').filter((group) => group !== ''));
  const gap = Math.max(0, IPV6_GROUPS - (front?.length ?? 0) - (back?.length ?? 0));
  const groups = [...(front ?? []), ...Array.from({ length: gap }, () => '0'), ...(back ?? [])];
  const network = groups.slice(0, NETWORK_GROUPS).map((group) => group.replace(/^0+(?=.)/, ''));
  return `${network.join(':')}::/64`;
};

const digestOf = (token: string): string => createHash('sha256').update(token).digest('base64');

/** Keeps a map within its bound: the oldest entry goes first, and what is set again is the newest. */
const put = <Value>(map: Map<string, Value>, key: string, value: Value, most: number): void => {
  map.delete(key);
  if (map.size >= most) for (const oldest of map.keys()) if (map.delete(oldest)) break;
  map.set(key, value);
};

/**
 * Looks at no more tokens from an address that has sent many wrong ones, for as long as its window is open. Tokens that were good lately are looked at
 * in any case, so that nobody is locked out by a neighbour; requests without a token cost nothing and are not counted.
 */
export class LoginGuard {
  private readonly failures = new Map<string, Failures>();
  private readonly good = new Map<string, true>();

  constructor(
    private readonly now: () => number,
    private readonly limits: LoginLimits = LOGIN_LIMITS,
  ) {}

  /** Does what finds out who it is, and counts how it ends. Throws a StatusError (429) instead when it is not looked at. */
  async admit<User>(token: string | null, address: string, find: () => Promise<User>): Promise<User> {
    if (token === null) return find();
    const source = sourceOf(address);
    const digest = digestOf(token);
    this.check(source, digest);
    try {
      const user = await find();
      put(this.good, digest, true, MAX_GOOD_TOKENS);
      return user;
    } catch (error) {
      if (error instanceof RefusedLogin) {
        this.good.delete(digest);
        this.count(source);
      }
      throw error;
    }
  }

  private check(source: string, digest: string): void {
    const known = this.failures.get(source);
    if (known === undefined || known.endsAt <= this.now() || known.count < this.limits.failures) return;
    if (this.good.has(digest)) return;
    const retryAfterSeconds = Math.max(1, Math.ceil((known.endsAt - this.now()) / 1000));
    throw new RefusedLogin('throttled', {
      code: 429,
      reason: 'TooManyRequests',
      message:
        `too many wrong tokens came from ${source}: ${known.count} within ${this.limits.windowMs / 1000} s; ` +
        `this one was not looked at, send it again in ${retryAfterSeconds} s`,
      details: { retryAfterSeconds },
    });
  }

  private count(source: string): void {
    const known = this.failures.get(source);
    if (known !== undefined && known.endsAt > this.now()) known.count += 1;
    else put(this.failures, source, { count: 1, endsAt: this.now() + this.limits.windowMs }, MAX_ADDRESSES);
  }
}
