import { z } from 'zod';

/** What somebody did on a host itself: the tool's command; `hard`: the guest was not asked. */
export const directCommand = z.strictObject({ command: z.string(), hard: z.boolean() });
export type DirectCommand = z.infer<typeof directCommand>;
