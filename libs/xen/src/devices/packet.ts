import { PAGE_BYTES } from './ring.js';

/** Status codes (xen/include/public/io/netif.h). */
export const NETIF_RSP = { dropped: -2, error: -1, okay: 0, null: 1 } as const;

/** Slots of one packet that each back-end must take (`XEN_NETIF_NR_SLOTS_MIN`). */
export const SLOTS_EVERY_BACKEND_TAKES = 18;
/** Slots from which Linux's netback takes the front-end for malicious (drivers/net/xen-netback, `FATAL_SKB_SLOTS_DEFAULT`). */
const FATAL_SLOTS = 20;

/** A packet by its contiguous parts in the guest's memory: each crosses page boundaries on its own. */
export interface Packet {
  readonly parts: readonly { readonly offset: number; readonly bytes: number }[];
  /** Segmentation is left to the card: one slot more tells of it. */
  readonly gso: boolean;
}

/** Slots that a packet takes in the ring (drivers/net/xen-netfront.c, `xennet_count_skb_slots`). */
export const packetSlots = ({ parts, gso }: Packet): number =>
  parts.reduce((slots, { offset, bytes }) => slots + Math.ceil(((offset % PAGE_BYTES) + bytes) / PAGE_BYTES), 0) +
  (gso ? 1 : 0);

/**
 * What Linux's netback does with a packet of so many data slots: it forwards it, answers each slot with an error, or takes the front-end's ring away
 * (drivers/net/xen-netback/netback.c, `xenvif_count_requests`, which compares the slots it has passed, so that 19 slots pass).
 */
export const slotsVerdict = (dataSlots: number): 'forward' | 'drop' | 'disable' => {
  // The count begins behind the first slot and is compared before the next is added.
  const compared = dataSlots - 2;
  if (compared >= FATAL_SLOTS) return 'disable';
  return compared >= SLOTS_EVERY_BACKEND_TAKES ? 'drop' : 'forward';
};
