import type { NetworkSpec, PortAddresses, PortSpec } from '@xenolith/contracts';
import type { Index, IndexedEvent } from '@xenolith/engine';
import { ok, reject, type JsonObject, type Rejection, type StoredDocument, type Uuid } from '@xenolith/kernel';
import { AddressPool } from './address-pool.js';
import { formatAddress, isHostAddress, parseAddress, parseSubnet } from './ipv4.js';
import { keptAddresses, NETWORK_CATEGORY, type NetworkPorts } from './network.js';
import { PORT_CATEGORY } from './port.js';
import type { ResolvedPort } from './port.decide.js';

/** Ports named in a refusal; the rest is counted. */
const SHOWN_PORTS = 5;

/** The first half of Xen's own MAC addresses (IEEE OUI 00-16-3E, XenSource); the second half is the platform's to give. */
const MAC_PREFIX = '00:16:3e';
const MACS = 2 ** 24;

interface KnownNetwork {
  readonly key: string;
  readonly name: string;
  readonly spec: NetworkSpec;
  readonly deleting: boolean;
  readonly pool: AddressPool;
}

interface KnownPort {
  readonly label: string;
  readonly networkUid: Uuid;
  readonly mac: string;
  readonly ip: string;
}

interface Wish {
  readonly commandId: Uuid;
  readonly port: Uuid;
  readonly namespace: string;
  readonly spec: PortSpec;
  readonly attempt: number;
  readonly dryRun: boolean;
}

const macOf = (suffix: number): string =>
  [MAC_PREFIX, ...[16, 8, 0].map((shift) => ((suffix >> shift) & 0xff).toString(16).padStart(2, '0'))].join(':');

const poolFor = (spec: NetworkSpec): AddressPool => {
  const subnet = parseSubnet(spec.cidr);
  const kept = keptAddresses(spec).map((text) => parseAddress(text) ?? 0);
  return new AddressPool(subnet.ok ? subnet.value : { base: 0, size: 2 }, new Set(kept));
};

const sameAddresses = (left: NetworkSpec, right: NetworkSpec): boolean =>
  left.cidr === right.cidr && keptAddresses(left).join() === keptAddresses(right).join();

/** Networks by name, free addresses, and who is on a network: what deciding about one port cannot know. */
export class NetworkIndex implements Index {
  readonly name = 'network';
  readonly categories = [NETWORK_CATEGORY, PORT_CATEGORY];
  private readonly networks = new Map<Uuid, KnownNetwork>();
  private readonly uids = new Map<string, Uuid>();
  private readonly ports = new Map<Uuid, KnownPort>();
  private readonly portsOf = new Map<Uuid, Set<Uuid>>();
  private readonly macs = new Map<string, Uuid>();
  private readonly machines = new Map<Uuid, Uuid>();
  private readonly portsUsedBy = new Map<Uuid, Set<Uuid>>();

  load(documents: readonly StoredDocument[]): void {
    for (const known of [
      this.networks,
      this.uids,
      this.ports,
      this.portsOf,
      this.macs,
      this.machines,
      this.portsUsedBy,
    ])
      known.clear();
    // Networks first: their ports take addresses of them.
    for (const category of this.categories)
      for (const stored of documents)
        if (stored.category === category) this.put(category, stored.streamId, stored.document);
  }

  apply(event: IndexedEvent): void {
    if (event.document !== undefined) this.put(event.category, event.streamId, event.document);
  }

  /** The addresses for a port that would be made now, or why there are none. A later attempt is offered others. */
  resolve(wish: Wish): ResolvedPort {
    const known = this.ports.get(wish.port);
    const uid = known?.networkUid ?? this.uids.get(`${wish.namespace}/${wish.spec.network}`);
    const network = uid === undefined ? undefined : this.networks.get(uid);
    if (uid === undefined || !network || network.deleting)
      return reject(
        'network_not_found',
        `network "${wish.spec.network}" ${network ? 'is being deleted' : `does not exist in namespace "${wish.namespace}"`}`,
      );
    const ip = known?.ip ?? this.address(network, wish);
    if (typeof ip !== 'string') return { ok: false, rejection: ip };
    const mac = known?.mac ?? wish.spec.mac ?? this.mac(wish);
    if (mac === null) return reject('network_full', `all ${MACS} MAC addresses of ${MAC_PREFIX} are used`);
    const { cidr, bridge } = network.spec;
    const addresses: PortAddresses = { networkUid: uid, network: network.name, cidr, bridge, mac, ip };
    return ok(addresses);
  }

  portsOn(network: Uuid): NetworkPorts {
    const uids = this.portsOf.get(network) ?? new Set<Uuid>();
    const names: string[] = [];
    for (const uid of uids) {
      if (names.length === SHOWN_PORTS) break;
      names.push(this.labelOf(uid));
    }
    return { count: uids.size, names };
  }

  /** Ports that a machine is attached to. */
  usedBy(machine: Uuid): readonly Uuid[] {
    return [...(this.portsUsedBy.get(machine) ?? [])];
  }

  /** Namespace and name of a port, or its uid when it is unknown here. */
  labelOf(port: Uuid): string {
    return this.ports.get(port)?.label ?? port;
  }

