import { describeComputeEvent } from '@xenolith/compute';
import type { StoredEvent } from '@xenolith/kernel';
import { describeNetworkEvent } from '@xenolith/network';
import { describeSchedulingEvent } from '@xenolith/scheduling';
import { describeStorageEvent } from '@xenolith/storage';
import { describeTenancyEvent } from '@xenolith/tenancy';
import type { EventDescription } from './events/event-view.js';

/** What an event of any domain is to people; null: not worth a line. */
export const describeEvent = (event: StoredEvent): EventDescription | null =>
  describeComputeEvent(event) ??
  describeStorageEvent(event) ??
  describeNetworkEvent(event) ??
  describeSchedulingEvent(event) ??
  describeTenancyEvent(event);
