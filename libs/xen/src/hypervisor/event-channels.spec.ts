import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EVENT_CHANNEL_STATUS } from './event-channel-state.js';
import { VIRQ } from './event-ports.js';
import type { Hypervisor } from './hypervisor.js';
import { bootedHost, runningDomain, SMALL, valueOf } from './hypervisor.spec-fixture.js';

const refusal = (errno: string): object => ({ ok: false, errno });

const connected = (host: Hypervisor): { frontEnd: number; frontPort: number; backPort: number } => {
  const frontEnd = runningDomain(host);
  const frontPort = valueOf(host.events.allocUnbound(frontEnd, frontEnd, 0));
  return { frontEnd, frontPort, backPort: valueOf(host.events.bindInterdomain(0, frontEnd, frontPort)).port };
};

describe('event channels between domains', () => {
  it('are pending at the end that binds, as the peer may have signalled before', () => {
    const host = bootedHost();
    const { frontEnd, frontPort, backPort } = connected(host);
    expect(valueOf(host.events.status(0, 0, backPort))).toEqual({
      status: 'interdomain',
      vcpu: 0,
      pending: true,
      masked: false,
      remoteDomid: frontEnd,
      remotePort: frontPort,
    });
    expect(valueOf(host.events.status(frontEnd, frontEnd, frontPort))).toMatchObject({
      pending: false,
      remoteDomid: 0,
    });
  });

  it('carry a signal to the other end once, until that took it', () => {
    const host = bootedHost();
    const { frontEnd, frontPort, backPort } = connected(host);
    const upcall = { domid: frontEnd, vcpu: 0, port: frontPort };
    expect(valueOf(host.events.send(0, backPort))).toEqual(upcall);
    expect(valueOf(host.events.send(0, backPort))).toBeNull();
    expect(valueOf(host.events.takePending(frontEnd, frontPort))).toBe(true);
    expect(valueOf(host.events.send(0, backPort))).toEqual(upcall);
  });

  it('keep a signal that comes while they are masked, and deliver it after', () => {
    const host = bootedHost();
    const { frontEnd, frontPort, backPort } = connected(host);
    valueOf(host.events.mask(frontEnd, frontPort));
    expect(valueOf(host.events.send(0, backPort))).toBeNull();
    expect(valueOf(host.events.unmask(frontEnd, frontPort))).toEqual({ domid: frontEnd, vcpu: 0, port: frontPort });
    expect(valueOf(host.events.unmask(frontEnd, frontPort))).toBeNull();
  });

  it('go back to unbound when the other end closes, and then lose signals without an error', () => {
    const host = bootedHost();
    const { frontEnd, frontPort, backPort } = connected(host);
    valueOf(host.events.close(0, backPort));
    expect(valueOf(host.events.status(0, frontEnd, frontPort))).toMatchObject({ status: 'unbound', remoteDomid: 0 });
    expect(host.events.send(frontEnd, frontPort)).toEqual({ ok: true, value: null });
    expect(valueOf(host.events.bindInterdomain(0, frontEnd, frontPort)).port).toBe(backPort);
  });

  it('go back to unbound when the other domain dies', () => {
    const host = bootedHost();
    const { frontEnd, backPort } = connected(host);
    valueOf(host.domains.destroy(frontEnd, 0));
    expect(valueOf(host.events.status(0, 0, backPort))).toMatchObject({ status: 'unbound', remoteDomid: frontEnd });
  });

  it('bind only for the domain that they were allocated for, and once', () => {
    const host = bootedHost();
    const { frontEnd, frontPort } = connected(host);
    const stranger = runningDomain(host);
    const other = valueOf(host.events.allocUnbound(frontEnd, frontEnd, 0));
    expect(host.events.bindInterdomain(stranger, frontEnd, other)).toEqual(refusal('EINVAL'));
    expect(host.events.bindInterdomain(0, frontEnd, frontPort)).toEqual(refusal('EINVAL'));
    expect(host.events.bindInterdomain(0, frontEnd, 99)).toEqual(refusal('EINVAL'));
    expect(host.events.bindInterdomain(0, 99, 1)).toEqual(refusal('ESRCH'));
  });

  it('are allocated for another domain by Dom0 or its device model only', () => {
    const host = bootedHost();
    const guest = runningDomain(host);
    const stub = runningDomain(host);
    expect(host.events.allocUnbound(0, guest, 0).ok).toBe(true);
    expect(host.events.allocUnbound(stub, guest, 0)).toEqual(refusal('EPERM'));
    expect(host.events.status(stub, guest, 1)).toEqual(refusal('EPERM'));
    valueOf(host.domains.setTarget(stub, guest));
    expect(host.events.allocUnbound(stub, guest, 0).ok).toBe(true);
  });
});

