import { randomUUID } from 'node:crypto';
import { commandSubject, namespaceKind } from '@xenolith/contracts';
import { BusFault, isUuid, present, type JsonObject, type MessageBus, type Reply } from '@xenolith/kernel';
import { z } from 'zod';
import { keyOf, parsed, type CachedObject } from '../cache/cached-object.js';
import type { DocumentCache } from '../cache/document-cache.js';
import { SERVED_KINDS } from '../discovery/index.js';
import { ClusterRefusal, type ClusterApi } from './cluster-api.js';
import { ListWatch } from './list-watch.js';
import { mirrorPlan, type ClusterNamespace, type MirrorStep, type OwnNamespace } from './mirror-plan.js';

const PATH = '/api/v1/namespaces';

/** Names the namespace of the cluster that one of ours stands for, by its uid. */
export const MIRRORS_ANNOTATION = 'xenolith.dev/cluster-namespace-uid';

const ACTOR = 'system:cluster';
const COMMAND_LIMIT_MS = 10_000;
/** What could not be done is looked at again after this, though nothing changed. */
const AGAIN_MS = 5_000;

const NAMESPACES = present(
  SERVED_KINDS.find(({ definition }) => definition === namespaceKind),
  'namespaces are served',
);
const ALL = { namespace: '', id: 'cluster mirror' };

const clusterNamespace = z.looseObject({
  metadata: z.looseObject({ name: z.string(), uid: z.string(), deletionTimestamp: z.string().nullish() }),
});

const readNamespace = (stored: JsonObject): ClusterNamespace => {
  const { name, uid, deletionTimestamp } = clusterNamespace.parse(stored).metadata;
  return { name, uid, terminating: deletionTimestamp != null };
};

interface OwnMetadata {
  readonly labels?: JsonObject;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
  readonly ownerReferences?: readonly JsonObject[];
  readonly managedFields?: readonly JsonObject[];
  readonly deletionTimestamp?: string;
}

const metadataOf = (object: CachedObject): OwnMetadata => parsed(object)['metadata'] as unknown as OwnMetadata;

const ownNamespace = (object: CachedObject): OwnNamespace => {
  const { annotations = {}, deletionTimestamp } = metadataOf(object);
  const { name, uid } = object;
  return {
    name,
    uid,
    mirrors: annotations[MIRRORS_ANNOTATION] ?? null,
    terminating: deletionTimestamp !== undefined,
  };
};

const bareMetadata = { labels: {}, finalizers: [], ownerReferences: [], managedFields: [] };

export interface MirrorPorts {
  readonly cache: Pick<DocumentCache, 'store' | 'reachVersion'>;
  readonly bus: Pick<MessageBus, 'request'>;
  readonly warn: (message: string, err: unknown) => void;
}

/**
 * Keeps our namespaces those of the cluster, whose own they are there. It compares what there is with what should be whenever either changes, so that it goes on
 * wherever another gateway left off; its commands go the way that every command goes.
 */
export class NamespaceMirror {
  private readonly theirs: ListWatch;
  private known: readonly ClusterNamespace[] | null = null;
  private reconciling: Promise<void> | null = null;
  private again = false;
  private timer: NodeJS.Timeout | null = null;
  private active = false;
  private stopListening: () => void = () => undefined;

  constructor(
    private readonly api: ClusterApi,
    private readonly ports: MirrorPorts,
  ) {
    this.theirs = new ListWatch(
      api,
      { path: PATH },
      {
        onObjects: (objects) => {
          this.known = [...objects.values()].map(readNamespace);
          this.look();
        },
        warn: ports.warn,
      },
    );
  }

  async start(): Promise<void> {
    this.stopListening = this.ports.cache.store(NAMESPACES).listen(() => this.look());
    await this.theirs.start();
  }

  /** One gateway mirrors at a time. */
  lead(active: boolean): void {
    this.active = active;
    this.look();
  }

