import { reject, type CommandMessage, type Reply, type Uuid } from '@xenolith/kernel';

/** The refusal of a command whose sender stated another version than there is. */
export const staleVersion = (message: CommandMessage, actual: number): Reply & { ok: false } =>
  reject(
    'version_conflict',
    `the object was changed meanwhile: version ${message.expectedVersion ?? 0} was stated, ${actual} is there; read it again and apply your change to that`,
  );

/** The refusal of a taken claim where the route names none: `already_exists` for names, `claim_taken` else. */
export const takenName = (claim: { scope: string; value: string; holder: Uuid }): Reply & { ok: false } => {
  const [family, group, kind, namespace] = claim.scope.split('/');
  if (family !== 'name')
    return reject('claim_taken', `${claim.scope} "${claim.value}" is held by ${claim.holder}`, {
      details: { ...claim },
    });
  return reject(
    'already_exists',
    `${kind ?? ''} "${claim.value}" of ${group === '' ? 'the core group' : (group ?? '')} already exists${namespace === '' ? '' : ` in namespace "${namespace ?? ''}"`}`,
  );
};

/** The refusal of a command that requires a claim which nobody holds. */
export const claimMissing = (claim: { scope: string; value: string }): Reply & { ok: false } =>
  claim.scope === 'namespace/active'
    ? reject('namespace_not_active', `namespace "${claim.value}" does not exist or is being deleted`)
    : reject('not_found', `${claim.scope} "${claim.value}" does not exist`);
