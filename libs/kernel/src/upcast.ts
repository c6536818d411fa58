import type { Upcaster } from './decider.js';
import type { StoredEvent } from './event-log.js';

type Upcasters = Readonly<Record<string, readonly Upcaster[]>> | undefined;

/** An event that a newer release wrote: this one must not guess what it means. */
export class NewerEvent extends Error {
  override readonly name = 'NewerEvent';
}

/** The version of a type's data that this release writes: one above the last that it upcasts from. */
const newestVersion = (type: string, upcasters: Upcasters): number =>
  Math.max(0, ...(upcasters?.[type] ?? []).map(({ from }) => from)) + 1;

/**
 * The event in today's shape: each upcaster of its type that starts from its schema version moves it one version up. Stored events are never
 * edited, so that this runs at every read. Upcasters must be pure. Throws `NewerEvent` for a version above today's.
 */
export const upcast = <Event extends Pick<StoredEvent, 'type' | 'schemaVersion' | 'data'>>(
  event: Event,
  upcasters: Upcasters,
): Event => {
  let { schemaVersion, data } = event;
  for (;;) {
    const step = upcasters?.[event.type]?.find(({ from }) => from === schemaVersion);
    if (!step) break;
    data = step.upcast(data);
    schemaVersion += 1;
  }
  const newest = newestVersion(event.type, upcasters);
  if (schemaVersion > newest)
    throw new NewerEvent(
      `${event.type} has schema version ${schemaVersion} and this release knows ${newest}: a newer release wrote it; upgrade this service`,
    );
  return schemaVersion === event.schemaVersion ? event : { ...event, schemaVersion, data };
};
