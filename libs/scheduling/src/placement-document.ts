import type { PlacementExplanation, PlacementRequest } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';

/** What of a placement's document the index looks at. */
export interface PlacementDocument {
  readonly metadata: { readonly creationTimestamp: string };
  readonly spec: { readonly request: PlacementRequest };
  readonly status: {
    readonly hostUid?: Uuid;
    readonly numaNode?: number;
    readonly explanation?: PlacementExplanation;
    readonly conditions?: readonly { readonly lastTransitionTime: string }[];
  };
}

/** Whether it waits because hosts are kept free for failovers: room anywhere in the cluster may let it in. */
export const isGuarded = ({ status }: PlacementDocument): boolean =>
  status.explanation?.refused.some(({ filter }) => filter === 'availability') === true;
