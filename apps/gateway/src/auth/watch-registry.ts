import { ADMIN_GROUP } from '@xenolith/tenancy';
import type { User } from '../http/api-request.js';
import type { Watching } from '../watch/watch-session.js';
import { StatusError } from '../http/status.js';
import { forbidden, unauthorized, type AccessAttributes, type Authorize } from './access.js';
import type { Authorizer } from './authorizer.js';

/** Watches of one user: several windows of a console that watches every kind, and no leak of a client goes on for long. */
const MAX_WATCHES_PER_USER = 1_000;

/** Who watches, and by which right. */
interface WatchOwner {
  readonly user: User;
  readonly attributes: AccessAttributes;
}

/**
 * The watches that are open. Whenever rights change, each is asked again whether it may be: one that may not any more ends with a 403, before it is
 * sent anything of what happened after the change.
 */
export class WatchRegistry implements Iterable<Watching> {
  private readonly owners = new Map<Watching, WatchOwner>();
  private readonly byUser = new Map<string, number>();

  constructor(
    access: Pick<Authorizer, 'onChange'>,
    private readonly authorize: Authorize,
  ) {
    access.onChange(() => this.askAgain());
  }

  [Symbol.iterator](): Iterator<Watching> {
    return this.owners.keys();
  }

  get size(): number {
    return this.owners.size;
  }

  /** Throws a StatusError (429) when the user has too many. */
  checkRoom({ name, groups }: User): void {
    if ((this.byUser.get(name) ?? 0) < MAX_WATCHES_PER_USER || groups.includes(ADMIN_GROUP)) return;
    throw new StatusError({
      code: 429,
      reason: 'TooManyRequests',
      message: `user "${name}" has ${MAX_WATCHES_PER_USER} watches open already; end some`,
      details: { retryAfterSeconds: 10 },
    });
  }

  add(session: Watching, owner: WatchOwner): void {
    this.owners.set(session, owner);
    this.byUser.set(owner.user.name, (this.byUser.get(owner.user.name) ?? 0) + 1);
    // Rights may have changed while it was waited for the newest state.
    this.ask(session, owner);
  }

  delete(session: Watching): void {
    const owner = this.owners.get(session);
    if (owner === undefined) return;
    this.owners.delete(session);
    const left = (this.byUser.get(owner.user.name) ?? 1) - 1;
    if (left === 0) this.byUser.delete(owner.user.name);
    else this.byUser.set(owner.user.name, left);
  }

  /** The server is going away. */
  stop(): void {
    for (const session of this.owners.keys()) session.stop();
  }

  /** Rights, or proofs of identity, have changed. */
  askAgain(): void {
    for (const [session, owner] of this.owners) if (owner.user.provenBy !== 'cluster') this.ask(session, owner);
  }

  /** The cluster does not tell when it takes a right away: those whom it sent are asked about from time to time. */
  askCluster(): void {
    for (const [session, owner] of this.owners) if (owner.user.provenBy === 'cluster') this.ask(session, owner);
  }

  private ask(session: Watching, { user, attributes }: WatchOwner): void {
    if (user.isProven?.() === false) {
      session.revoke(unauthorized('unknown', 'the token or certificate does not count any more'));
      return;
    }
    const settle = (allowed: boolean): void => {
      if (!allowed) session.revoke(forbidden(user, attributes));
    };
    const answer = this.authorize(user, attributes);
    if (typeof answer === 'boolean') settle(answer);
    // While nobody can be asked a watch keeps the right that it was found to have.
    else void answer.then(settle, () => undefined);
  }
}
