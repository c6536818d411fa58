import { createHash } from 'node:crypto';
import { AUTHENTICATED_GROUP } from '@xenolith/tenancy';
import { z } from 'zod';
import type { User } from '../http/api-request.js';

export const tokenEntries = z.array(
  z.strictObject({
    token: z.string().min(16, 'a token has 16 characters or more'),
    user: z.string().min(1),
    groups: z.array(z.string()).default([]),
  }),
);
export type TokenEntries = z.input<typeof tokenEntries>;

const digestOf = (token: string): string => createHash('sha256').update(token).digest('base64');

/** Tokens of the platform's own, looked up by their digest, so that the time it takes tells nothing of their text. */
export class StaticTokens {
  private users: ReadonlyMap<string, User> = new Map();

  constructor(entries: TokenEntries) {
    this.replace(entries);
  }

  read(token: string): User | null {
    return this.users.get(digestOf(token)) ?? null;
  }

  /** From now on these count, and no others. Whose token is gone, or stands for other groups now, is proven by it no longer. */
  replace(entries: TokenEntries): void {
    const before = this.users;
    const after = new Map<string, User>();
    for (const entry of tokenEntries.parse(entries)) {
      const digest = digestOf(entry.token);
      const groups = [...new Set([...entry.groups, AUTHENTICATED_GROUP])];
      const known = before.get(digest);
      const same = known?.name === entry.user && known.groups.join('\n') === groups.join('\n');
      const user: User = same
        ? known
        : { name: entry.user, groups, isProven: (): boolean => this.users.get(digest) === user };
      after.set(digest, user);
    }
    this.users = after;
  }
}
