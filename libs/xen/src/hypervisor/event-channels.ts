import { done, fail, type Outcome } from '../outcome.js';
import { FIFO_LOWEST_PRIORITY, type EventChannel, type EventChannelStatus } from './event-channel-state.js';
import {
  bindPort,
  channelAt,
  closeAllPorts,
  closePort,
  freePort,
  isPort,
  NR_VIRQS,
  openChannel,
  raiseVirq,
  rebindPort,
  setPending,
  virqHandler,
  virqKey,
  virqKind,
} from './event-ports.js';
import { limitsOf } from './limits.js';
import { domainOf, knownDomain, type DomainState, type HypervisorState, type Upcall } from './state.js';

/**
 * Physical interrupts that an unprivileged domain may bind: 16 static ones, as ISA has them, and `DEFAULT_EXTRA_DOMU_IRQS` of xen/common/domain.c.
 * Assumption: the machine's GSIs are not counted.
 */
const GUEST_PIRQS = 48;
/** For Dom0. Assumption: MSI-X vectors of a server's devices, rounded up. */
const CONTROL_DOMAIN_PIRQS = 1024;

/** What EVTCHNOP_status answers. */
export interface EventChannelView {
  readonly status: EventChannelStatus;
  readonly vcpu: number;
  readonly pending: boolean;
  readonly masked: boolean;
  /** The other domain of an unbound or bound port. */
  readonly remoteDomid?: number;
  readonly remotePort?: number;
  readonly pirq?: number;
  readonly virq?: number;
}

/** Whether `caller` may do something on behalf of `domain`: itself, Dom0, or its device model (XSM_TARGET, xen/include/xsm/dummy.h). */
const mayActFor = (state: HypervisorState, caller: number, domain: DomainState): boolean => {
  if (caller === domain.domid) return true;
  const actor = state.domains[caller];
  return actor !== undefined && (actor.privileged || actor.target === domain.domid);
};

const viewOf = (channel: EventChannel): EventChannelView => {
  const { vcpu, pending, masked, status } = channel;
  const common = { status, vcpu, pending, masked };
  switch (channel.status) {
    case 'unbound':
      return { ...common, remoteDomid: channel.remoteDomid };
    case 'interdomain':
      return { ...common, remoteDomid: channel.remoteDomid, remotePort: channel.remotePort };
    case 'pirq':
      return { ...common, pirq: channel.pirq };
    case 'virq':
      return { ...common, virq: channel.virq };
    case 'ipi':
      return common;
  }
};

/**
 * Event channels (xen/common/event_channel.c, public/event_channel.h). `caller` is the domain that makes the hypercall. Errors common to all: ESRCH, no such
 * domain; EINVAL, no such port or one in another state; ENOSPC, no free port.
 */
export class EventChannels {
  constructor(private readonly state: HypervisorState) {}

  /** A port of `owner` that `remote` may bind to. EPERM: `caller` is neither `owner` nor Dom0 nor `owner`'s device model. */
  allocUnbound(caller: number, owner: number, remote: number): Outcome<number> {
    const found = domainOf(this.state, owner);
    if (!found.ok) return found;
    const port = freePort(found.value);
    if (!port.ok) return port;
    if (!mayActFor(this.state, caller, found.value)) return fail('EPERM');
    bindPort(found.value, port.value, { status: 'unbound', remoteDomid: remote });
    return port;
  }

  /**
   * Connects a new port of `caller` to a port that the other domain allocated for it. The new port is pending at once, as the peer may have signalled before.
   */
  bindInterdomain(
    caller: number,
    remoteDomid: number,
    remotePort: number,
  ): Outcome<{ readonly port: number; readonly upcall: Upcall | null }> {
    const remote = domainOf(this.state, remoteDomid);
    if (!remote.ok) return remote;
    const local = knownDomain(this.state, caller);
    const port = freePort(local);
    if (!port.ok) return port;
    const end = openChannel(remote.value, remotePort);
    if (!end.ok) return end;
    if (end.value.status !== 'unbound' || end.value.remoteDomid !== caller) return fail('EINVAL');
    bindPort(local, port.value, { status: 'interdomain', remoteDomid, remotePort });
    rebindPort(remote.value, remotePort, end.value, {
      status: 'interdomain',
      remoteDomid: caller,
      remotePort: port.value,
    });
    return done({ port: port.value, upcall: setPending(local, port.value) });
  }

