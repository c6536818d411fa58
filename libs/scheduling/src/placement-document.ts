import {
  millisecondsOf,
  type GivenDevice,
  type PlacementExplanation,
  type PlacementRequest,
} from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';
import { reservedResources } from './device-choice.js';
import type { VolumeIndex } from './volume.index.js';

/** What of a placement's document the index looks at. */
export interface PlacementDocument {
  readonly metadata: { readonly creationTimestamp: string };
  readonly spec: { readonly request: PlacementRequest };
  readonly status: {
    readonly hostUid?: Uuid;
    readonly numaNode?: number;
    readonly devices?: readonly GivenDevice[];
    readonly explanation?: PlacementExplanation;
    readonly conditions?: readonly { readonly lastTransitionTime: string }[];
  };
}

/** A placement as the index keeps it. */
export interface KnownPlacement {
  /** With what it holds of counted things where it is placed. */
  readonly request: PlacementRequest;
  /** Null while it is pending. */
  readonly hostUid: Uuid | null;
  readonly cell: number | undefined;
  readonly devices: readonly GivenDevice[];
}

export const knownPlacement = ({ spec, status }: PlacementDocument, volumes: VolumeIndex): KnownPlacement => {
  const request = volumes.located(spec.request);
  return {
    request: status.devices ? { ...request, resources: reservedResources(request, status.devices) } : request,
    hostUid: status.hostUid ?? null,
    cell: status.numaNode,
    devices: status.devices ?? [],
  };
};

/** When a machine that is placed began to run; one that moved did so before it was placed here. Null: nothing tells. */
export const beganAtMs = ({ metadata, spec, status }: PlacementDocument): number | null =>
  startedAtMs(spec.request) ?? millisecondsOf(status.conditions?.[0]?.lastTransitionTime ?? metadata.creationTimestamp);

/** When a machine that is to move was started; null: it does not run. */
export const startedAtMs = ({ startTime }: PlacementRequest): number | null =>
  startTime === undefined ? null : millisecondsOf(startTime);

/** Whether it waits because hosts are kept free for failovers: room anywhere in the cluster may let it in. */
export const isGuarded = ({ status }: PlacementDocument): boolean =>
  status.explanation?.refused.some(({ filter }) => filter === 'availability') === true;
