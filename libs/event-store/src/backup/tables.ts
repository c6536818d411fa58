import { STILL_ALIVE } from '../sql/chronicle.sql.js';

/** A part of the log as a backup holds it. */
export interface BackupTable {
  readonly name: string;
  /** Where its rows come from, and which of them. */
  readonly source: string;
  readonly columns: readonly string[];
  /** How they are read, where they are not simply the columns. */
  readonly read?: readonly string[];
}

/** The end of the archive: the chronicle up to there does not follow from what is left of the log. */
const ARCHIVED = '(select coalesce(max(position), 0) from es.archive)';

/**
 * All that can't be made from anything else. Transaction ids are left out: they mean nothing in another cluster. So are the chronicle, which follows
 * from the log, but for what was archived, and views with their checkpoints, which are built again. Of the archive a backup has what the log knows of it: its files lie elsewhere.
 */
export const BACKUP_TABLES: readonly BackupTable[] = [
  {
    name: 'streams',
    source: 'es.streams',
    columns: ['stream_id', 'category', 'version', 'ended', 'has_document'],
  },
  {
    name: 'events',
    source: 'es.events',
    columns: [
      ...['stream_id', 'version', 'seq', 'event_id', 'category', 'type', 'schema_version', 'data', 'meta'],
      'recorded_at',
    ],
  },
  { name: 'positions', source: 'es.event_log', columns: ['position', 'seq'] },
  {
    name: 'documents',
    source: 'es.documents',
    columns: ['stream_id', 'version', 'shape', 'category', 'body'],
  },
  { name: 'document_shapes', source: 'es.document_shapes', columns: ['category', 'shape'] },
  { name: 'shape_turns', source: 'es.shape_turns', columns: ['category', 'since', 'shape'] },
  {
    name: 'commands',
    source: 'es.commands',
    columns: ['command_id', 'request_hash', 'result', 'versions', 'cancelled', 'attempt', 'recorded_at'],
  },
  { name: 'claims', source: 'es.claims', columns: ['scope', 'value', 'holder'] },
  { name: 'timers', source: 'es.timers', columns: ['id', 'due_at', 'subject', 'command'] },
  {
    name: 'checkpoints',
    source: "es.checkpoints where consumer not like 'view/%'",
    columns: ['consumer', 'position', 'epoch'],
  },
  {
    name: 'snapshots',
    source: 'es.snapshots',
    columns: ['stream_id', 'state_version', 'version', 'state'],
  },
  { name: 'archive', source: 'es.archive', columns: ['id', 'location', 'position'] },
  {
    name: 'archive_segments',
    source: 'es.archive_segments',
    columns: [
      ...['last_position', 'first_position', 'name', 'bytes', 'sha256', 'recorded_from', 'recorded_until'],
      ...['link_before', 'link_after', 'removed'],
    ],
  },
  {
    name: 'archive_streams',
    source: 'es.archive_streams',
    columns: ['stream_id', 'last_position', 'first_version', 'last_version'],
  },
  {
    name: 'chain',
    source: `es.chain where position <= ${ARCHIVED}`,
    columns: ['position', 'first_position', 'links', 'recorded_until'],
  },
  {
    name: 'shown',
    source: `es.shown where position <= ${ARCHIVED}`,
    columns: ['stream_id', 'position', 'version'],
  },
  {
    name: 'lives',
    source: `es.lives where born <= ${ARCHIVED}`,
    columns: ['stream_id', 'category', 'namespace', 'name', 'born', 'ended'],
    read: [
      ...['stream_id', 'category', 'namespace', 'name', 'born'],
      `case when ended <= ${ARCHIVED} then ended else ${STILL_ALIVE} end`,
    ],
  },
];

/** Where positions are loaded first: the events' transaction ids, which go with them, are those of the restore. */
export const POSITIONS_STAGE = 'restored_positions';

/** The table that the rows of a part are loaded into. */
export const targetOf = ({ name, source }: BackupTable): string =>
  name === 'positions' ? POSITIONS_STAGE : (source.split(' ')[0] ?? source);