  /**
   * EINVAL: no such VIRQ, or one of the whole domain on another vCPU than 0. ENOENT: no such vCPU. EBUSY: another domain handles this VIRQ of the host. EEXIST:
   * it is bound already.
   */
  bindVirq(caller: number, virq: number, vcpu: number): Outcome<number> {
    const domain = knownDomain(this.state, caller);
    if (!Number.isInteger(virq) || virq < 0 || virq >= NR_VIRQS) return fail('EINVAL');
    const kind = virqKind(virq);
    if (kind !== 'vcpu' && vcpu !== 0) return fail('EINVAL');
    if (!domain.vcpus[vcpu]) return fail('ENOENT');
    if (kind === 'global' && virqHandler(this.state, virq) !== caller) return fail('EBUSY');
    const key = virqKey(vcpu, virq);
    if (domain.events.virqPorts[key] !== undefined) return fail('EEXIST');
    const port = freePort(domain);
    if (!port.ok) return port;
    bindPort(domain, port.value, { status: 'virq', virq }, vcpu);
    domain.events.virqPorts[key] = port.value;
    return port;
  }

  /** A port by which the domain signals one of its own vCPUs. ENOENT: no such vCPU. */
  bindIpi(caller: number, vcpu: number): Outcome<number> {
    const domain = knownDomain(this.state, caller);
    if (!domain.vcpus[vcpu]) return fail('ENOENT');
    const port = freePort(domain);
    if (port.ok) bindPort(domain, port.value, { status: 'ipi' }, vcpu);
    return port;
  }

  /** EINVAL: no such interrupt. EPERM: a PV guest that was not given it. EEXIST: it is bound already. */
  bindPirq(caller: number, pirq: number): Outcome<number> {
    const domain = knownDomain(this.state, caller);
    const bound = domain.privileged ? CONTROL_DOMAIN_PIRQS : GUEST_PIRQS;
    if (!Number.isInteger(pirq) || pirq < 0 || pirq >= bound) return fail('EINVAL');
    if (domain.type === 'pv' && !domain.privileged && !domain.pirqs.includes(pirq)) return fail('EPERM');
    if (domain.events.channels.some((channel) => channel?.status === 'pirq' && channel.pirq === pirq))
      return fail('EEXIST');
    const port = freePort(domain);
    if (port.ok) bindPort(domain, port.value, { status: 'pirq', pirq });
    return port;
  }

  /** XEN_DOMCTL_irq_permission: lets a domain bind a physical interrupt. */
  permitPirq(domid: number, pirq: number): Outcome<null> {
    const domain = domainOf(this.state, domid);
    if (!domain.ok) return domain;
    if (!domain.value.pirqs.includes(pirq)) domain.value.pirqs.push(pirq);
    return done(null);
  }

  close(caller: number, port: number): Outcome<null> {
    const domain = knownDomain(this.state, caller);
    const channel = openChannel(domain, port);
    if (!channel.ok) return channel;
    closePort(this.state, domain, port, channel.value);
    return done(null);
  }

  /**
   * Signals the other end, or the own vCPU of an IPI. The answer is the upcall to deliver; null where the port was pending already, is masked, or is not bound:
   * then the signal is lost without an error. EINVAL for ports of interrupts.
   */
  send(caller: number, port: number): Outcome<Upcall | null> {
    const domain = knownDomain(this.state, caller);
    const channel = openChannel(domain, port);
    if (!channel.ok) return channel;
    switch (channel.value.status) {
      case 'interdomain':
        return done(setPending(knownDomain(this.state, channel.value.remoteDomid), channel.value.remotePort));
      case 'ipi':
        return done(setPending(domain, port));
      case 'unbound':
        return done(null);
      case 'pirq':
      case 'virq':
        return fail('EINVAL');
    }
  }

  /** Raises a VIRQ at a domain (of its vCPU, where each has its own); null: not bound, pending already or masked. */
  raiseVirq(domid: number, virq: number, vcpu = 0): Upcall | null {
    return raiseVirq(this.state, domid, virq, virqKind(virq) === 'vcpu' ? vcpu : 0);
  }

  /** The guest sets the mask bit: the port still becomes pending, without an upcall. */
  mask(caller: number, port: number): Outcome<null> {
    const channel = openChannel(knownDomain(this.state, caller), port);
    if (!channel.ok) return channel;
    channel.value.masked = true;
    return done(null);
  }

