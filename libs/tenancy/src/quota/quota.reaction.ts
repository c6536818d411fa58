import { commandSubject, resourceQuotaKind, type Amounts } from '@xenolith/contracts';
import type { Dispatch, Reaction } from '@xenolith/engine';
import { sameJson, uuidFrom, type JsonObject, type LoggedEvent, type Uuid } from '@xenolith/kernel';
import { QUOTA_CATEGORY } from './resource-quota.js';
import type { QuotaIndex } from './quota.index.js';

/** Objects of one command: each takes some 150 bytes of an event that has to stay below 256 KiB. */
const OBJECTS_PER_COUNT = 500;
const TIMEOUT_MS = 10_000;

/**
 * Tells the quotas of a namespace what became of what was charged to them, as the log has it, in its order: what an object has now, that it is gone, what there
 * was when the quota was made, and that a command whose end nobody told came to nothing.
 */
export class QuotaKeeper {
  /** What the quotas were told last of an object. */
  private readonly told = new Map<Uuid, Amounts>();

  constructor(private readonly index: QuotaIndex) {}

  reaction(): Reaction {
    return { name: 'quota', on: 'every', react: (event) => this.react(event) };
  }

  private react(event: LoggedEvent): readonly Dispatch[] {
    if (event.category === QUOTA_CATEGORY) {
      if (event.type === 'ResourceQuotaCreated') return this.counts(event);
      if (event.type === 'ResourceQuotaChargeDoubted') return [drop(event)];
    }
    if (event.document === undefined) return [];
    return event.document === null ? this.gone(event) : this.changed(event, event.document);
  }

  private changed(event: LoggedEvent, document: JsonObject): readonly Dispatch[] {
    const { namespace } = document['metadata'] as { namespace?: string };
    if (namespace === undefined) return [];
    const quotas = this.index.quotasOf(namespace);
    const amounts = quotas.size === 0 ? null : this.index.amountsOf(event.category, document);
    if (amounts === null || Object.keys(amounts).length === 0) return [];
    const told = this.told.get(event.streamId);
    if (told !== undefined && sameJson(told, amounts)) return [];
    this.told.set(event.streamId, amounts);
    return [...quotas].map((quota) => settle(event, quota, amounts));
  }

  private gone(event: LoggedEvent): readonly Dispatch[] {
    const { streamId } = event;
    this.told.delete(streamId);
    return [...this.index.quotasOfEnded(streamId)]
      .filter((quota) => quota !== streamId)
      .map((quota) => settle(event, quota, null));
  }

  /** All that the namespace has when the quota is made. */
  private counts(event: LoggedEvent): readonly Dispatch[] {
    const { namespace = '' } = event.data['metadata'] as { namespace?: string };
    const objects = [...this.index.objectsOf(namespace)].map(([uid, { amounts }]) => ({ uid, amounts }));
    const parts = Math.max(1, Math.ceil(objects.length / OBJECTS_PER_COUNT));
    return Array.from({ length: parts }, (_, part) =>
      toQuota(
        event,
        { type: 'CountResourceQuota', quota: event.streamId },
        {
          part,
          parts,
          objects: objects.slice(part * OBJECTS_PER_COUNT, (part + 1) * OBJECTS_PER_COUNT),
        },
      ),
    );
  }
}

const toQuota = (
  event: LoggedEvent,
  to: { readonly type: string; readonly quota: Uuid },
  data: JsonObject,
): Dispatch => {
  const key = `${to.type}/${to.quota}/${JSON.stringify(data['part'] ?? '')}`;
  return {
    key,
    commandId: uuidFrom(event.eventId, key),
    subject: commandSubject(resourceQuotaKind.service, to.type),
    type: to.type,
    streamId: to.quota,
    data,
    timeoutMs: TIMEOUT_MS,
  };
};

const settle = (event: LoggedEvent, quota: Uuid, amounts: Amounts | null): Dispatch =>
  toQuota(
    event,
    { type: 'SettleResourceQuota', quota },
    {
      uid: event.streamId,
      commandId: event.metadata.commandId,
      amounts,
    },
  );

/** All that the command could have done stands before the doubt in the log, and was told to the quota before this. */
const drop = (event: LoggedEvent): Dispatch =>
  toQuota(event, { type: 'DropResourceQuotaCharge', quota: event.streamId }, event.data);
