import { imageKind, resourceQuotaKind, type Amounts, type KindDefinition } from '@xenolith/contracts';
import { bytesOf, present, uuidFrom, type JsonObject, type Rejection, type Uuid } from '@xenolith/kernel';
import { amountsOf, isPart } from '@xenolith/tenancy';
import { keyOf, parsed, type CachedObject } from '../cache/cached-object.js';
import { SERVED_KINDS, type ServedKind } from '../discovery/index.js';
import type { ApiRequest } from '../http/api-request.js';
import { resourceName, StatusError } from '../http/status.js';
import { deadlineOf, sendCommand, type WritePorts } from '../verbs/commands.js';

const servedAs = (definition: KindDefinition): ServedKind =>
  present(
    SERVED_KINDS.find((kind) => kind.definition === definition),
    `${definition.kind} is served`,
  );

const QUOTAS = servedAs(resourceQuotaKind);
const IMAGES = servedAs(imageKind);

/** A quota that was just made counts what there is within milliseconds. */
const COUNTING_MS = 5_000;

/** An object that a command is about to make or change. */
export interface Growth {
  readonly kind: ServedKind;
  readonly namespace: string;
  readonly name: string;
  readonly uid: Uuid;
  readonly commandId: Uuid;
  readonly before: JsonObject | null;
  readonly after: JsonObject;
  readonly dryRun: boolean;
}

/** Gives back the room, when the command that it was taken for came to nothing. */
export type GiveBack = () => Promise<void>;

const NOTHING_TAKEN: GiveBack = () => Promise.resolve();

const hardOf = (quota: CachedObject): Readonly<Record<string, string>> =>
  (parsed(quota)['spec'] as { hard?: Record<string, string> }).hard ?? {};

const forbidden = ({ kind, name }: Growth, why: string): StatusError =>
  new StatusError({
    code: 403,
    reason: 'Forbidden',
    message: `${resourceName(kind)} "${name}" is forbidden: ${why}`,
    details: { name, group: kind.group, kind: kind.plural },
  });

const imageBytes =
  (ports: WritePorts) =>
  (image: string): number => {
    const found = ports.cache.store(IMAGES).get(keyOf('', image));
    const { size } = found === undefined ? {} : (parsed(found)['spec'] as { size?: string });
    return size === undefined ? 0 : bytesOf(size);
  };

/** Parts of machines are the platform's to make: were they users', they would be counted with nothing. */
const refuseParts = (growth: Growth): void => {
  const was = growth.before !== null && isPart(growth.before);
  if (isPart(growth.after) && !was)
    throw forbidden(
      growth,
      'in a namespace with quotas only the platform makes what a machine owns; leave out metadata.ownerReferences, or write the part into the machine’s spec',
    );
};

const grown = (before: Amounts, after: Amounts): readonly string[] =>
  Object.keys(after).filter((name) => (after[name] ?? 0) > (before[name] ?? 0));

class Room {
  private readonly taken: { readonly quota: Uuid; readonly name: string }[] = [];

  constructor(
    private readonly ports: WritePorts,
    private readonly growth: Growth,
    private readonly request: ApiRequest,
  ) {}

  async take(quota: CachedObject, amounts: Amounts): Promise<void> {
    const { commandId } = this.growth;
    const until = Date.now() + Math.min(COUNTING_MS, deadlineOf(this.request).left());
    for (let attempt = 0, seen = quota.version; ; attempt += 1) {
      const refusal = await this.send('ChargeResourceQuota', quota.uid, { attempt, amounts });
      if (refusal === null) {
        if (!this.growth.dryRun) this.taken.push({ quota: quota.uid, name: commandId });
        return;
      }
      // Somebody took the quota away meanwhile.
      if (refusal.code === 'not_found') return;
      const left = until - Date.now();
      if (refusal.code !== 'quota_not_counted' || left <= 0) throw forbidden(this.growth, refusal.message);
      await this.ports.cache.reachVersion(quota.uid, seen + 1, left);
      seen = this.ports.cache.byId(quota.uid)?.version ?? seen + 1;
    }
  }

  readonly giveBack: GiveBack = async () => {
    for (const { quota } of this.taken) await this.send('DropResourceQuotaCharge', quota, { attempt: 0 });
  };

  /** Null: it was done. */
  private async send(
    type: string,
    quota: Uuid,
    { attempt, amounts }: { readonly attempt: number; readonly amounts?: Amounts },
  ): Promise<Rejection | null> {
    const { uid, commandId, dryRun } = this.growth;
    const command = {
      kind: resourceQuotaKind,
      type,
      streamId: quota,
      commandId: uuidFrom(commandId, type, quota, attempt),
      data: { uid, commandId, ...(amounts && { amounts }) },
      dryRun,
    };
    const result = await sendCommand(this.ports, command, this.request, deadlineOf(this.request));
    return result.ok ? null : result.rejection;
  }
}

/**
 * Takes room for an object in every quota of its namespace before the command that makes or changes it is sent; the answer gives it back, for when that
 * was refused. What became of a command whose answer nobody heard, the log tells the quota. Throws a StatusError (403) when there is no room.
 */
export const takeRoom = async (ports: WritePorts, growth: Growth, request: ApiRequest): Promise<GiveBack> => {
  const { kind, namespace, before, after } = growth;
  if (!kind.namespaced || kind.definition === null) return NOTHING_TAKEN;
  const quotas = ports.cache.store(QUOTAS).list({ selection: { namespace, id: 'quotas' } })?.objects ?? [];
  if (quotas.length === 0) return NOTHING_TAKEN;
  refuseParts(growth);
  const sizes = imageBytes(ports);
  const amounts = amountsOf(kind.definition, after, sizes);
  const more = grown(before === null ? {} : amountsOf(kind.definition, before, sizes), amounts);
  const room = new Room(ports, growth, request);
  try {
    for (const quota of quotas) {
      const hard = hardOf(quota);
      if (more.some((name) => hard[name] !== undefined)) await room.take(quota, amounts);
    }
  } catch (error) {
    await room.giveBack();
    throw error;
  }
  return room.giveBack;
};
