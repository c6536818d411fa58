/** Stands for "not yet" in `es.lives.ended`: positions never get there. */
export const STILL_ALIVE = '9223372036854775807';

/**
 * What is kept beside the log so that the past can be read without walking through it: from when to when each object was shown and under which name, where
 * each of its documents was left, and the chain of hashes over all events with the newest time of recording up to each place. All of it follows from the log. Names sort by bytes.
 */
export const createChronicle = [
  `create table es.lives (
    stream_id uuid not null,
    category text not null,
    namespace text collate "C" not null,
    name text collate "C" not null,
    born bigint not null,
    ended bigint not null default ${STILL_ALIVE},
    primary key (stream_id, born)
  ) with (fillfactor = 80)`,
  // An index only is read while a list is walked; the row itself only of what was alive then.
  `create index lives_by_name on es.lives (category, namespace, name, born) include (ended, stream_id)`,
  // Where each document was left: an index alone tells which one a stream showed at a position.
  `create table es.shown (
    stream_id uuid not null,
    position bigint not null,
    version bigint not null
  )`,
  `create unique index shown_by_stream on es.shown (stream_id, position) include (version)`,
  // A link for each event, 32 bytes, one after the other. Positions from `first_position` to `position`.
  `create table es.chain (
    position bigint primary key,
    first_position bigint not null,
    links bytea not null,
    recorded_until timestamptz not null
  )`,
  // Hashes don't get smaller.
  `alter table es.chain alter column links set storage external`,
  `create index chain_by_time on es.chain (recorded_until, position)`,
  `create table es.chronicle (
    id integer primary key check (id = 1),
    position bigint not null,
    link bytea not null,
    recorded_until timestamptz not null
  ) with (fillfactor = 50)`,
  `insert into es.chronicle (id, position, link, recorded_until)
   values (1, 0, decode(repeat('00', 32), 'hex'), '-infinity')`,
  `create trigger refuse_change before update or delete or truncate on es.chain
   for each statement execute function es.refuse_change()`,
];

/** The active shape of a document first, else the newest. */
export const preferredShape = (alias: string): string =>
  `${alias}.shape = coalesce((select a.shape from es.document_shapes a where a.category = ${alias}.category), 1) desc, ${alias}.shape desc`;

/** What an event's hash is over; `event-chain.ts` says the same for those who verify. */
const CONTENT = `sha256(convert_to(concat_ws(e'\\x1f', l.position, e.stream_id, e.version, e.event_id, e.category, e.type,
  e.schema_version, (extract(epoch from e.recorded_at) * 1000000)::bigint, e.data::text, e.meta::text), 'UTF8'))`;

/**
 * Takes the chronicle up to `p_limit` positions further, not beyond the head. Everything is read before anything is written: a transaction gets
 * its id with its first write, and holds the sequencer back from there on. Answers how far it got; a null `reached` says that another process was
 * faster.
 */
export const createChronicleStep = `
create or replace function es.chronicle_step(p_limit int, out reached bigint, out head bigint) language plpgsql
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
  v_from bigint;
  v_link bytea;
  v_until timestamptz;
  v_newest timestamptz;
  v_contents bytea[];
  v_content bytea;
  v_links bytea := '';
  v_shown record;
begin
  select c.position, c.link, c.recorded_until into v_from, v_link, v_until from es.chronicle c where c.id = 1;
  select h.position into head from es.seq_head h where h.id = 1;
  reached := least(head, v_from + p_limit);
  if reached <= v_from then
    reached := v_from;
    return;
  end if;

  select array_agg(c.content order by c.position), max(c.recorded_at) into v_contents, v_newest
    from (select l.position, e.recorded_at, ${CONTENT} as content
      from (select * from es.event_log where position > v_from and position <= reached order by position limit p_limit) l
      join es.events e on e.txid = l.txid and e.seq = l.seq) c;
  if coalesce(cardinality(v_contents), 0) <> reached - v_from then
    raise exception 'the log has % events from position % to %', coalesce(cardinality(v_contents), 0), v_from + 1, reached;
  end if;
  foreach v_content in array v_contents loop
    v_link := sha256(v_link || v_content);
    v_links := v_links || v_link;
  end loop;

  select
      array_agg(c.stream_id) filter (where c.alive) as id, array_agg(c.position) filter (where c.alive) as at,
      array_agg(c.version) filter (where c.alive) as version,
      array_agg(c.stream_id) filter (where c.alive and not c.before) as born_id,
      array_agg(c.category) filter (where c.alive and not c.before) as born_category,
      array_agg(coalesce(c.metadata ->> 'namespace', '')) filter (where c.alive and not c.before) as born_namespace,
      array_agg(coalesce(c.metadata ->> 'name', '')) filter (where c.alive and not c.before) as born_name,
      array_agg(c.position) filter (where c.alive and not c.before) as born_at,
      array_agg(c.stream_id) filter (where c.before and not c.alive) as ended_id,
      array_agg(c.position) filter (where c.before and not c.alive) as ended_at
    into v_shown
    from (
      select d.position, d.stream_id, d.version, d.category, d.alive, d.metadata,
          coalesce(lag(d.alive) over (partition by d.stream_id order by d.position),
            exists (select from es.lives v where v.stream_id = d.stream_id and v.ended = ${STILL_ALIVE})) as before
        from (
          select l.position, e.stream_id, e.version, o.category, o.body is not null as alive, o.body -> 'metadata' as metadata
            from (select * from es.event_log where position > v_from and position <= reached order by position limit p_limit) l
            join es.events e on e.txid = l.txid and e.seq = l.seq
            join lateral (select c.category, c.body from es.documents c
              where c.stream_id = e.stream_id and c.version = e.version order by ${preferredShape('c')} limit 1) o on true) d) c;

  -- What a crash of the server takes away follows from the log again.
  perform set_config('synchronous_commit', 'off', true);
  update es.chronicle c set position = reached, link = v_link, recorded_until = greatest(v_until, v_newest)
    where c.id = 1 and c.position = v_from;
  if not found then
    reached := null;
    return;
  end if;
  insert into es.chain (position, first_position, links, recorded_until)
    values (reached, v_from + 1, v_links, greatest(v_until, v_newest));
  insert into es.shown (stream_id, position, version) select * from unnest(v_shown.id, v_shown.at, v_shown.version);
  insert into es.lives (stream_id, category, namespace, name, born)
    select * from unnest(v_shown.born_id, v_shown.born_category, v_shown.born_namespace, v_shown.born_name, v_shown.born_at);
  update es.lives v set ended = u.position from unnest(v_shown.ended_id, v_shown.ended_at) as u(stream_id, position)
    where v.stream_id = u.stream_id and v.ended = ${STILL_ALIVE} and v.born < u.position;
end $$`;
