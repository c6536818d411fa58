import { ok, reject, type Result } from '@xenolith/kernel';

const OCTETS = 4;

/** An IPv4 address as an unsigned number; null when the text is none. */
export const parseAddress = (text: string): number | null => {
  const octets = text.split('.');
  if (octets.length !== OCTETS) return null;
  let address = 0;
  for (const octet of octets) {
    const value = Number(octet);
    if (!/^\d{1,3}$/.test(octet) || value > 255) return null;
    address = address * 256 + value;
  }
  return address;
};

export const formatAddress = (address: number): string =>
  [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');

/** A subnet: `base` is the network's address, `size` counts every address, those of network and broadcast included. */
export interface Subnet {
  readonly base: number;
  readonly size: number;
}

/** Outside of this, a subnet would be all of the Internet's neighbourhood, or have no room for a router and a machine. */
const SHORTEST_PREFIX = 8;
const LONGEST_PREFIX = 30;

/** Reads `10.20.0.0/16`. The refusal says what is wrong in a sentence that names no field. */
export const parseSubnet = (cidr: string): Result<Subnet> => {
  const [address, length] = cidr.split('/');
  const start = parseAddress(address ?? '');
  const prefix = Number(length);
  if (start === null || !Number.isInteger(prefix) || prefix > 32)
    return reject('object_invalid', `"${cidr}" is not an IPv4 network such as 10.20.0.0/16`);
  if (prefix < SHORTEST_PREFIX || prefix > LONGEST_PREFIX)
    return reject('object_invalid', `the prefix must be between /${SHORTEST_PREFIX} and /${LONGEST_PREFIX}`);
  const size = 2 ** (32 - prefix);
  const base = Math.floor(start / size) * size;
  if (base !== start)
    return reject(
      'object_invalid',
      `${address ?? ''} is an address within the network ${formatAddress(base)}/${prefix}; write that`,
    );
  return ok({ base, size });
};

/** Whether a machine could have the address: within the subnet, neither the network's own nor broadcast. */
export const isHostAddress = (subnet: Subnet, address: number): boolean =>
  address > subnet.base && address < subnet.base + subnet.size - 1;