  isDeleting(network: Uuid): boolean {
    return this.networks.get(network)?.deleting === true;
  }

  private address(network: KnownNetwork, wish: Wish): string | Rejection {
    if (wish.spec.ip !== undefined) return statedAddress(network, wish.spec.ip);
    const offered = network.pool.offer(wish.commandId);
    if (offered === null) {
      const { usable } = network.pool;
      return reject(
        'network_full',
        `network "${network.name}" has no free address: all ${usable} of ${network.spec.cidr} are used; delete ports or use another network`,
        { details: { usable, used: network.pool.usedCount } },
      ).rejection;
    }
    if (wish.dryRun) network.pool.takeBack(wish.commandId);
    return formatAddress(offered);
  }

  /** A free MAC address, found from a point that the command's id gives, so that commands side by side rarely meet. */
  private mac(wish: Wish): string | null {
    if (this.macs.size >= MACS) return null;
    // A later attempt starts a prime number of steps away from where the one before found nothing of use.
    const start = parseInt(wish.commandId.slice(0, 6), 16) + wish.attempt * 7_919;
    for (let step = 0; step < MACS; step += 1) {
      const mac = macOf((start + step) % MACS);
      if (!this.macs.has(mac)) return mac;
    }
    return null;
  }

  private put(category: string, uid: Uuid, document: JsonObject | null): void {
    if (category === NETWORK_CATEGORY) this.putNetwork(uid, document);
    else this.putPort(uid, document);
  }

  private putNetwork(uid: Uuid, raw: JsonObject | null): void {
    const before = this.networks.get(uid);
    if (before) this.uids.delete(before.key);
    this.networks.delete(uid);
    if (raw === null) return;
    const document = raw as unknown as {
      metadata: { name: string; namespace: string; deletionTimestamp?: string };
      spec: NetworkSpec;
    };
    const { name, namespace, deletionTimestamp } = document.metadata;
    const key = `${namespace}/${name}`;
    const keep = before && sameAddresses(before.spec, document.spec);
    const pool = keep ? before.pool : this.filled(uid, poolFor(document.spec));
    this.networks.set(uid, { key, name, spec: document.spec, deleting: deletionTimestamp !== undefined, pool });
    this.uids.set(key, uid);
  }

  private filled(network: Uuid, pool: AddressPool): AddressPool {
    for (const port of this.portsOf.get(network) ?? [])
      pool.use(parseAddress(this.ports.get(port)?.ip ?? '') ?? 0, port);
    return pool;
  }

  private putUser(port: Uuid, machine: Uuid | undefined): void {
    const before = this.machines.get(port);
    if (before === machine) return;
    const ports = before === undefined ? undefined : this.portsUsedBy.get(before);
    ports?.delete(port);
    if (before !== undefined && ports?.size === 0) this.portsUsedBy.delete(before);
    if (machine === undefined) {
      this.machines.delete(port);
      return;
    }
    this.machines.set(port, machine);
    this.portsUsedBy.set(machine, (this.portsUsedBy.get(machine) ?? new Set()).add(port));
  }

  private putPort(uid: Uuid, raw: JsonObject | null): void {
    this.putUser(uid, (raw as { status?: { attachedToUid?: Uuid } } | null)?.status?.attachedToUid);
    const before = this.ports.get(uid);
    if (raw === null) {
      if (before) this.removePort(uid, before);
      return;
    }
    if (before) return;
    const { metadata, status } = raw as unknown as {
      metadata: { name: string; namespace: string };
      status: { networkUid: Uuid; mac: string; ips: readonly [string] };
    };
    const port: KnownPort = {
      label: `${metadata.namespace}/${metadata.name}`,
      networkUid: status.networkUid,
      mac: status.mac,
      ip: status.ips[0],
    };
    this.ports.set(uid, port);
    const on = this.portsOf.get(port.networkUid) ?? new Set();
    this.portsOf.set(port.networkUid, on.add(uid));
    if (port.mac.startsWith(MAC_PREFIX)) this.macs.set(port.mac, uid);
    this.networks.get(port.networkUid)?.pool.use(parseAddress(port.ip) ?? 0, uid);
  }

  private removePort(uid: Uuid, port: KnownPort): void {
    this.ports.delete(uid);
    const on = this.portsOf.get(port.networkUid);
    on?.delete(uid);
    if (on?.size === 0) this.portsOf.delete(port.networkUid);
    if (this.macs.get(port.mac) === uid) this.macs.delete(port.mac);
    this.networks.get(port.networkUid)?.pool.free(parseAddress(port.ip) ?? 0, uid);
  }
}

const statedAddress = (network: KnownNetwork, text: string): string | Rejection => {
  const subnet = parseSubnet(network.spec.cidr);
  const address = parseAddress(text);
  if (address === null || !subnet.ok || !isHostAddress(subnet.value, address))
    return reject(
      'address_outside_subnet',
      `${text} is not an address that a machine on network "${network.name}" (${network.spec.cidr}) could have`,
    ).rejection;
  if (network.pool.isExcluded(address))
    return reject(
      'address_taken',
      `${text} is ${network.spec.gateway === text ? 'the router’s address' : 'reserved'} on network "${network.name}"`,
    ).rejection;
  return text;
};
