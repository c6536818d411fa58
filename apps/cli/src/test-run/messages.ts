import { z } from 'zod';

/** What a process that runs one Vitest project tells `./xenolith test`. */
export const fromVitest = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('result'),
    file: z.string(),
    test: z.string(),
    outcome: z.enum(['passed', 'failed', 'skipped']),
    /** Why it failed, or was skipped. */
    why: z.string(),
  }),
  /** Something failed outside of any test: a file that cannot be loaded, an error that nobody caught. */
  z.strictObject({ type: z.literal('broken'), where: z.string(), why: z.string() }),
  z.strictObject({ type: z.literal('finished') }),
]);
export type FromVitest = z.infer<typeof fromVitest>;
