import { objectResource } from '@xenolith/contracts';
import type { Aggregate } from '@xenolith/kernel';
import { decideVolume } from './volume.decide.js';
import { evolveVolume, VOLUME_CATEGORY, volumeConsequences, volumeRules } from './volume.js';
import type { VolumeState } from './volume.state.js';

/**
 * A deleted volume's stream is not ended: a machine's disk has its uid from the machine, and a start whose first attempt was undone makes the
 * disk again.
 */
export const volumeAggregate: Aggregate<VolumeState> = {
  category: VOLUME_CATEGORY,
  initial: { phase: 'absent' },
  decide: decideVolume,
  evolve: evolveVolume,
  toResource: (state) => objectResource(volumeRules, state),
  consequences: volumeConsequences,
  stateVersion: 2,
};
