import { commandSubject, FOREGROUND_FINALIZER, ORPHAN_FINALIZER, type ReleaseData } from '@xenolith/contracts';
import type { Dispatch, Reaction } from '@xenolith/engine';
import { canonicalJson, uuidFrom, type JsonObject, type LoggedEvent, type Uuid } from '@xenolith/kernel';
import type { CollectedObject, CollectorIndex } from './collector.index.js';
import { NAMESPACE_FINALIZER } from './namespace.js';

/** Commands for one event; what they bring about are events themselves, which go on with the rest. */
const COMMANDS_PER_EVENT = 64;

/** So few objects left in a namespace are asked again at each event: a refusal may have had its reason in one that is gone by now. */
const ASKED_AGAIN = 16;

/** Services answer a deletion at once; longer means that the service is not there, and the event is taken up again. */
const TIMEOUT_MS = 10_000;

type Policy = 'Background' | 'Foreground';

/** What was asked of an object already: the same version is not asked twice, except by the same event when that is shown again. */
interface Asked {
  readonly version: number;
  readonly event: Uuid;
}

/**
 * Collects what nobody wants any more, as Kubernetes' garbage collector and namespace controller do: objects whose owners are all gone, dependents of
 * objects that are deleted in the foreground, everything in a namespace that goes. It decides by the index alone, whatever the event was, so
 * that it goes on after a crash wherever it stood.
 */
export class Collector {
  private readonly asked = new Map<Uuid, Asked>();

  constructor(private readonly index: CollectorIndex) {}

  reaction(): Reaction {
    return { name: 'collector', on: 'every', react: (event) => this.react(event) };
  }

  private react(event: LoggedEvent): readonly Dispatch[] {
    if (event.document === undefined) return [];
    if (event.document === null) this.asked.delete(event.streamId);
    const dispatches: Dispatch[] = [
      ...this.deletions(event, this.index.garbage(), { policy: 'Background', again: false }),
      ...[...this.index.owners()].flatMap((uid) => this.releaseOwner(event, uid)),
      ...[...this.index.terminatingNamespaces()].flatMap(([name, uid]) => this.emptyNamespace(event, name, uid)),
    ];
    const byKey = new Map(dispatches.map((dispatch) => [dispatch.key, dispatch]));
    const sent = [...byKey.values()].slice(0, COMMANDS_PER_EVENT);
    for (const { streamId } of sent)
      this.asked.set(streamId, { version: this.index.get(streamId)?.version ?? 0, event: event.eventId });
    return sent;
  }

  private deletions(
    event: LoggedEvent,
    uids: Iterable<Uuid>,
    how: { readonly policy: Policy; readonly again: boolean },
  ): Dispatch[] {
    const dispatches: Dispatch[] = [];
    for (const uid of uids) {
      if (dispatches.length === COMMANDS_PER_EVENT) break;
      const object = this.index.get(uid);
      if (!object || object.deleting || object.busy) continue;
      if (!how.again && !this.isNews(event, object)) continue;
      dispatches.push(command(event, object, 'Delete', { propagationPolicy: how.policy }));
    }
    return dispatches;
  }

  private isNews(event: LoggedEvent, object: CollectedObject): boolean {
    const asked = this.asked.get(object.uid);
    return asked?.version !== object.version || asked.event === event.eventId;
  }

  /** An object that is deleted in the foreground waits for the dependents that block it; one that orphans sets its dependents free. */
  private releaseOwner(event: LoggedEvent, uid: Uuid): readonly Dispatch[] {
    const owner = this.index.get(uid);
    if (!owner) return [];
    const dependents = this.index.dependentsOf(uid);
    if (owner.orphaning) {
      const bound = dependents.filter((dependent) => isChangeable(dependent) && !dependent.deleting);
      if (bound.length === 0) return this.release(event, owner, { finalizer: ORPHAN_FINALIZER });
      return bound.slice(0, COMMANDS_PER_EVENT).flatMap((dependent) => this.release(event, dependent, { owner: uid }));
    }
    const blocking = dependents.filter((dependent) =>
      dependent.owners.some((reference) => reference.uid === uid && reference.blockOwnerDeletion === true),
    );
    if (blocking.length === 0) return this.release(event, owner, { finalizer: FOREGROUND_FINALIZER });
    return blocking.flatMap((dependent) => {
      // What another living object owns too is let go of, not deleted, as Kubernetes does with dependents that have a solid owner.
      if (isChangeable(dependent) && this.hasOtherOwner(dependent, uid))
        return this.release(event, dependent, { owner: uid });
      const policy = this.index.dependentsOf(dependent.uid).length > 0 ? 'Foreground' : 'Background';
      return this.deletions(event, [dependent.uid], { policy, again: false });
    });
  }

  private hasOtherOwner(dependent: CollectedObject, than: Uuid): boolean {
    return dependent.owners.some(({ uid }) => uid !== than && this.index.get(uid)?.deleting === false);
  }

  private emptyNamespace(event: LoggedEvent, name: string, uid: Uuid): readonly Dispatch[] {
    const next = this.index.nextToGo(name);
    if (next) return this.deletions(event, next, { policy: 'Background', again: next.size <= ASKED_AGAIN });
    const namespace = this.index.get(uid);
    return namespace ? this.release(event, namespace, { finalizer: NAMESPACE_FINALIZER }) : [];
  }

  private release(event: LoggedEvent, object: CollectedObject, what: ReleaseData): readonly Dispatch[] {
    return this.isNews(event, object) ? [command(event, object, 'Release', what)] : [];
  }
}

/** An event that is shown again may find its objects changed: what is asked of a later version, or something else, is another command. */
const command = (
  event: LoggedEvent,
  object: CollectedObject,
  verb: 'Delete' | 'Release',
  data: JsonObject,
): Dispatch => {
  const type = `${verb}${object.kind.kind}`;
  return {
    key: `${type}/${object.uid}`,
    commandId: uuidFrom(event.eventId, type, object.uid, object.version, canonicalJson(data)),
    subject: commandSubject(object.kind.service, type),
    type,
    streamId: object.uid,
    data,
    timeoutMs: TIMEOUT_MS,
  };
};

/** What only the platform makes has no owner to be set free from: it goes with it. */
const isChangeable = (object: CollectedObject): boolean => object.kind.verbs?.includes('update') ?? true;
