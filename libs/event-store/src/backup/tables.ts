/** A part of the log as a backup holds it. */
export interface BackupTable {
  readonly name: string;
  /** Where its rows come from, and which of them. */
  readonly source: string;
  readonly columns: readonly string[];
}

/**
 * All that can't be made from anything else. Transaction ids are left out: they mean nothing in another cluster. So are the chronicle, which follows
 * from the log, and views with their checkpoints, which are built again.
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
];

/** Where positions are loaded first: the events' transaction ids, which go with them, are those of the restore. */
export const POSITIONS_STAGE = 'restored_positions';

/** The table that the rows of a part are loaded into. */
export const targetOf = ({ name, source }: BackupTable): string =>
  name === 'positions' ? POSITIONS_STAGE : (source.split(' ')[0] ?? source);
