import type { IncomingMessage } from 'node:http';
import type { User } from '../http/api-request.js';

/** Who sent a request; null: it says nothing of that which this way of proof knows. Throws a StatusError (401) for a proof that is wrong. */
export type Authenticate = (message: IncomingMessage) => User | null | Promise<User | null>;

/** Who a bearer token stands for; null: it is none of these tokens. */
export type TokenReader = (token: string) => User | null | Promise<User | null>;

export const bearerTokenOf = (message: Pick<IncomingMessage, 'headers'>): string | null =>
  /^bearer +(\S+)$/i.exec(message.headers.authorization ?? '')?.[1] ?? null;

/** Asks one reader of tokens after the other. */
export const firstReader =
  (readers: readonly TokenReader[]): TokenReader =>
  async (token) => {
    for (const read of readers) {
      const user = await read(token);
      if (user !== null) return user;
    }
    return null;
  };

export const bearerTokens =
  (read: TokenReader): Authenticate =>
  (message) => {
    const token = bearerTokenOf(message);
    return token === null ? null : read(token);
  };

/** The first way of proof that knows the sender. */
export const firstOf =
  (ways: readonly Authenticate[]): Authenticate =>
  async (message) => {
    for (const way of ways) {
      const user = await way(message);
      if (user !== null) return user;
    }
    return null;
  };
