import { reject, type Command, type Result } from '@xenolith/kernel';
import { z } from 'zod';

/** Names shown in a refusal; the rest is counted. */
export const SHOWN_USERS = 5;

const users = z.object({ count: z.number().int(), names: z.array(z.string()) });

/** Who uses an object, as the index knew when a deletion was prepared. */
export type Users = z.infer<typeof users>;

const NOBODY: Users = { count: 0, names: [] };

/** Takes what `prepare` added off the command, so that the shared rules see the data that they know. */
export const splitUsers = (command: Command): { readonly users: Users; readonly plain: Command } => {
  const { users: found, ...data } = command.data;
  return { users: found === undefined ? NOBODY : users.parse(found), plain: { ...command, data: data } };
};

/** The refusal to remove something that others stand on, naming them. */
export const inUse = (what: string, name: string, { count, names }: Users): Result<never> => {
  const shown = names.slice(0, SHOWN_USERS).join(', ');
  const more =
    count > Math.min(names.length, SHOWN_USERS) ? ` and ${count - Math.min(names.length, SHOWN_USERS)} more` : '';
  return reject(
    'object_in_use',
    `${what} "${name}" is used by ${count} volume${count === 1 ? '' : 's'}${shown === '' ? '' : `: ${shown}${more}`}; delete ${count === 1 ? 'it' : 'them'} first`,
    { details: { users: names, count } },
  );
};
