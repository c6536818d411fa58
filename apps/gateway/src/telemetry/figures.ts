import {
  apiVersionOf,
  DOMAIN_FIGURES_INTERVAL_MS,
  HEARTBEAT_INTERVAL_MS,
  hostKind,
  timestamp,
  virtualMachineKind,
  type DomainFiguresReport,
  type HostMetrics,
  type VirtualMachineMetrics,
} from '@xenolith/contracts';
import { bytesOf, type JsonObject } from '@xenolith/kernel';
import type { CachedObject } from '../cache/cached-object.js';
import { parsed } from '../cache/cached-object.js';
import { HOST_METRICS, MACHINE_METRICS } from '../discovery/index.js';
import type { HostTelemetry } from './telemetry.js';

const KIBIBYTE = 1024;
const MS_PER_SECOND = 1000;

/** Thousandths of a thread, as Kubernetes writes CPU. */
const cores = (threads: number): string => `${Math.round(threads * 1000)}m`;
/** Whole KiB, as metrics.k8s.io writes memory. */
const kibibytes = (bytes: number): string => `${Math.round(bytes / KIBIBYTE)}Ki`;
const seconds = (durationMs: number): string => `${durationMs / MS_PER_SECOND}s`;

const metadataOf = (object: CachedObject, now: number): HostMetrics['metadata'] => {
  const { labels } = (object.index['metadata'] ?? {}) as { labels?: Record<string, string> };
  return {
    name: object.name,
    ...(object.namespace === '' ? {} : { namespace: object.namespace }),
    creationTimestamp: timestamp(now),
    ...(labels === undefined || Object.keys(labels).length === 0 ? {} : { labels }),
  };
};

interface HostDocument {
  readonly status?: { readonly cpus?: number; readonly memory?: string };
}

/** The figures of a host: `beat` is what it said, the object what is known of its hardware. */
export const hostFigures = (object: CachedObject, { beat }: HostTelemetry, now: number): JsonObject => {
  const { status } = parsed(object) as unknown as HostDocument;
  const threads = status?.cpus ?? 0;
  const installed = bytesOf(status?.memory ?? '0');
  const { controlDomain, migrations, sharing } = beat;
  const figures: HostMetrics = {
    metadata: metadataOf(object, now),
    timestamp: timestamp(beat.at),
    window: seconds(HEARTBEAT_INTERVAL_MS),
    usage: { cpu: cores(beat.cpuLoad * threads), memory: kibibytes(Math.max(0, installed - beat.freeMemoryBytes)) },
    capacity: { cpu: String(threads), memory: kibibytes(installed) },
    domains: beat.domains,
    ...(controlDomain && {
      controlDomain: {
        cpu: cores(controlDomain.cpu),
        memory: kibibytes(controlDomain.memoryBytes),
        ...(controlDomain.usedBytes !== undefined && { usedMemory: kibibytes(controlDomain.usedBytes) }),
      },
    }),
    ...(migrations && { migrations }),
    ...(sharing && { sharing: { shared: kibibytes(sharing.sharedBytes), saved: kibibytes(sharing.savedBytes) } }),
  };
  return { kind: HOST_METRICS.kind, apiVersion: apiVersionOf(hostKind), ...figures } as unknown as JsonObject;
};

/** Growth a second between two looks; none where a total went back, as the domain is another one then. */
const growth = (now: number, before: number | undefined, spanMs: number): number | undefined =>
  before === undefined || spanMs <= 0 || now < before
    ? undefined
    : Math.round(((now - before) * MS_PER_SECOND) / spanMs);

/** Devices with what goes over them a second, for the totals that are named. */
const withRates = <Device extends { readonly name: string }>(
  devices: readonly Device[],
  before: readonly Device[] | undefined,
  of: { readonly totals: readonly (keyof Device & string)[]; readonly spanMs: number },
): Device[] =>
  devices.map((device) => {
    const earlier = before?.find(({ name }) => name === device.name);
    const rates = of.totals.flatMap((total) => {
      const rate = growth(device[total] as number, earlier?.[total] as number | undefined, of.spanMs);
      return rate === undefined ? [] : [[`${total}PerSecond`, rate]];
    });
    return { ...device, ...(Object.fromEntries(rates) as object) };
  });

/** The figures of one machine's domain; null when its host did not name it. */
export const machineFigures = (
  object: CachedObject,
  heard: { readonly host: string; readonly telemetry: HostTelemetry; readonly domain: DomainFiguresReport },
  now: number,
): JsonObject => {
  const { domain, telemetry, host } = heard;
  const { uid: _uid, cpu, memoryBytes, nodeBytes, sharedBytes, steal, balloon, disks, nics, ...totals } = domain;
  const before = telemetry.before?.domains.find(({ uid }) => uid === domain.uid);
  const spanMs = telemetry.domainsAt - (telemetry.before?.at ?? telemetry.domainsAt);
  const figures: VirtualMachineMetrics = {
    metadata: metadataOf(object, now),
    timestamp: timestamp(telemetry.domainsAt),
    window: seconds(DOMAIN_FIGURES_INTERVAL_MS),
    host,
    usage: { cpu: cores(cpu), memory: kibibytes(memoryBytes) },
    ...(steal !== undefined && { steal: cores(steal) }),
    ...(nodeBytes && { memoryByNode: nodeBytes.map(kibibytes) }),
    ...(sharedBytes !== undefined && { sharedMemory: kibibytes(sharedBytes) }),
    ...totals,
    ...(balloon && { balloon: { target: kibibytes(balloon.targetBytes), actual: kibibytes(balloon.actualBytes) } }),
    ...(disks && {
      disks: withRates(disks, before?.disks, { totals: ['readBytes', 'writtenBytes'], spanMs }),
    }),
    ...(nics && {
      nics: withRates(nics, before?.nics, { totals: ['receivedBytes', 'sentBytes'], spanMs }),
    }),
  };
  return {
    kind: MACHINE_METRICS.kind,
    apiVersion: apiVersionOf(virtualMachineKind),
    ...figures,
  } as unknown as JsonObject;
};