describe('interrupts as event channels', () => {
  it('bind a VIRQ of the vCPU to each, and one of the host to its handler alone', () => {
    const host = bootedHost();
    const guest = runningDomain(host);
    expect(host.events.bindVirq(guest, VIRQ.timer, 1).ok).toBe(true);
    expect(host.events.bindVirq(guest, VIRQ.timer, 1)).toEqual(refusal('EEXIST'));
    expect(host.events.bindVirq(guest, VIRQ.timer, 2)).toEqual(refusal('ENOENT'));
    expect(host.events.bindVirq(guest, VIRQ.argo, 1)).toEqual(refusal('EINVAL'));
    expect(host.events.bindVirq(guest, 24, 0)).toEqual(refusal('EINVAL'));
    expect(host.events.bindVirq(guest, VIRQ.domExc, 0)).toEqual(refusal('EBUSY'));
    valueOf(host.events.setVirqHandler(guest, VIRQ.domExc));
    const port = valueOf(host.events.bindVirq(guest, VIRQ.domExc, 0));
    expect(host.events.setVirqHandler(0, VIRQ.domExc)).toEqual(refusal('EBUSY'));
    const ending = runningDomain(host);
    expect(valueOf(host.domains.destroy(ending, 0)).upcalls).toEqual([{ domid: guest, vcpu: 0, port }]);
    valueOf(host.domains.destroy(guest, 0));
    expect(host.events.bindVirq(0, VIRQ.domExc, 0).ok).toBe(true);
  });

  it('can bind a VIRQ again once it was closed', () => {
    const host = bootedHost();
    const port = valueOf(host.events.bindVirq(0, VIRQ.timer, 1));
    expect(host.events.raiseVirq(0, VIRQ.timer, 1)).toEqual({ domid: 0, vcpu: 1, port });
    valueOf(host.events.close(0, port));
    expect(host.events.raiseVirq(0, VIRQ.timer, 1)).toBeNull();
    expect(valueOf(host.events.bindVirq(0, VIRQ.timer, 1))).toBe(port);
  });

  it('refuse to be signalled by the guest, but for IPIs', () => {
    const host = bootedHost();
    const virq = valueOf(host.events.bindVirq(0, VIRQ.timer, 0));
    const ipi = valueOf(host.events.bindIpi(0, 1));
    expect(host.events.send(0, virq)).toEqual(refusal('EINVAL'));
    expect(valueOf(host.events.send(0, ipi))).toEqual({ domid: 0, vcpu: 1, port: ipi });
    expect(host.events.bindIpi(0, 2)).toEqual(refusal('ENOENT'));
  });

  it('give a physical interrupt to a PV guest that may have it, once', () => {
    const host = bootedHost();
    const guest = runningDomain(host, 0, 'pv');
    expect(host.events.bindPirq(guest, 17)).toEqual(refusal('EPERM'));
    valueOf(host.events.permitPirq(guest, 17));
    expect(host.events.bindPirq(guest, 17).ok).toBe(true);
    expect(host.events.bindPirq(guest, 17)).toEqual(refusal('EEXIST'));
    expect(host.events.bindPirq(guest, 4096)).toEqual(refusal('EINVAL'));
  });

  it('tell another vCPU from when it is asked for, unless they belong to one', () => {
    const host = bootedHost();
    const { frontEnd, frontPort, backPort } = connected(host);
    valueOf(host.events.bindVcpu(frontEnd, frontPort, 1));
    expect(valueOf(host.events.send(0, backPort))).toEqual({ domid: frontEnd, vcpu: 1, port: frontPort });
    const ipi = valueOf(host.events.bindIpi(frontEnd, 0));
    const timer = valueOf(host.events.bindVirq(frontEnd, VIRQ.timer, 0));
    for (const port of [ipi, timer]) expect(host.events.bindVcpu(frontEnd, port, 1)).toEqual(refusal('EINVAL'));
    expect(host.events.bindVcpu(frontEnd, frontPort, 9)).toEqual(refusal('ENOENT'));
  });
});

