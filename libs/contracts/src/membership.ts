import { z } from 'zod';

/** What an instance of a service tells the other instances of it, every second. */
export const memberPresence = z.object({
  instance: z.string().describe('Its name, which no other instance has.'),
  leaving: z.boolean().describe('It stops: nobody need wait until it is forgotten.'),
});
