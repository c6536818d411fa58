import { z } from 'zod';
import type { MessageSchemas } from './messages.js';

/** Data of `<Kind>Created`: metadata and spec as they were decided, defaults and all. */
export const createdEvent = { metadata: z.looseObject({}), spec: z.looseObject({}) } as const;

/** Schemas of the events that every kind shares (`object.ts`); a kind may have a closer schema for one of them. */
export const objectEvents = (kind: string): MessageSchemas => ({
  [`${kind}Created`]: z.looseObject(createdEvent),
  [`${kind}MetadataChanged`]: z.looseObject({}),
  [`${kind}SpecChanged`]: z.looseObject({ spec: z.looseObject({}) }),
  [`${kind}DeletionRequested`]: z.looseObject({}),
  [`${kind}Deleted`]: z.looseObject({}),
});
