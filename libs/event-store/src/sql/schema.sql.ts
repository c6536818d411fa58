/**
 * The tables of the log. Everything but `streams`, `claims`, `timers`, `checkpoints` and the one row of `seq_head` is insert-only. `data`, `meta`
 * and `body` are `json`, not `jsonb`: they are never searched, and text that is stored as it came costs less to write and to read.
 */
export const createTables = [
  `create schema if not exists es`,
  `create table es.streams (
    stream_id uuid primary key,
    category text not null,
    version bigint not null,
    ended boolean not null default false,
    has_document boolean not null default false
  ) with (fillfactor = 80)`,
  `create index streams_with_document on es.streams (category) where has_document`,
  `create sequence es.event_seq cache 1`,
  `create table es.events (
    stream_id uuid not null,
    version bigint not null,
    seq bigint not null,
    txid xid8 not null default pg_current_xact_id(),
    event_id uuid not null,
    category text not null,
    type text not null,
    schema_version integer not null,
    data json not null,
    meta json not null,
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (stream_id, version)
  )`,
  `create unique index events_by_transaction on es.events (txid, seq)`,
  `create table es.event_log (position bigint primary key, txid xid8 not null, seq bigint not null unique)`,
  `create table es.documents (
    stream_id uuid not null,
    version bigint not null,
    shape integer not null,
    category text not null,
    body json,
    primary key (stream_id, version, shape)
  )`,
  `create table es.document_shapes (category text primary key, shape integer not null)`,
  `create table es.commands (
    command_id uuid primary key,
    request_hash text not null,
    result json not null,
    versions json not null,
    cancelled boolean not null default false,
    attempt uuid,
    recorded_at timestamptz not null default clock_timestamp()
  )`,
  // A claim without a holder exists only inside the transaction that is about to decide on it.
  `create table es.claims (scope text not null, value text not null, holder uuid, primary key (scope, value))`,
  `create table es.timers (id uuid primary key, due_at bigint not null, subject text not null, command json not null)`,
  `create index timers_by_due on es.timers (due_at, id)`,
  `create table es.seq_head (
    id integer primary key check (id = 1),
    epoch bigint not null,
    position bigint not null,
    next_txid xid8 not null,
    cluster text not null,
    log_id uuid not null
  )`,
  `insert into es.seq_head (id, epoch, position, next_txid, cluster, log_id)
   values (1, 0, 0, '0', '', gen_random_uuid())`,
  `create table es.checkpoints (
    consumer text primary key,
    position bigint not null default 0,
    epoch bigint not null default 0
  ) with (fillfactor = 50)`,
  `create table es.snapshots (
    stream_id uuid not null,
    state_version integer not null,
    version bigint not null,
    state json not null,
    primary key (stream_id, state_version)
  )`,
  `create table es.views (
    name text primary key,
    version integer not null
  )`,
];

/** What was decided is never edited: not by mistake and not by a tool. */
export const forbidChanges = [
  `create function es.refuse_change() returns trigger language plpgsql as $$
   begin
     raise exception '% on %.% is refused: stored events are never changed', tg_op, tg_table_schema, tg_table_name;
   end $$`,
  ...['events', 'event_log'].map(
    (table) =>
      `create trigger refuse_change before update or delete or truncate on es.${table}
       for each statement execute function es.refuse_change()`,
  ),
];
