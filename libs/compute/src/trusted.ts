import type { Command } from '@xenolith/kernel';
import type { z } from 'zod';

/** The data of a command in the shape of its schema. The edge has parsed it, or a stream of this service made it: it is not parsed again. */
export const trusted = <Schema extends z.ZodType>(_schema: Schema, command: Command): z.infer<Schema> =>
  command.data as z.infer<Schema>;