  async stop(): Promise<void> {
    this.active = false;
    this.stopListening();
    if (this.timer !== null) clearTimeout(this.timer);
    await this.theirs.stop();
    await this.reconciling;
  }

  /** Makes the namespace at once if the cluster has it: whoever made it there a moment ago wants to use it here. Throws when the cluster does not answer. */
  async ensure(name: string): Promise<void> {
    if (this.ports.cache.store(NAMESPACES).get(keyOf('', name)) !== undefined) return;
    try {
      const theirs = readNamespace(await this.api.expect('GET', `${PATH}/${encodeURIComponent(name)}`));
      for (const step of mirrorPlan([theirs], [])) await this.take(step);
    } catch (error) {
      // Neither has it: the request is answered as any other that names no namespace.
      if (!(error instanceof ClusterRefusal && error.status === 404)) throw error;
    }
  }

  private look(): void {
    if (!this.active || this.known === null) return;
    if (this.reconciling !== null) {
      this.again = true;
      return;
    }
    this.reconciling = this.reconcile().finally(() => {
      this.reconciling = null;
      if (this.again) {
        this.again = false;
        this.look();
      }
    });
  }

  private async reconcile(): Promise<void> {
    const ours = this.ports.cache.store(NAMESPACES).list({ selection: ALL })?.objects ?? [];
    const plan = mirrorPlan(this.known ?? [], ours.map(ownNamespace));
    let failed = false;
    for (const step of plan) {
      try {
        await this.take(step);
      } catch (error) {
        failed = true;
        this.ports.warn(`namespace ${step.name} can't be made as the cluster has it; it is tried again`, error);
      }
    }
    if (!failed || !this.active) return;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), AGAIN_MS);
  }

  private take(step: MirrorStep): Promise<void> {
    switch (step.do) {
      case 'create': {
        const metadata = { ...bareMetadata, name: step.name, annotations: { [MIRRORS_ANNOTATION]: step.cause } };
        return this.send('ChangeNamespace', randomUUID(), step.cause, {
          intent: 'create',
          metadata,
          spec: { finalizers: [] },
        });
      }
      case 'adopt': {
        const held = this.ports.cache.store(NAMESPACES).get(keyOf('', step.name));
        if (held?.uid !== step.uid) return Promise.resolve();
        const { labels, annotations, finalizers, ownerReferences, managedFields } = metadataOf(held);
        const kept = Object.fromEntries(
          Object.entries({ labels, finalizers, ownerReferences, managedFields }).filter(
            ([, value]) => value !== undefined,
          ),
        );
        const marked = { ...annotations, [MIRRORS_ANNOTATION]: step.cause };
        return this.send('ChangeNamespace', step.uid, step.cause, {
          intent: 'update',
          metadata: { ...bareMetadata, ...kept, name: step.name, annotations: marked },
          spec: parsed(held)['spec'] ?? { finalizers: [] },
        });
      }
      case 'delete':
        return this.send('DeleteNamespace', step.uid, step.cause, { uid: step.uid, propagationPolicy: 'Background' });
    }
  }

  /** Settles when this gateway shows what was done. What another gateway did first is done. */
  private async send(type: string, streamId: string, cause: string, data: JsonObject): Promise<void> {
    const commandId = randomUUID();
    const creates = data['intent'] === 'create';
    const target = creates ? commandId : streamId;
    const reply: Reply = await this.ports.bus.request(
      commandSubject('gateway', type),
      {
        commandId,
        type,
        streamId: target,
        data,
        actor: ACTOR,
        correlationId: commandId,
        causationId: isUuid(cause) ? cause : commandId,
        at: Date.now(),
      },
      { timeoutMs: COMMAND_LIMIT_MS },
    );
    if (!reply.ok) {
      if (['already_exists', 'not_found'].includes(reply.rejection.code)) return;
      throw new BusFault('fault', reply.rejection.message);
    }
    const { version } = reply.value as { readonly version?: number };
    await this.ports.cache.reachVersion(target, version ?? 0, COMMAND_LIMIT_MS);
  }
}
