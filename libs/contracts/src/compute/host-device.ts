import { z } from 'zod';
import { dnsLabel } from '../resource.js';

/** Of a PCI function, and of a USB device by its bus and its number there. */
const pciAddress = z
  .string()
  .regex(
    /^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/,
    'must be the address of a PCI function, such as 0000:3b:00.0',
  );
const usbAddress = z.string().regex(/^\d{1,3}\.\d{1,3}$/, 'must be a USB bus and a device on it, such as 1.2');

/** As `lspci -n` and `lsusb` print it. */
const vendorDevice = z.string().regex(/^[0-9a-f]{4}:[0-9a-f]{4}$/, 'must be vendor:device, such as 10de:25b6');

const told = {
  model: z.string().min(1).describe('What it is; machines may ask for one by it.'),
  id: vendorDevice
    .optional()
    .describe('Vendor and device in hexadecimal, such as 10de:25b6; machines may ask by it, too.'),
  class: dnsLabel.describe('What the site calls devices of its kind; machines ask for one by it.'),
};

/** More virtual functions than a card can have are none of PCI's (SR-IOV specification: 16 bits); cards that are sold have up to 256. */
const VIRTUAL_FUNCTIONS_MAX = 256;

/** A device of a host that is made of a profile. */
export const installedDevice = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('pci'),
    address: pciAddress,
    ...told,
    virtualFunctions: z
      .number()
      .int()
      .min(1)
      .max(VIRTUAL_FUNCTIONS_MAX)
      .optional()
      .describe('SR-IOV: how many it is parted into, which machines get instead of it.'),
  }),
  z.strictObject({ kind: z.literal('usb'), address: usbAddress, ...told }),
]);
export type InstalledDevice = z.infer<typeof installedDevice>;

const kind = z.enum(['pci', 'sriov', 'usb']);

/** A device as a host tells of it. */
export const hostDevice = z.strictObject({
  kind: kind.describe('A PCI function, a virtual function of one, or a USB device.'),
  address: z.string().describe('Where it is on the host.'),
  ...told,
  physicalFunction: z.string().optional().describe('Of a virtual function: the PCI function that it is part of.'),
  virtualFunctions: z.number().int().optional().describe('How many it is parted into; machines get those.'),
});
export type HostDevice = z.infer<typeof hostDevice>;

/** A machine's wish for devices of its host. */
export const wishedDevice = z
  .strictObject({
    name: dnsLabel.describe('Name of the wish within the virtual machine.'),
    kind: kind.describe('A PCI function, a virtual function of an SR-IOV card, or a USB device.'),
    class: dnsLabel.optional().describe('Any free device of this class.'),
    model: z.string().min(1).optional().describe('Any free device of this model: its name, or vendor:device.'),
    address: z.union([pciAddress, usbAddress]).optional().describe('The one device at this address of its host.'),
    count: z.number().int().min(1).max(16).optional().describe('How many of the class or model. Default: 1.'),
  })
  .refine((wish) => [wish.class, wish.model, wish.address].filter((said) => said !== undefined).length === 1, {
    message: 'name a class, a model or an address, one of them',
  })
  .refine(({ address, count }) => address === undefined || count === undefined, {
    path: ['count'],
    message: 'at an address there is one device',
  })
  .refine(
    (wish) => wish.address === undefined || (wish.kind === 'usb') === usbAddress.safeParse(wish.address).success,
    {
      path: ['address'],
      message: 'is no address of that kind of device',
    },
  );
export type WishedDevice = z.infer<typeof wishedDevice>;

/** A device of the host that a machine was placed on, found for its wish of that name. */
export const givenDevice = z.strictObject({
  name: z.string().describe('Name of the wish.'),
  kind: kind.describe('A PCI function, a virtual function of one, or a USB device.'),
  address: z.string().describe('Where it is on the host.'),
  ...told,
});
export type GivenDevice = z.infer<typeof givenDevice>;

type Counted = Pick<HostDevice, 'kind' | 'class' | 'model' | 'id' | 'address'>;

/** Counted things of a host by which placement knows its devices. */
const classResource = (device: Pick<Counted, 'kind' | 'class'>): string => `device:${device.kind}/${device.class}`;
const modelResource = (device: Pick<Counted, 'kind' | 'model'>): string => `device:${device.kind}=${device.model}`;
const addressResource = (device: Pick<Counted, 'kind' | 'address'>): string =>
  `device:${device.kind}@${device.address}`;

/** A device counts by each name that a wish may call it, whichever one did. */
const resourcesOf = (device: Counted): string[] => [
  classResource(device),
  modelResource(device),
  ...(device.id === undefined ? [] : [modelResource({ kind: device.kind, model: device.id })]),
  addressResource(device),
];

const counted = (names: Iterable<readonly [name: string, count: number]>): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const [name, count] of names) counts[name] = (counts[name] ?? 0) + count;
  return counts;
};

/** What machines can be given of a host's devices: a card that is parted is given by its parts. */
export const deviceSupply = (devices: readonly HostDevice[]): Record<string, number> =>
  deviceUse(devices.filter(({ virtualFunctions }) => virtualFunctions === undefined));

/** What devices count that somebody has. */
export const deviceUse = (devices: readonly Counted[]): Record<string, number> =>
  counted(devices.flatMap((device) => resourcesOf(device).map((name) => [name, 1] as const)));

/** The least that a host must have free for the wishes. */
export const deviceDemand = (wishes: readonly WishedDevice[]): Record<string, number> =>
  counted(wishes.map((wish) => [wishedResource(wish), wish.count ?? 1] as const));

const wishedResource = ({ kind: wanted, class: name, model, address }: WishedDevice): string => {
  if (address !== undefined) return addressResource({ kind: wanted, address });
  return model === undefined
    ? classResource({ kind: wanted, class: name ?? '' })
    : modelResource({ kind: wanted, model });
};

/** Whether the device is one of those that the wish names. */
export const fulfils = (device: Counted, wish: WishedDevice): boolean =>
  resourcesOf(device).includes(wishedResource(wish));

/** Functions of a card, which the hypervisor maps into the guest: they tie it to its host, and its memory to its place. */
export const isPciDevice = ({ kind: wanted }: Pick<WishedDevice, 'kind'>): boolean => wanted !== 'usb';

/** How many devices of those for which `is` holds. */
export const countDevices = (wishes: readonly WishedDevice[], is: (wish: WishedDevice) => boolean): number =>
  wishes.filter(is).reduce((sum, { count = 1 }) => sum + count, 0);
