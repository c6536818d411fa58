import type { ServiceName } from './resource.js';

/** Where commands of a service are sent: `cmd.compute.ChangeVirtualMachine`. */
export const commandSubject = (service: ServiceName, commandType: string): string => `cmd.${service}.${commandType}`;

/** Where a host's agent listens: `agent.host-0001.StartDomain`. */
export const agentSubject = (hostName: string, commandType: string): string => `agent.${hostName}.${commandType}`;

/** Lossy figures of a host, once per heartbeat. */
export const telemetrySubject = (hostName: string): string => `telemetry.${hostName}`;

/** The sequencer's wake-up, sent by appenders after their commit. */
export const LOG_APPENDED_SUBJECT = 'log.appended';

/** Subject and stream of the log's feed. */
export const LOG_FEED_SUBJECT = 'log.feed';
export const LOG_FEED_STREAM = 'LOG';
