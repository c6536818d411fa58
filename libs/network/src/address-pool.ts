import type { Uuid } from '@xenolith/kernel';
import type { Subnet } from './ipv4.js';

/** Addresses offered to commands under way; a command that came to nothing leaves one behind, which is taken back beyond this many. */
const OFFERED_MAX = 4_096;

/**
 * Offers free addresses of one subnet in constant time, however big the subnet or many its ports: first those that were never used, then those that came
 * back, oldest first, so that a neighbour's cache has forgotten them. An offer is a guess of this process: the claim decides.
 */
export class AddressPool {
  private readonly used = new Map<number, Uuid>();
  private readonly offers = new Map<Uuid, number>();
  private readonly offered = new Map<number, Uuid>();
  private back: number[] = [];
  private backHead = 0;
  /** Everything below was offered or used at least once. */
  private fresh: number;

  constructor(
    private readonly subnet: Subnet,
    /** Never offered: the router's address and those that the network reserves. */
    private readonly excluded: ReadonlySet<number>,
  ) {
    this.fresh = subnet.base + 1;
  }

  /** Addresses that ports can have in all. */
  get usable(): number {
    return this.subnet.size - 2 - this.excluded.size;
  }

  get usedCount(): number {
    return this.used.size;
  }

  isExcluded(address: number): boolean {
    return this.excluded.has(address);
  }

  /** A free address for a command, another one each time that it asks; null when ports have them all. */
  offer(command: Uuid): number | null {
    this.takeBack(command);
    const address = this.nextFresh() ?? this.nextBack() ?? this.stolen();
    if (address === null) return null;
    this.offers.set(command, address);
    this.offered.set(address, command);
    if (this.offers.size > OFFERED_MAX) {
      const oldest = this.offers.keys().next();
      if (oldest.done !== true) this.takeBack(oldest.value);
    }
    return address;
  }

  /** Ends a command's offer: the address is free for others, after those that are freer. */
  takeBack(command: Uuid): void {
    const address = this.offers.get(command);
    if (address === undefined) return;
    this.offers.delete(command);
    this.offered.delete(address);
    if (!this.used.has(address)) this.back.push(address);
  }

  /** A port has the address. */
  use(address: number, port: Uuid): void {
    this.used.set(address, port);
    const command = this.offered.get(address);
    if (command === undefined) return;
    this.offers.delete(command);
    this.offered.delete(address);
  }

  /** The port is gone. */
  free(address: number, port: Uuid): void {
    if (this.used.get(address) !== port) return;
    this.used.delete(address);
    if (address < this.fresh) this.back.push(address);
  }

  private isFree(address: number): boolean {
    return !this.used.has(address) && !this.offered.has(address) && !this.excluded.has(address);
  }

  private nextFresh(): number | null {
    const end = this.subnet.base + this.subnet.size - 1;
    while (this.fresh < end) {
      const address = this.fresh;
      this.fresh += 1;
      if (this.isFree(address)) return address;
    }
    return null;
  }

  private nextBack(): number | null {
    while (this.backHead < this.back.length) {
      const address = this.back[this.backHead];
      this.backHead += 1;
      if (this.backHead > 1_024 && this.backHead * 2 > this.back.length) {
        this.back = this.back.slice(this.backHead);
        this.backHead = 0;
      }
      if (address !== undefined && this.isFree(address)) return address;
    }
    return null;
  }

  /** What is offered to another command, oldest offer first: either that one came to nothing, or the claim will say so. */
  private stolen(): number | null {
    for (const [command, address] of this.offers) {
      this.offers.delete(command);
      this.offered.delete(address);
      if (!this.used.has(address)) return address;
    }
    return null;
  }
}