describe('the number of ports', () => {
  const allocateAll = (host: Hypervisor, domid: number): number => {
    let count = 0;
    for (let port = host.events.allocUnbound(domid, domid, 0); port.ok; count += 1)
      port = host.events.allocUnbound(domid, domid, 0);
    return count;
  };
  const guestOf = (host: Hypervisor, maxEventPort?: number): number =>
    valueOf(
      host.domains.create(
        { type: 'pvh', handle: '', maxVcpus: 1, ...(maxEventPort === undefined ? {} : { maxEventPort }) },
        0,
      ),
    );

  it('is 1023 by xl, 4095 with two levels and 131071 with FIFO channels', () => {
    const host = bootedHost();
    expect(allocateAll(host, guestOf(host))).toBe(1023);
    expect(allocateAll(host, guestOf(host, 1_000_000))).toBe(4095);
    const fifo = guestOf(host, 1_000_000);
    valueOf(host.events.initControl(fifo));
    expect(allocateAll(host, fifo)).toBe(131_071);
    expect(host.events.allocUnbound(fifo, fifo, 0)).toEqual(refusal('ENOSPC'));
  });

  it('has no FIFO channels, nor priorities, with Xen 4.0', () => {
    const host = bootedHost(SMALL, { limits: 'xen-4.0' });
    const port = valueOf(host.events.bindIpi(0, 0));
    expect(host.events.initControl(0)).toEqual(refusal('ENOSYS'));
    expect(host.events.setPriority(0, port, 3)).toEqual(refusal('ENOSYS'));
  });

  it('has 16 priorities with FIFO channels', () => {
    const host = bootedHost();
    const port = valueOf(host.events.bindIpi(0, 0));
    valueOf(host.events.initControl(0));
    expect(host.events.setPriority(0, port, 15).ok).toBe(true);
    expect(host.events.setPriority(0, port, 16)).toEqual(refusal('EINVAL'));
  });

  it('is given back by a reset, which the toolstack may ask for while the domain is paused', () => {
    const host = bootedHost();
    const { frontEnd, backPort } = connected(host);
    expect(host.events.reset(0, frontEnd)).toEqual(refusal('EINVAL'));
    valueOf(host.domains.pause(frontEnd, 0));
    valueOf(host.events.reset(0, frontEnd));
    expect(valueOf(host.events.status(0, 0, backPort)).status).toBe('unbound');
    expect(allocateAll(host, frontEnd)).toBe(1023);
  });

  it('names its states by the numbers of the public header', () =>
    expect(EVENT_CHANNEL_STATUS).toEqual({ closed: 0, unbound: 1, interdomain: 2, pirq: 3, virq: 4, ipi: 5 }));
});

/** The plain model: one row for each port in use, found by searching. */
interface Row {
  domid: number;
  port: number;
  state: string;
  peer: [number, number] | null;
  forDomid: number | null;
  pending: boolean;
  masked: boolean;
}

const MODEL_PORTS = 4;

class PlainPorts {
  readonly rows: Row[] = [];

  at(domid: number, port: number): Row | undefined {
    return this.rows.find((row) => row.domid === domid && row.port === port);
  }

  add(domid: number, state: string, forDomid: number | null): Row | null {
    for (let port = 1; port <= MODEL_PORTS; port += 1) {
      if (this.at(domid, port)) continue;
      const row = { domid, port, state, peer: null, forDomid, pending: false, masked: false };
      this.rows.push(row);
      return row;
    }
    return null;
  }

  signal(row: Row | undefined): string | null {
    if (!row || row.pending) return null;
    row.pending = true;
    return row.masked ? null : `${row.domid}:${row.port}`;
  }

  remove(row: Row): void {
    this.rows.splice(this.rows.indexOf(row), 1);
    const peer = row.peer && this.at(...row.peer);
    if (peer && peer !== row) Object.assign(peer, { state: 'unbound', peer: null, forDomid: row.domid });
  }
}

type Move =
  | { do: 'alloc' | 'bind'; domid: number; other: number; port: number }
  | { do: 'ipi' | 'send' | 'close' | 'mask' | 'unmask' | 'take' | 'reset'; domid: number; port: number };

const domidArbitrary = fc.nat(2);
const portArbitrary = fc.integer({ min: 1, max: MODEL_PORTS });
const moves: fc.Arbitrary<Move> = fc.oneof(
  fc.record({
    do: fc.constantFrom('alloc', 'bind'),
    domid: domidArbitrary,
    other: domidArbitrary,
    port: portArbitrary,
  }),
  fc.record({
    do: fc.constantFrom('ipi', 'send', 'send', 'close', 'mask', 'unmask', 'take', 'reset'),
    domid: domidArbitrary,
    port: portArbitrary,
  }),
);

