import {
  type ChangePlacementDevicesData,
  deviceDemand,
  deviceUse,
  fulfils,
  type GivenDevice,
  type HostDevice,
  type PlacementRequest,
  type WishedDevice,
} from '@xenolith/contracts';
import { reject, type Result } from '@xenolith/kernel';
import type { HostTable } from './host-table.js';

/**
 * Free devices for all wishes, none twice, whichever wish could have which: a bipartite matching by augmenting paths (Kuhn 1955). A device at the head of the list
 * comes first. Null: there is no way to fulfil all.
 */
export const chooseDevices = (wishes: readonly WishedDevice[], free: readonly HostDevice[]): GivenDevice[] | null => {
  const seats = wishes.flatMap((wish) => Array.from({ length: wish.count ?? 1 }, () => wish));
  const takers = new Map<HostDevice, number>();
  const seated = (seat: number, tried: Set<HostDevice>): boolean => {
    const wish = seats[seat];
    for (const device of free) {
      if (wish === undefined || tried.has(device) || !fulfils(device, wish)) continue;
      tried.add(device);
      const taker = takers.get(device);
      if (taker !== undefined && !seated(taker, tried)) continue;
      takers.set(device, seat);
      return true;
    }
    return false;
  };
  if (!seats.every((_wish, seat) => seated(seat, new Set()))) return null;
  return [...takers]
    .sort(([, one], [, other]) => one - other)
    .map(([{ kind, address, model, id, class: name }, seat]) => ({
      name: seats[seat]?.name ?? '',
      kind,
      address,
      model,
      ...(id === undefined ? {} : { id }),
      class: name,
    }));
};

type Resources = PlacementRequest['resources'];

/** Counted things with those of devices instead of what stood for them before. */
const withDevices = (
  resources: Resources,
  before: Readonly<Record<string, number>>,
  given: readonly GivenDevice[],
): NonNullable<Resources> => ({
  ...Object.fromEntries(Object.entries(resources ?? {}).filter(([name]) => before[name] === undefined)),
  ...deviceUse(given),
});

/** Counted things that a placement holds: those that it asked for, and of devices those that it was given. */
export const reservedResources = (
  { resources, devices: wishes = [] }: Pick<PlacementRequest, 'resources' | 'devices'>,
  given: readonly GivenDevice[] | undefined,
): Resources => (given === undefined ? resources : withDevices(resources, deviceDemand(wishes), given));

/** A placement on a host, and what it holds there. */
export interface DeviceHolder {
  readonly request: Pick<PlacementRequest, 'resources'>;
  readonly hostUid: string | null;
  readonly devices: readonly GivenDevice[];
}

/** What a placed machine would have of its host's devices after this change. */
export const proposeDevices = (table: HostTable, holder: DeviceHolder, { add, remove }: ChangePlacementDevicesData) => {
  const { devices: had, hostUid, request } = holder;
  const slot = table.slotOf(hostUid ?? '') ?? -1;
  const wishes = add.filter(({ name }) => !had.some((device) => device.name === name));
  const free = table.freeDevices(slot);
  const found = chooseDevices(wishes, free);
  const host = table.names[slot] ?? '';
  if (found === null) return lacking(host, wishes, free);
  const devices = [...had.filter(({ name }) => !remove.includes(name)), ...found];
  const resources = withDevices(request.resources, deviceUse(had), devices);
  const capacity = {
    memoryBytes: table.memory[slot] ?? 0,
    vcpus: table.vcpus[slot] ?? 0,
    revision: table.stream[slot] ?? 0,
    resources: table.resourcesOf(slot),
  };
  return { ok: true as const, value: { host, hostUid: hostUid ?? '', capacity, devices, resources } };
};

const lacking = (host: string, wishes: readonly WishedDevice[], free: readonly HostDevice[]): Result<never> => {
  const asked = wishes.map(({ name, kind, class: site, model, address, count = 1 }) => {
    const which = address ?? model ?? site ?? '';
    return `${count} ${kind} ${which} for ${name}`;
  });
  const has = free.map(({ kind, address, model }) => `${kind} ${address} (${model})`);
  const left = has.length === 0 ? 'no free device' : `free ${has.join(', ')}`;
  return reject('host_lacks_devices', `host ${host} has ${left}; ${asked.join(', ')} were asked`);
};

/** A placement that stays on its host has other devices there. */
export const exchangeDevices = (table: HostTable, before: DeviceHolder, after: DeviceHolder): void => {
  if (before.devices.length + after.devices.length === 0) return;
  const nothing = { memoryBytes: 0, vcpus: 0 };
  table.use(before.hostUid ?? '', { ...nothing, resources: before.request.resources }, -1);
  table.use(after.hostUid ?? '', { ...nothing, resources: after.request.resources }, 1);
};
