/**
 * What is known of events that were archived: where, in which files, and which streams' events are in each. `position` is the end of the archive: all events up to there are in its
 * files. Each segment ends where a block of the chain of hashes does.
 */
export const createArchive = [
  `create table es.archive (
    id integer primary key check (id = 1),
    location text not null,
    position bigint not null
  )`,
  `create table es.archive_segments (
    last_position bigint primary key,
    first_position bigint not null,
    name text not null,
    bytes bigint not null,
    sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    recorded_from timestamptz not null,
    recorded_until timestamptz not null,
    link_before text not null,
    link_after text not null,
    removed boolean not null default false
  )`,
  `create table es.archive_streams (
    stream_id uuid not null,
    last_position bigint not null,
    first_version bigint not null,
    last_version bigint not null,
    primary key (stream_id, last_position)
  )`,
  `create index archive_streams_by_segment on es.archive_streams (last_position, stream_id)`,
];

/** The schema revision whose code knows of archives: older code would take a log without its beginning for a whole one. */
export const ARCHIVE_REVISION = 3;

/** The setting under which a removal names the segment that holds the events. It lasts for one transaction of `es.remove_archived`. */
const REMOVING = 'xenolith.archived_segment';

/**
 * Stored events are never changed, and removed only where a registered segment holds them: `es.remove_archived` names its hash. By hand nobody does so by mistake, and
 * services have no right to delete anyway.
 */
export const createRefuseChange = `
create or replace function es.refuse_change() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' and tg_table_name in ('events', 'event_log') and exists (
      select from es.archive_segments s where s.sha256 = current_setting('${REMOVING}', true)) then
    return null;
  end if;
  raise exception '% on %.% is refused: stored events are never changed', tg_op, tg_table_schema, tg_table_name;
end $$`;

const linkAt = (
  position: string,
): string => `(select encode(substr(c.links, ((${position}) - c.first_position)::int * 32 + 1, 32), 'hex')
    from es.chain c where c.position >= (${position}) and c.first_position <= (${position}) order by c.position limit 1)`;

/**
 * Records that the next segment of the archive is whole: its links must be those of the chain. Which streams it has events of is read from the log itself. Runs with the rights of the
 * caller, as all of the archive does: the owner. Everything is read before anything is written: a transaction holds the sequencer back from its first write on.
 */
export const createRegisterSegment = `
create or replace function es.register_segment(p_location text, p_first bigint, p_last bigint, p_name text, p_bytes bigint,
  p_sha256 text, p_link_before text, p_link_after text) returns void language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  v_position bigint := coalesce((select a.position from es.archive a where a.id = 1), 0);
  v_events bigint;
  v_from timestamptz;
  v_until timestamptz;
  v_streams uuid[];
  v_firsts bigint[];
  v_lasts bigint[];
begin
  if p_first <> v_position + 1 or p_last < p_first then
    raise exception 'the archive ends at %, segment % holds % to %', v_position, p_name, p_first, p_last;
  end if;
  if ${linkAt('p_last')} is distinct from p_link_after
    or (p_first > 1 and ${linkAt('p_first - 1')} is distinct from p_link_before) then
    raise exception 'segment % does not fit into the chain of hashes', p_name;
  end if;
  select sum(s.events), min(s.recorded_from), max(s.recorded_until), array_agg(s.stream_id), array_agg(s.first), array_agg(s.last)
    into v_events, v_from, v_until, v_streams, v_firsts, v_lasts
    from (select e.stream_id, count(*) as events, min(e.recorded_at) as recorded_from, max(e.recorded_at) as recorded_until,
        min(e.version) as first, max(e.version) as last
      from (select * from es.event_log where position >= p_first and position <= p_last order by position limit p_last - p_first + 1) l
      join es.events e on e.txid = l.txid and e.seq = l.seq group by e.stream_id) s;
  if v_events is distinct from p_last - p_first + 1 then
    raise exception 'the log has % events from position % to %', coalesce(v_events, 0), p_first, p_last;
  end if;
  insert into es.archive (id, location, position) values (1, p_location, p_last)
    on conflict (id) do update set position = excluded.position where es.archive.position = v_position;
  if not found then
    raise exception 'the archive was changed by another run meanwhile';
  end if;
  insert into es.archive_streams (stream_id, last_position, first_version, last_version)
    select u.stream_id, p_last, u.first, u.last from unnest(v_streams, v_firsts, v_lasts) as u(stream_id, first, last);
  insert into es.archive_segments (last_position, first_position, name, bytes, sha256, recorded_from, recorded_until, link_before, link_after)
    values (p_last, p_first, p_name, p_bytes, p_sha256, v_from, v_until, p_link_before, p_link_after);
  update es.applied set hash = '${ARCHIVE_REVISION}' where name = 'oldest_revision' and hash::int < ${ARCHIVE_REVISION};
end $$`;

/**
 * Removes events that loading needs no more, of streams that segment `p_last` has events of, some `p_limit` at a time: of streams that ended, of objects that are gone, and what a
 * snapshot covers. The newest archived event of each stream stays, so that whoever reads a stream sees from the versions that older ones are elsewhere, and newest documents keep
 * their position. `after` is where the next call goes on, null when the segment is done.
 */
export const createRemoveArchived = `
create or replace function es.remove_archived(p_last bigint, p_sha256 text, p_after uuid, p_limit int, out removed int, out after uuid)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  v_seqs bigint[];
  v_streams uuid[];
  v_versions bigint[];
begin
  if not exists (select from es.archive_segments s where s.last_position = p_last and s.sha256 = p_sha256) then
    raise exception 'no segment up to position % has the hash %', p_last, p_sha256;
  end if;
  select array_agg(d.stream_id order by d.stream_id, d.version), array_agg(d.version order by d.stream_id, d.version), array_agg(d.seq)
    into v_streams, v_versions, v_seqs
    from (select e.stream_id, e.version, e.seq
      from (select * from es.archive_streams where last_position = p_last and stream_id >= p_after order by stream_id) a
      join es.streams s on s.stream_id = a.stream_id
      cross join lateral (select case
          when s.ended then a.last_version - 1
          when not s.has_document and exists (select from es.documents d
            where d.stream_id = s.stream_id and d.version = s.version and d.body is null) then a.last_version - 1
          else least(a.last_version - 1, coalesce((select n.version from es.snapshots n where n.stream_id = a.stream_id
            order by n.state_version desc limit 1), 0)) end as version) upto
      cross join lateral (select v.stream_id, v.version, v.seq from es.events v
        where v.stream_id = a.stream_id and v.version <= upto.version order by v.version limit p_limit) e
      order by e.stream_id, e.version limit p_limit) d;
  removed := coalesce(cardinality(v_seqs), 0);
  if removed > 0 then
    perform set_config('${REMOVING}', p_sha256, true);
    delete from es.event_log l where l.seq = any (v_seqs);
    delete from es.events e using unnest(v_streams, v_versions) as u(stream_id, version)
      where e.stream_id = u.stream_id and e.version = u.version;
    perform set_config('${REMOVING}', '', true);
  end if;
  if removed = p_limit then
    after := v_streams[removed];
  else
    update es.archive_segments set removed = true where last_position = p_last;
  end if;
end $$`;
