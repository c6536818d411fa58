import { hostProfiles } from '@xenolith/contracts';
import { z } from 'zod';

/** The newest form of backups that this release reads and writes; docs/operations/backup-and-restore.md describes it. */
export const FORMAT_VERSION = 1;
export const HEADER_FILE = 'xenolith-backup.json';
export const MANIFEST_FILE = 'manifest.json';

/** First in the file, so that a reader knows at once whether it can go on. */
export const headerSchema = z.object({
  format: z.literal('xenolith-backup'),
  formatVersion: z.int().min(1),
});

/** What the platform was made as; nothing in it is a secret. */
export const backedUpSettings = z.object({
  hosts: z.int().min(0),
  kvmHosts: z.int().min(0).optional(),
  hostProfiles: hostProfiles.optional(),
  bootTimeSeconds: z.number().min(0).optional(),
  seed: z.int(),
  port: z.int().min(1).max(65_535),
  starterInventory: z.string().optional(),
});
export type BackedUpSettings = z.infer<typeof backedUpSettings>;

/** Last in the file: what there must be, and that it is whole. */
export const manifestSchema = z.object({
  createdAt: z.iso.datetime(),
  /** The newest position of the log. */
  position: z.int().min(0),
  events: z.int().min(0),
  logId: z.uuid(),
  schemaRevision: z.int().min(0),
  /** The link of the log's chain of hashes at the position that it had reached. */
  chain: z.object({ position: z.int().min(0), link: z.string().regex(/^[0-9a-f]{64}$/) }),
  settings: backedUpSettings,
  /** Rows by part of the log. */
  rows: z.record(z.string(), z.int().min(0)),
  files: z.array(z.object({ name: z.string(), bytes: z.int().min(0), sha256: z.string().regex(/^[0-9a-f]{64}$/) })),
});
export type Manifest = z.infer<typeof manifestSchema>;

/** `log/events-000001.copy`: part of the log, a piece of it. */
export const chunkName = (table: string, number: number): string =>
  `log/${table}-${String(number).padStart(6, '0')}.copy`;

/** The part of the log that a file is of; undefined: it is none. */
export const tableOf = (name: string): string | undefined => /^log\/([a-z_]+)-\d{6}\.copy$/.exec(name)?.[1];

/** The agent's file that it is; undefined: it is none. */
export const agentFileOf = (name: string): string | undefined =>
  /^agent\/((?:journal|snapshot)-\d{8}\.jsonl)$/.exec(name)?.[1];
