import type { LogFeed, MessageBus, Subscription } from '@xenolith/kernel';
import type { AccessAttributes } from '../auth/access.js';
import type { Authenticate, TokenReader } from '../auth/authenticate.js';
import type { WatchRegistry } from '../auth/watch-registry.js';
import type { DocumentCache } from '../cache/document-cache.js';
import type { EventView } from '../events/event-view.js';
import type { User } from '../http/api-request.js';
import { ClusterAccess } from './cluster-access.js';
import { ClusterApi, type ClusterAddress } from './cluster-api.js';
import { cannotAsk, ClusterIdentity } from './cluster-identity.js';
import { EventExport, HANDOVER_MS, type EventOutcome } from './event-export.js';
import { NamespaceMirror } from './namespace-mirror.js';

/** Watches of the cluster's users are asked again about their right this often: nobody tells us when the cluster takes one away. */
const WATCHES_ASKED_MS = 60_000;

/** The lease of the one gateway that mirrors namespaces and writes events. */
const LEASE = 'cluster-mirror';

export interface ClusterOptions extends ClusterAddress {
  readonly warn: (message: string, err: unknown) => void;
  readonly eventCounted: (outcome: EventOutcome) => void;
}

/** The parts of the gateway that the cluster changes or is told of. */
export interface ClusterPorts {
  readonly cache: DocumentCache;
  readonly bus: MessageBus;
  readonly feed: LogFeed;
  readonly events: EventView;
  readonly sessions: WatchRegistry;
  /** The authorities of certificates that clients may show are others from now on. */
  readonly authoritiesChanged: () => void;
}

/** The cluster whose API ours is a part of: it says who its users are and what they may do, and which namespaces there are. */
export class Cluster {
  private readonly api: ClusterApi;
  private readonly identity: ClusterIdentity;
  private readonly access: ClusterAccess;
  private readonly exported: EventExport;
  private mirror: NamespaceMirror | null = null;
  private lease: Subscription | null = null;
  private timer: NodeJS.Timeout | null = null;

  constructor(private readonly options: ClusterOptions) {
    this.api = new ClusterApi(options);
    this.identity = new ClusterIdentity(this.api, options.warn);
    this.access = new ClusterAccess(this.api);
    this.exported = new EventExport(this.api, { warn: options.warn, counted: options.eventCounted });
  }

  /** Settles when the cluster has told how it proves who it is. Throws a fault when it does not. */
  async open(): Promise<void> {
    try {
      await this.identity.start();
    } catch (cause) {
      throw new Error(`the cluster at ${this.options.url} does not tell how it proves who it is (CLUSTER_API_URL)`, {
        cause,
      });
    }
  }

  get authorities(): readonly string[] {
    return this.identity.authorities;
  }

  get authenticate(): Authenticate {
    return this.identity.authenticate;
  }

  get readToken(): TokenReader {
    return this.identity.readToken;
  }

  readonly allows = (user: User, attributes: AccessAttributes): Promise<boolean> =>
    this.access.allows(user, attributes);

  /** Settles when a namespace that the cluster has is here. Throws a StatusError (503) when that can't be found out. */
  readonly ensureNamespace = async (name: string): Promise<void> => {
    try {
      await this.mirror?.ensure(name);
    } catch (cause) {
      throw cannotAsk(`whether there is a namespace "${name}"`, cause);
    }
  };

  /** Begins to mirror, to write events, and to follow what the cluster changes of its proofs. */
  async follow({ cache, bus, feed, events, sessions, authoritiesChanged }: ClusterPorts): Promise<void> {
    this.identity.whenAuthoritiesChange(authoritiesChanged);
    authoritiesChanged();
    const mirror = new NamespaceMirror(this.api, { cache, bus, warn: this.options.warn });
    this.mirror = mirror;
    await mirror.start();
    events.onSeen((event) => this.exported.take(event));
    this.timer = setInterval(() => sessions.askCluster(), WATCHES_ASKED_MS);
    this.lease = await feed.followLeased({
      name: LEASE,
      // Both look at what the cache shows; the log is followed there.
      onBatch: () => Promise.resolve(),
      onLease: (held) => {
        mirror.lead(held);
        this.exported.lead(held, () => events.seenSince(Date.now() - HANDOVER_MS));
        return Promise.resolve();
      },
    });
  }

  async close(): Promise<void> {
    if (this.timer !== null) clearInterval(this.timer);
    await this.lease?.stop();
    await this.mirror?.stop();
    await this.exported.stop();
    await this.identity.stop();
    this.api.close();
  }
}
