import type { ServiceName } from './resource.js';

/** Where commands of a service are sent: `cmd.compute.ChangeVirtualMachine`. */
export const commandSubject = (service: ServiceName, commandType: string): string => `cmd.${service}.${commandType}`;

/** Where a host's agent listens: `agent.host-0001.StartDomain`. */
export const agentSubject = (hostName: string, commandType: string): string => `agent.${hostName}.${commandType}`;

/** Where a service answers what it knows, and changes nothing: `query.scheduler.ListFailoverPlans`. */
export const querySubject = (service: ServiceName, query: string): string => `query.${service}.${query}`;

/** Where the instances of a service tell each other that they are there. */
export const membershipSubject = (service: ServiceName): string => `membership.${service}`;

/** Lossy figures of a host, once per heartbeat. */
export const telemetrySubject = (hostName: string): string => `telemetry.${hostName}`;

/** The JetStream stream that caches the newest part of the log, and its only subject. */
export const FEED_STREAM = 'LOG';
export const FEED_SUBJECT = 'log.batches';

/** On which appenders say that they have committed; its messages are empty. */
export const APPENDED_SUBJECT = 'log.appended';

/** What the inboxes of a user of the bus begin with: nobody else may listen there. */
export const inboxPrefix = (user: string): string => `_INBOX.${user}`;

/** The fleet of an agent that is the only one. */
export const DEFAULT_FLEET = 'default';

/** The user of the bus that a fleet's agent is. */
export const agentUser = (fleet: string): string => `agent.${fleet}`;
