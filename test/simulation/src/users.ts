import {
  clusterKind,
  commandSubject,
  faultRuleKind,
  hostKind,
  imageKind,
  namespaceKind,
  networkKind,
  operationKind,
  portKind,
  rebalancePlanKind,
  storageDomainKind,
  virtualMachineKind,
  virtualMachineSnapshotKind,
  volumeKind,
  type KindDefinition,
} from '@xenolith/contracts';
import {
  BusFault,
  uuidFrom,
  type Clock,
  type CommandMessage,
  type JsonObject,
  type MessageBus,
  type Reply,
  type StoredDocument,
  type Uuid,
} from '@xenolith/kernel';

/** What became of a command that a user sent; a command without an end is a broken promise. */
export interface Sent {
  readonly message: CommandMessage;
  reply: Reply | null;
}

type Asked = Pick<CommandMessage, 'type' | 'streamId' | 'data'> & Partial<Pick<CommandMessage, 'expectedVersion'>>;

/** The namespace that every run starts with. */
export const NAMESPACE = 'default';
/** A user's patience with one request before it is asked again under the same id. */
const PATIENCE_MS = 30_000;
const ASK_AGAIN_MS = 200;

export interface EditedDocument {
  readonly metadata: JsonObject & { readonly name: string; readonly namespace?: string };
  readonly spec: JsonObject;
}

/** Metadata as a client sends it back: what the platform keeps is left out. */
const desired = (metadata: JsonObject): JsonObject => ({
  name: metadata['name'],
  ...(metadata['namespace'] === undefined ? {} : { namespace: metadata['namespace'] }),
  labels: metadata['labels'] ?? {},
  annotations: metadata['annotations'] ?? {},
  finalizers: metadata['finalizers'] ?? [],
  ownerReferences: metadata['ownerReferences'] ?? [],
  managedFields: metadata['managedFields'] ?? [],
});

/** Without a policy that proposes plans for as long as nobody approves them. */
const proposingNothing = (spec: JsonObject): JsonObject => {
  const power = spec['powerManagement'] as JsonObject | undefined;
  return power?.['mode'] === 'Manual' ? { ...spec, powerManagement: { ...power, mode: 'Off' } } : spec;
};

/** What users can ask for, as the gateway would pass it on: parsed by the kind's schema, with an id, sent again under that id until somebody answers. */
export class Users {
  readonly sent: Sent[] = [];
  private serial = 0;

  constructor(
    private readonly bus: MessageBus,
    private readonly clock: Clock,
    /** The newest documents, as a gateway's cache has them. */
    readonly documents: (category: string) => readonly StoredDocument[],
  ) {}

  /** The inventory that every run starts with: small, so that it runs out. */
  async prepare(cluster: JsonObject = {}): Promise<void> {
    await this.create(namespaceKind, { name: NAMESPACE }, {});
    await this.create(clusterKind, { name: 'default' }, cluster);
    await this.create(storageDomainKind, { name: 'local' }, { capacity: '60Gi', default: true, overcommit: 2 });
    await this.create(imageKind, { name: 'debian-13' }, { size: '10Gi' });
    await this.create(networkKind, { name: 'default', namespace: NAMESPACE }, { cidr: '10.1.0.0/27' });
  }

  create(kind: KindDefinition, metadata: { name: string; namespace?: string }, spec: JsonObject): Promise<Reply> {
    return this.send(kind, {
      type: `Change${kind.kind}`,
      streamId: uuidFrom('object', this.nextSerial()),
      data: { intent: 'create', metadata: desired(metadata), spec: kind.spec.parse(spec) as JsonObject },
    });
  }

  /** Reads, changes, writes: at the version read when `stated`, else on top of whatever is there by then. */
  change(
    kind: KindDefinition,
    stored: StoredDocument,
    edit: (document: EditedDocument) => EditedDocument,
    stated: boolean,
  ): void {
    const edited = edit(stored.document as unknown as EditedDocument);
    const spec = kind.spec.safeParse(edited.spec);
    // What the schema refuses never gets past the gateway.
    if (!spec.success) return;
    void this.send(kind, {
      type: `Change${kind.kind}`,
      streamId: stored.streamId,
      data: { intent: 'update', metadata: desired(edited.metadata), spec: spec.data as JsonObject },
      ...(stated ? { expectedVersion: stored.version } : {}),
    });
  }

  delete(kind: KindDefinition, uid: Uuid, propagationPolicy: 'Background' | 'Foreground' | 'Orphan'): void {
    void this.send(kind, { type: `Delete${kind.kind}`, streamId: uid, data: { propagationPolicy } });
  }

  /** POSTs to the action's subresource. */
  act(machine: StoredDocument, action: string, parameters: JsonObject): void {
    const operationId = uuidFrom('operation', this.nextSerial());
    const { name } = (machine.document as unknown as EditedDocument).metadata;
    void this.send(virtualMachineKind, {
      type: 'StartOperation',
      streamId: machine.streamId,
      data: { operationId, name: `${name}-${action}-${operationId.slice(0, 8)}`, action, parameters },
    });
  }

  /** Creates an Operation by itself. */
  operate(target: { kind: string; uid?: Uuid; name: string; namespace: string }, action: string): void {
    const { namespace, ...named } = target;
    const name = `user-operation-${this.nextSerial()}`;
    void this.create(operationKind, { name, namespace }, { target: named, action, parameters: {} });
  }

  /** Ends what makes work fail or wait on purpose, or goes on for ever: rules, hosts that take nothing, policies. Who wants a host empty still does. */
  mendEverything(): void {
    for (const rule of this.documents('faultrule')) this.delete(faultRuleKind, rule.streamId, 'Background');
    for (const host of this.documents('host'))
      this.change(
        hostKind,
        host,
        (document) => ({ ...document, spec: { ...document.spec, unschedulable: false } }),
        false,
      );
    for (const cluster of this.documents('cluster'))
      this.change(
        clusterKind,
        cluster,
        ({ spec: { rebalancing: _ended, ...spec }, metadata }) => ({ metadata, spec: proposingNothing(spec) }),
        false,
      );
  }

  /** Deletes all that people made; machines first, as they use the rest. */
  deleteEverything(): void {
    const kinds = [
      rebalancePlanKind,
      virtualMachineKind,
      virtualMachineSnapshotKind,
      volumeKind,
      portKind,
      namespaceKind,
    ];
    for (const kind of kinds) {
      for (const stored of this.documents(kind.kind.toLowerCase())) {
        const { name } = (stored.document as unknown as EditedDocument).metadata;
        if (kind !== namespaceKind || name !== NAMESPACE) this.delete(kind, stored.streamId, 'Background');
      }
    }
  }

  /** Asks until there is an answer: the id makes that safe. */
  private async send(kind: KindDefinition, asked: Asked): Promise<Reply> {
    const commandId = uuidFrom('user-command', this.nextSerial());
    const message: CommandMessage = {
      ...asked,
      commandId,
      actor: 'user:random',
      correlationId: commandId,
      causationId: commandId,
      at: this.clock.now(),
    };
    const sent: Sent = { message, reply: null };
    this.sent.push(sent);
    for (;;) {
      try {
        const subject = commandSubject(kind.service, message.type);
        sent.reply = await this.bus.request(subject, message, { timeoutMs: PATIENCE_MS });
        return sent.reply;
      } catch (error) {
        if (!(error instanceof BusFault)) throw error;
        await new Promise<void>((resolve) => this.clock.after(ASK_AGAIN_MS, resolve));
      }
    }
  }

  private nextSerial(): number {
    this.serial += 1;
    return this.serial;
  }
}