  /** EVTCHNOP_unmask: an upcall follows if the port became pending meanwhile. */
  unmask(caller: number, port: number): Outcome<Upcall | null> {
    const channel = openChannel(knownDomain(this.state, caller), port);
    if (!channel.ok) return channel;
    const wasMasked = channel.value.masked;
    channel.value.masked = false;
    return done(wasMasked && channel.value.pending ? { domid: caller, vcpu: channel.value.vcpu, port } : null);
  }

  /** The guest clears the pending bit as it handles the event; answers whether it was set. */
  takePending(caller: number, port: number): Outcome<boolean> {
    const channel = openChannel(knownDomain(this.state, caller), port);
    if (!channel.ok) return channel;
    const { pending } = channel.value;
    channel.value.pending = false;
    return done(pending);
  }

  /** EVTCHNOP_bind_vcpu: who is told from now on. ENOENT: no such vCPU. EINVAL: IPIs and per-vCPU VIRQs stay where they are. */
  bindVcpu(caller: number, port: number, vcpu: number): Outcome<null> {
    const domain = knownDomain(this.state, caller);
    if (!domain.vcpus[vcpu]) return fail('ENOENT');
    const channel = openChannel(domain, port);
    if (!channel.ok) return channel;
    const { value } = channel;
    if (value.status === 'ipi' || (value.status === 'virq' && virqKind(value.virq) === 'vcpu')) return fail('EINVAL');
    value.vcpu = vcpu;
    return done(null);
  }

  /** EVTCHNOP_status. EPERM: `caller` is neither the domain nor Dom0 nor its device model. */
  status(caller: number, domid: number, port: number): Outcome<EventChannelView> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    if (!isPort(found.value, port)) return fail('EINVAL');
    if (!mayActFor(this.state, caller, found.value)) return fail('EPERM');
    const channel = channelAt(found.value, port);
    return done(channel ? viewOf(channel) : { status: 'closed', vcpu: 0, pending: false, masked: false });
  }

  /** EVTCHNOP_reset: closes all ports. EPERM as for status. EINVAL: another domain's that the toolstack did not pause. */
  reset(caller: number, domid: number): Outcome<null> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    if (!mayActFor(this.state, caller, found.value)) return fail('EPERM');
    if (caller !== domid && found.value.controllerPauses === 0) return fail('EINVAL');
    closeAllPorts(this.state, found.value);
    return done(null);
  }

  /** EVTCHNOP_init_control: changes to FIFO channels for good; open ports stay. ENOSYS: the release has none (before Xen 4.4). */
  initControl(caller: number): Outcome<null> {
    if (!limitsOf(this.state.limits).fifoEventChannels) return fail('ENOSYS');
    knownDomain(this.state, caller).events.abi = 'fifo';
    return done(null);
  }

  /** EVTCHNOP_set_priority, 0 (first) to 15. ENOSYS: 2-level channels have none. */
  setPriority(caller: number, port: number, priority: number): Outcome<null> {
    const domain = knownDomain(this.state, caller);
    const channel = openChannel(domain, port);
    if (!channel.ok) return channel;
    if (domain.events.abi !== 'fifo') return fail('ENOSYS');
    if (!Number.isInteger(priority) || priority < 0 || priority > FIFO_LOWEST_PRIORITY) return fail('EINVAL');
    channel.value.priority = priority;
    return done(null);
  }

  /**
   * XEN_DOMCTL_set_virq_handler: another domain gets this VIRQ of the host, as a xenstore domain gets VIRQ_DOM_EXC. EINVAL: not of the host, or the domain is dying.
   * EBUSY: the present handler has it bound.
   */
  setVirqHandler(domid: number, virq: number): Outcome<null> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    if (!Number.isInteger(virq) || virq < 0 || virq >= NR_VIRQS || virqKind(virq) !== 'global') return fail('EINVAL');
    const handler = virqHandler(this.state, virq);
    if (handler === domid) return done(null);
    if (found.value.dying !== 'alive') return fail('EINVAL');
    if (this.state.domains[handler]?.events.virqPorts[virqKey(0, virq)] !== undefined) return fail('EBUSY');
    this.state.virqHandlers[virq] = domid;
    return done(null);
  }
}
