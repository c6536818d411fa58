interface Bound {
  /** vCPU that is told. */
  vcpu: number;
  pending: boolean;
  masked: boolean;
  /** 0 (first) to 15, with FIFO channels only. */
  priority: number;
}

/** A port in use. The words are EVTCHNSTAT_* of public/event_channel.h. */
export type EventChannel = Bound &
  (
    | { readonly status: 'unbound'; readonly remoteDomid: number }
    | { readonly status: 'interdomain'; readonly remoteDomid: number; readonly remotePort: number }
    | { readonly status: 'pirq'; readonly pirq: number }
    | { readonly status: 'virq'; readonly virq: number }
    | { readonly status: 'ipi' }
  );

export interface EventChannelsState {
  abi: '2-level' | 'fifo';
  /** Highest port that the toolstack allows. */
  readonly maxPort: number;
  /** No port below is free. */
  lowestFree: number;
  /** By port; null: closed. Port 0 is never used. */
  channels: (EventChannel | null)[];
  /** Port that a VIRQ of a vCPU is bound to, by `vcpu * NR_VIRQS + virq`. */
  virqPorts: Record<string, number>;
}

/** Ports of the 2-level ABI for 64-bit guests, port 0 included (`EVTCHN_2L_NR_CHANNELS`, public/event_channel.h). */
export const TWO_LEVEL_PORTS = 4096;
/** Ports of the FIFO ABI, port 0 included (`EVTCHN_FIFO_NR_CHANNELS`, public/event_channel.h). */
export const FIFO_PORTS = 131_072;
/** `EVTCHN_FIFO_PRIORITY_DEFAULT` and `_MIN` of public/event_channel.h; 0 is the highest. */
export const FIFO_DEFAULT_PRIORITY = 7;
export const FIFO_LOWEST_PRIORITY = 15;

/** EVTCHNSTAT_* of public/event_channel.h. */
export const EVENT_CHANNEL_STATUS = {
  closed: 0,
  unbound: 1,
  interdomain: 2,
  pirq: 3,
  virq: 4,
  ipi: 5,
} as const;
export type EventChannelStatus = keyof typeof EVENT_CHANNEL_STATUS;

export const newEventChannels = (maxPort: number): EventChannelsState => ({
  abi: '2-level',
  maxPort,
  lowestFree: 1,
  channels: [],
  virqPorts: {},
});
