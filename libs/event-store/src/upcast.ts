import type { StoredEvent, Upcaster } from '@xenolith/kernel';

/**
 * The event in today's shape: each upcaster of its type that starts from its schema version moves it one version up. Stored events are never
 * edited, so that this runs at every read. Upcasters must be pure.
 */
export const upcast = <Event extends Pick<StoredEvent, 'type' | 'schemaVersion' | 'data'>>(
  event: Event,
  upcasters: Readonly<Record<string, readonly Upcaster[]>> | undefined,
): Event => {
  let { schemaVersion, data } = event;
  for (;;) {
    const step = upcasters?.[event.type]?.find(({ from }) => from === schemaVersion);
    if (!step) break;
    data = step.upcast(data);
    schemaVersion += 1;
  }
  return schemaVersion === event.schemaVersion ? event : { ...event, schemaVersion, data };
};
