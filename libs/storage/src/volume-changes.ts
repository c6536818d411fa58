import { eventOf, invalid, volumeKind, type VolumeSpec } from '@xenolith/contracts';
import {
  approximateBytes,
  bytesOf,
  ok,
  reject,
  sameJson,
  type FieldCause,
  type NewEvent,
  type Result,
} from '@xenolith/kernel';
import type { Volume } from './volume.state.js';

const FIXED = ['storageDomain', 'source', 'format', 'provisioning'] as const;

/** The wished spec with what the client left out as it is. */
export const keepSettled = (wished: VolumeSpec, settled: VolumeSpec): VolumeSpec => ({
  ...wished,
  ...(wished.size === undefined && settled.size !== undefined ? { size: settled.size } : {}),
  ...(wished.storageDomain === undefined && settled.storageDomain !== undefined
    ? { storageDomain: settled.storageDomain }
    : {}),
});

/** A volume may grow; everything else about it was settled when it was made. */
export const onVolumeSpecChange = (volume: Volume, wished: VolumeSpec): Result<readonly NewEvent[]> => {
  const causes: FieldCause[] = FIXED.filter((field) => !sameJson(wished[field], volume.spec[field])).map((field) => ({
    field: `spec.${field}`,
    reason: 'FieldValueForbidden',
    message: 'is fixed when the volume is made',
  }));
  if (volume.own.sealed && wished.size !== volume.spec.size)
    causes.push({ field: 'spec.size', reason: 'FieldValueForbidden', message: 'a part of a snapshot keeps its size' });
  if (causes.length > 0) return invalid(volumeKind, volume.meta, causes);
  const [fromBytes, toBytes] = [volume.own.allocation.sizeBytes, bytesOf(wished.size ?? '')];
  if (toBytes < fromBytes)
    return reject(
      'volume_shrink_forbidden',
      `volume "${volume.meta.name}" has ${approximateBytes(fromBytes)} and cannot shrink to ${approximateBytes(toBytes)}: that would cut off data`,
      { causes: [{ field: 'spec.size', reason: 'FieldValueForbidden', message: 'a volume may grow, never shrink' }] },
    );
  const changed = eventOf('VolumeSpecChanged', { spec: wished });
  return ok(toBytes === fromBytes ? [changed] : [changed, eventOf('VolumeGrown', { fromBytes, toBytes })]);
};
