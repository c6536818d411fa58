import { virtualMachineKind } from '@xenolith/contracts';
import type { JsonObject, Random } from '@xenolith/kernel';
import type { Users } from './users.js';

/** How often somebody thinks otherwise of a machine's restart. */
const OFTEN = 0.3;

/** What the dice make those do who say which machines are to be restarted when their host fails. */
export class RestartDice {
  constructor(
    private readonly users: Users,
    private readonly random: Random,
  ) {}

  act(): void {
    const { users, random } = this;
    const machines = users.documents('virtualmachine');
    if (machines.length === 0 || !random.chance(OFTEN)) return;
    const restart = random.pick(['always', 'best-effort', 'never']);
    users.change(
      virtualMachineKind,
      random.pick(machines),
      (document) => {
        const ha = document.spec['ha'] as JsonObject;
        return { ...document, spec: { ...document.spec, ha: { ...ha, restart } } };
      },
      false,
    );
  }
}
