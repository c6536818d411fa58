import type { Command, NewEvent } from '@xenolith/kernel';
import type { z } from 'zod';

/** Schemas of a family of messages, keyed by type. */
export type MessageSchemas = Readonly<Record<string, z.ZodType>>;

/** The union of the events that the schemas describe. */
export type EventOf<Schemas extends MessageSchemas> = {
  [Type in keyof Schemas & string]: NewEvent<Type, z.infer<Schemas[Type]>>;
}[keyof Schemas & string];

/** The union of the commands that the schemas describe. */
export type CommandOf<Schemas extends MessageSchemas> = {
  [Type in keyof Schemas & string]: Command<Type, z.infer<Schemas[Type]>>;
}[keyof Schemas & string];

/** An event in its current shape. Older shapes are upcast when they are read. */
export const eventOf = <Type extends string, Data>(
  type: Type,
  data: Data,
  schemaVersion = 1,
): NewEvent<Type, Data> => ({
  type,
  schemaVersion,
  data,
});
