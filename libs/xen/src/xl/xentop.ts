import { decimal, lines, right } from './columns.js';
import type { DomainFacts } from './views.js';

/** What `xentop` shows of a domain beyond the list's facts. Sums over its devices. */
export interface TopFacts extends DomainFacts {
  /** Busy since the last sample, in percent of one CPU; 0 in the first. */
  readonly cpuPercent: number;
  readonly nics: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly disks: number;
  /** `outOf`: how often the ring had no room for a request. */
  readonly requests: {
    readonly outOf: number;
    readonly reads: number;
    readonly writes: number;
    readonly readSectors: number;
    readonly writtenSectors: number;
  };
  readonly ssid: number;
}

const HEADERS = [
  ...['NAME', 'STATE', 'CPU(sec)', 'CPU(%)', 'MEM(k)', 'MEM(%)', 'MAXMEM(k)', 'MAXMEM(%)', 'VCPUS', 'NETS'],
  ...['NETTX(k)', 'NETRX(k)', 'VBDS', 'VBD_OO', 'VBD_RD', 'VBD_WR', 'VBD_RSECT', 'VBD_WSECT', 'SSID'],
];
const WIDTHS = [10, 6, 10, 6, 10, 6, 10, 9, 5, 4, 8, 8, 4, 8, 8, 8, 10, 10, 4];

const stateOf = (domain: DomainFacts): string =>
  [
    domain.dying ? 'd' : '-',
    domain.shutdown === null ? '-' : 's',
    domain.blocked ? 'b' : '-',
    domain.shutdown === 'crash' ? 'c' : '-',
    domain.paused ? 'p' : '-',
    domain.running ? 'r' : '-',
  ].join('');

/** A domain without a bound on its memory, such as Dom0: its pages are counted in 64 bits, all set. */
const isUnlimited = (domain: TopFacts): boolean => !Number.isFinite(domain.maxMemoryKib);

const cellsOf = (domain: TopFacts, hostKib: number): string[] => {
  const { requests } = domain;
  return [
    (domain.name ?? '').slice(0, 10),
    stateOf(domain),
    String(Math.floor(domain.cpuTimeNs / 1e9)),
    decimal(domain.cpuPercent, 6),
    String(domain.memoryKib),
    decimal((domain.memoryKib / hostKib) * 100, 6),
    isUnlimited(domain) ? 'no limit' : String(domain.maxMemoryKib),
    isUnlimited(domain) ? 'n/a' : decimal((domain.maxMemoryKib / hostKib) * 100, 9),
    String(domain.vcpusOnline),
    String(domain.nics),
    String(Math.floor(domain.sentBytes / 1024)),
    String(Math.floor(domain.receivedBytes / 1024)),
    String(domain.disks),
    ...[requests.outOf, requests.reads, requests.writes].map(String),
    ...[requests.readSectors, requests.writtenSectors, domain.ssid].map(String),
  ];
};

/** Columns that grow with their figures (`adjust_field_widths`): traffic, requests and sectors. */
const GROWING = new Set([10, 11, 14, 15, 16, 17]);

/** `xentop -b -i 1` (`xl top` in batch mode; tools/xentop/xentop.c): one table, by domid. `hostKib`: the memory of the host. */
export const topText = (domains: readonly TopFacts[], hostKib: number): string => {
  if (domains.length === 0) return '';
  const rows = [...domains].sort((one, other) => one.domid - other.domid).map((domain) => cellsOf(domain, hostKib));
  const widths = WIDTHS.map((width, column) =>
    GROWING.has(column) ? rows.reduce((most, row) => Math.max(most, row[column]?.length ?? 0), width) : width,
  );
  const line = (cells: readonly string[]): string =>
    cells.map((cell, column) => right(cell, widths[column] ?? 0)).join(' ');
  return lines([line(HEADERS), ...rows.map(line)]);
};
