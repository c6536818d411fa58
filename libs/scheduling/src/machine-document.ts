import type { JsonObject } from '@xenolith/kernel';

interface MachineDocument {
  readonly spec: { readonly guest: { readonly pvDrivers: boolean } };
  readonly status: {
    readonly powerState: string;
    readonly allowedOperations: readonly string[];
    readonly currentOperations: Readonly<Record<string, string>>;
  };
}

/** Why a machine can't be migrated now, by what its document allows; null: it can. */
export const movability = (document: JsonObject): string | null => {
  const { spec, status } = document as unknown as MachineDocument;
  if (status.allowedOperations.includes('pool_migrate')) return null;
  const [current] = Object.entries(status.currentOperations);
  if (current) return `operation ${current[0]} (${current[1]}) is under way`;
  if (status.powerState !== 'Running') return `it is ${status.powerState.toLowerCase()}: only what runs can move`;
  if (!spec.guest.pvDrivers) return 'its guest has no paravirtual drivers, so it can’t be told of a move';
  return 'pool_migrate is not among its allowed operations';
};
