import { done, fail, type Outcome } from '../outcome.js';
import { FIFO_DEFAULT_PRIORITY, FIFO_PORTS, TWO_LEVEL_PORTS, type EventChannel } from './event-channel-state.js';
import type { DomainState, HypervisorState, Upcall } from './state.js';

/** Number of virtual interrupts (`NR_VIRQS`, public/xen.h). */
export const NR_VIRQS = 24;

/** Virtual interrupts of public/xen.h. */
export const VIRQ = {
  timer: 0,
  debug: 1,
  console: 2,
  domExc: 3,
  tbuf: 4,
  debugger: 6,
  xenoprof: 7,
  conRing: 8,
  pcpuState: 9,
  memEvent: 10,
  argo: 11,
  enomem: 12,
  xenpmu: 13,
  mca: 16,
} as const;

const PER_VCPU: readonly number[] = [VIRQ.timer, VIRQ.debug, VIRQ.xenoprof, VIRQ.xenpmu];

/** Of each vCPU, of the domain, or of the host with one handler (xen/common/event_channel.c `get_virq_type`). */
export const virqKind = (virq: number): 'vcpu' | 'domain' | 'global' =>
  PER_VCPU.includes(virq) ? 'vcpu' : virq === VIRQ.argo ? 'domain' : 'global';

export const virqKey = (vcpu: number, virq: number): number => vcpu * NR_VIRQS + virq;

/** What a port is bound to. */
export type Binding = EventChannel extends infer Channel
  ? Channel extends EventChannel
    ? Omit<Channel, 'vcpu' | 'pending' | 'masked' | 'priority'>
    : never
  : never;

const portCount = ({ events }: DomainState): number =>
  Math.min(events.maxPort + 1, events.abi === 'fifo' ? FIFO_PORTS : TWO_LEVEL_PORTS);

export const channelAt = ({ events }: DomainState, port: number): EventChannel | null => events.channels[port] ?? null;

/** EINVAL: the port is closed or cannot be. */
export const openChannel = (domain: DomainState, port: number): Outcome<EventChannel> => {
  const channel = channelAt(domain, port);
  return channel ? done(channel) : fail('EINVAL');
};

/** Whether a port of this number can be at all; Xen allocates their memory in steps and refuses ports beyond, this model goes to the limit. */
export const isPort = (domain: DomainState, port: number): boolean =>
  Number.isInteger(port) && port > 0 && port < portCount(domain);

/** The lowest free port (xen/common/event_channel.c `get_free_port`). EINVAL: the domain is dying. ENOSPC: all that the toolstack or the ABI allows are taken. */
export const freePort = (domain: DomainState): Outcome<number> => {
  const { events } = domain;
  if (domain.dying !== 'alive') return fail('EINVAL');
  let port = events.lowestFree;
  while (events.channels[port]) port += 1;
  events.lowestFree = port;
  return port < portCount(domain) ? done(port) : fail('ENOSPC');
};

export const bindPort = (domain: DomainState, port: number, binding: Binding, vcpu = 0): void => {
  const { channels } = domain.events;
  while (channels.length < port) channels.push(null);
  channels[port] = { ...binding, vcpu, pending: false, masked: false, priority: FIFO_DEFAULT_PRIORITY };
};

/** Changes what the port is bound to and keeps the rest, as binding and closing do to the other end. */
export const rebindPort = (domain: DomainState, port: number, channel: EventChannel, binding: Binding): void => {
  const { vcpu, pending, masked, priority } = channel;
  domain.events.channels[port] = { ...binding, vcpu, pending, masked, priority };
};

/** Marks the port pending; the upcall that follows, if it was not pending before and is not masked (xen/common/event_2l.c). */
export const setPending = (domain: DomainState, port: number): Upcall | null => {
  const channel = channelAt(domain, port);
  if (!channel || channel.pending) return null;
  channel.pending = true;
  return channel.masked ? null : { domid: domain.domid, vcpu: channel.vcpu, port };
};

/** Closes an open port; a peer's end goes back to unbound, for this domain (xen/common/event_channel.c `evtchn_close`). */
export const closePort = (state: HypervisorState, domain: DomainState, port: number, channel: EventChannel): void => {
  const { events } = domain;
  if (channel.status === 'interdomain') {
    const peer = state.domains[channel.remoteDomid];
    const end = peer && channelAt(peer, channel.remotePort);
    if (end) rebindPort(peer, channel.remotePort, end, { status: 'unbound', remoteDomid: domain.domid });
  }
  if (channel.status === 'virq')
    Reflect.deleteProperty(
      events.virqPorts,
      virqKey(virqKind(channel.virq) === 'vcpu' ? channel.vcpu : 0, channel.virq),
    );
  events.channels[port] = null;
  events.lowestFree = Math.min(events.lowestFree, port);
};

/** Closes every port, as when the domain dies or asks for a reset; FIFO channels become 2-level again. */
export const closeAllPorts = (state: HypervisorState, domain: DomainState): void => {
  const { events } = domain;
  for (const [port, channel] of events.channels.entries()) if (channel) closePort(state, domain, port, channel);
  events.channels = [];
  events.lowestFree = 1;
  events.abi = '2-level';
};

/** The domain that gets a global VIRQ. */
export const virqHandler = (state: HypervisorState, virq: number): number => state.virqHandlers[virq] ?? 0;

/** Raises a VIRQ of the whole domain or host (`send_guest_domain_virq`); null: it is not bound, pending already, or masked. */
export const raiseVirq = (state: HypervisorState, domid: number, virq: number, vcpu = 0): Upcall | null => {
  const domain = state.domains[domid];
  const port = domain?.events.virqPorts[virqKey(vcpu, virq)];
  return domain && port !== undefined ? setPending(domain, port) : null;
};

export const raiseGlobalVirq = (state: HypervisorState, virq: number): readonly Upcall[] => {
  const upcall = raiseVirq(state, virqHandler(state, virq), virq);
  return upcall ? [upcall] : [];
};
