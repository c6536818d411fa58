import type { Device, Queue, RingRequest } from '../devices/index.js';
import type { Outcome } from '../outcome.js';
import type { Host, MachineDevice } from './host-state.js';

/** Frames of guests' rings. The content of pages is not modelled: every ring has a frame number of its own and nothing in it. */
const FIRST_RING_FRAME = 0x1000;

const granted = (host: Host, owner: number, to: number, frame: number): Outcome<number> =>
  host.hypervisor.grants.permitAccess(owner, { to, frame });

export const allocate = (host: Host, device: Device, request: RingRequest): Queue[] | 'ENOSPC' => {
  const queues: Queue[] = [];
  for (let queue = 0; queue < request.queues; queue += 1) {
    const rings: number[][] = [];
    for (let ring = 0; ring < request.ringsPerQueue; ring += 1) {
      const pages: number[] = [];
      for (let page = 0; page < request.pagesPerRing; page += 1) {
        const ref = granted(host, device.domid, device.backendDomid, FIRST_RING_FRAME + pages.length);
        if (!ref.ok) return 'ENOSPC';
        pages.push(ref.value);
      }
      rings.push(pages);
    }
    const ports: number[] = [];
    for (let port = 0; port < request.portsPerQueue; port += 1) {
      const found = host.hypervisor.events.allocUnbound(device.domid, device.domid, device.backendDomid);
      if (!found.ok) return 'ENOSPC';
      ports.push(found.value);
    }
    queues.push({ rings, ports });
  }
  return queues;
};

export const freeRings = (host: Host, domid: number, queues: readonly Queue[]): void => {
  for (const queue of queues) {
    for (const port of queue.ports) host.hypervisor.events.close(domid, port);
    for (const ref of queue.rings.flat()) host.hypervisor.grants.endAccess(domid, ref);
  }
};

export const mapRings = (host: Host, device: MachineDevice, queues: readonly Queue[]): boolean => {
  const { domid, backendDomid } = device.device;
  for (const queue of queues) {
    for (const ref of queue.rings.flat()) {
      const mapped = host.hypervisor.grants.map(backendDomid, { granter: domid, ref, readonly: false });
      if (mapped.status !== 0) return false;
      device.mappings.push(mapped.value);
    }
    for (const port of queue.ports)
      if (!host.hypervisor.events.bindInterdomain(backendDomid, domid, port).ok) return false;
  }
  return true;
};

export const unmapRings = (host: Host, device: MachineDevice): void => {
  for (const handle of device.mappings.splice(0)) host.hypervisor.grants.unmap(device.device.backendDomid, handle);
};
