import type { User } from '../http/api-request.js';
import type { Watching } from '../watch/watch-session.js';
import { forbidden, type AccessAttributes } from './access.js';
import type { Authorizer } from './authorizer.js';

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

  constructor(private readonly access: Pick<Authorizer, 'allows' | 'onChange'>) {
    access.onChange(() => this.askAgain());
  }

  [Symbol.iterator](): Iterator<Watching> {
    return this.owners.keys();
  }

  get size(): number {
    return this.owners.size;
  }

  add(session: Watching, owner: WatchOwner): void {
    this.owners.set(session, owner);
    // Rights may have changed while it was waited for the newest state.
    this.ask(session, owner);
  }

  delete(session: Watching): void {
    this.owners.delete(session);
  }

  /** The server is going away. */
  stop(): void {
    for (const session of this.owners.keys()) session.stop();
  }

  private askAgain(): void {
    for (const [session, owner] of this.owners) this.ask(session, owner);
  }

  private ask(session: Watching, { user, attributes }: WatchOwner): void {
    if (!this.access.allows(user, attributes)) session.revoke(forbidden(user, attributes));
  }
}
