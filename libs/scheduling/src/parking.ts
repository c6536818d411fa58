/** Whether a host is parked, or about to be; on its way back; or should be back and is not. */
export const PARKINGS = ['none', 'parked', 'starting', 'failing'] as const;
export type Parking = (typeof PARKINGS)[number];
