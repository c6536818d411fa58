import type { ObjectState, PresentObject, VolumeAllocation, VolumeLease, VolumeSpec } from '@xenolith/contracts';

export interface VolumeOwn {
  readonly allocation: VolumeAllocation;
  /** Never written again once its first lease has ended. */
  readonly sealed: boolean;
  /** The volume whose content it holds, and the one whose content it was last given: by name, for people. */
  readonly snapshotOf: string | null;
  readonly revertedTo: string | null;
  readonly lease: VolumeLease | null;
  /** The lease that the next run of the machine gets when it takes the volume over. */
  readonly heir: VolumeLease | null;
  /** The newest token that was granted; the next is one more, for ever. */
  readonly fencingToken: number;
  /** The run whose lease ended last: older runs of that machine get none any more. */
  readonly lastRun: { readonly virtualMachine: string; readonly incarnation: number } | null;
  /** When the lease began or ended last. */
  readonly leaseChangedAt: string;
}

export type VolumeState = ObjectState<VolumeSpec, VolumeOwn>;
export type Volume = PresentObject<VolumeSpec, VolumeOwn>;
