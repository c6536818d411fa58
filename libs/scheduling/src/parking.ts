/** Whether a host is parked, or about to be; on its way back; or should be back and is not. */
export const PARKINGS = ['none', 'parked', 'starting', 'failing'] as const;
export type Parking = (typeof PARKINGS)[number];

/** Columns of a host that is taken for on for a while. */
export interface OpenState {
  readonly ready: number;
  readonly parking: number;
}

export const parkingOf = ({ parking }: { readonly parking: Uint8Array }, slot: number): Parking =>
  PARKINGS[parking[slot] ?? 0] ?? 'none';