const plainMove = (model: PlainPorts, move: Move): unknown => {
  const row = model.at(move.domid, move.port);
  switch (move.do) {
    case 'alloc':
      return model.add(move.domid, 'unbound', move.other)?.port ?? 'ENOSPC';
    case 'bind': {
      const end = model.at(move.other, move.port);
      // The new port is taken before the other end is looked at.
      const mine = model.add(move.domid, 'interdomain', null);
      if (!mine) return 'ENOSPC';
      if (end?.state !== 'unbound' || end.forDomid !== move.domid) {
        model.rows.pop();
        return 'EINVAL';
      }
      Object.assign(mine, { peer: [end.domid, end.port], pending: true });
      Object.assign(end, { state: 'interdomain', peer: [mine.domid, mine.port], forDomid: null });
      return mine.port;
    }
    case 'ipi':
      return model.add(move.domid, 'ipi', null)?.port ?? 'ENOSPC';
    case 'reset':
      for (const mine of model.rows.filter(({ domid }) => domid === move.domid)) model.remove(mine);
      return null;
    case 'send':
    case 'close':
    case 'mask':
    case 'unmask':
    case 'take':
      return row ? plainPortMove(model, move.do, row) : 'EINVAL';
  }
};

const plainPortMove = (model: PlainPorts, what: string, row: Row): unknown => {
  if (what === 'send') return model.signal(row.state === 'ipi' ? row : row.peer ? model.at(...row.peer) : undefined);
  if (what === 'close') model.remove(row);
  if (what === 'mask') row.masked = true;
  if (what === 'unmask') {
    const late = row.masked && row.pending ? `${row.domid}:${row.port}` : null;
    row.masked = false;
    return late;
  }
  if (what === 'take') {
    const { pending } = row;
    row.pending = false;
    return pending;
  }
  return null;
};

const realMove = ({ events }: Hypervisor, move: Move): unknown => {
  const { domid, port } = move;
  const answer = (() => {
    switch (move.do) {
      case 'alloc':
        return events.allocUnbound(domid, domid, move.other);
      case 'bind':
        return events.bindInterdomain(domid, move.other, port);
      case 'ipi':
        return events.bindIpi(domid, 0);
      case 'send':
        return events.send(domid, port);
      case 'close':
        return events.close(domid, port);
      case 'mask':
        return events.mask(domid, port);
      case 'unmask':
        return events.unmask(domid, port);
      case 'take':
        return events.takePending(domid, port);
      case 'reset':
        return events.reset(domid, domid);
    }
  })();
  if (!answer.ok) return answer.errno;
  const { value } = answer;
  if (typeof value !== 'object' || value === null) return value;
  return 'upcall' in value ? value.port : `${value.domid}:${value.port}`;
};

/** Every port of the three domains as one text. */
const printed = (
  portOf: (
    domid: number,
    port: number,
  ) => { readonly status: string; readonly pending: boolean; readonly masked: boolean },
): string => {
  let text = '';
  for (const domid of [0, 1, 2])
    for (let port = 1; port <= MODEL_PORTS; port += 1) {
      const { status, pending, masked } = portOf(domid, port);
      text += `${domid}:${port} ${status}${pending ? ' pending' : ''}${masked ? ' masked' : ''}\n`;
    }
  return text;
};

describe('event channels as a state machine', () => {
  it('do what a plain table of ports does, over random histories of three domains', () => {
    fc.assert(
      fc.property(fc.array(moves, { maxLength: 60 }), (history) => {
        const host = bootedHost();
        const control = host.state.domains[0];
        if (control) control.events = { ...control.events, maxPort: MODEL_PORTS };
        for (let guest = 0; guest < 2; guest += 1)
          valueOf(host.domains.create({ type: 'pvh', handle: '', maxVcpus: 1, maxEventPort: MODEL_PORTS }, 0));
        const model = new PlainPorts();
        for (const move of history) {
          expect(realMove(host, move)).toEqual(plainMove(model, move));
          expect(printed((domid, port) => valueOf(host.events.status(0, domid, port)))).toBe(
            printed((domid, port) => {
              const row = model.at(domid, port);
              return { status: row?.state ?? 'closed', pending: row?.pending ?? false, masked: row?.masked ?? false };
            }),
          );
        }
      }),
      { numRuns: 300 },
    );
  });
});
