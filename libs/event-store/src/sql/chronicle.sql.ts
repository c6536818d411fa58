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

/** From which position on documents of a category are shown in another shape than before: what was shown earlier stays as it was. */
export const createShapeTurns = [
  `create table es.shape_turns (
    category text not null,
    since bigint not null,
    shape integer not null,
    primary key (category, since)
  )`,
  // Of shapes that were activated before this was noted, nobody knows when.
  `insert into es.shape_turns (category, since, shape) select a.category, 0, a.shape from es.document_shapes a`,
];

/** The shape in which documents were shown at a position. */
export const shapeAt = (category: string, position: string): string =>
  `coalesce((select t.shape from es.shape_turns t where t.category = ${category} and t.since <= ${position} order by t.since desc limit 1), 1)`;

/** The active shape of a document first, else the newest. */
export const preferredShape = (alias: string): string =>
  `${alias}.shape = coalesce((select a.shape from es.document_shapes a where a.category = ${alias}.category), 1) desc, ${alias}.shape desc`;

/** What an event's hash is over; `event-chain.ts` says the same for those who verify. */
const CONTENT = `sha256(convert_to(concat_ws(e'\\x1f', l.position, e.stream_id, e.version, e.event_id, e.category, e.type,
  e.schema_version, (extract(epoch from e.recorded_at) * 1000000)::bigint, e.data, e.meta), 'UTF8'))`;

/** What a document shows, by its shape; shapes count from 1. */
const GONE = '0';
const shownBy = (alias: string): string => `case when ${alias}.body is null then ${GONE} else ${alias}.shape end`;

/** The shape in which documents of the event's category are shown now. */
const ACTIVE = `coalesce((v_shapes ->> e.category)::int, 1)`;

/**
 * Category, namespace and name of the document that `t` shows first. Documents begin as we write them, `{"apiVersion":"...","kind":"...","metadata":{"name":"...","namespace":"...",`: then names are cut
 * out of their text, which costs a part of what parsing does. It is safe: a key right before the second brace is one of the whole document, and a quote that no backslash stands before begins or
 * ends a string. What begins in another way is parsed.
 */
const BORN = `
  select d.category, case
      when right(h.outside, 11) = '"metadata":' and starts_with(h.inside, '"name":"' || h.name || '","namespace":"')
        and strpos(h.inside, e'\\\\') = 0 and strpos(h.rest, '"') > 0
      then array[split_part(h.rest, '"', 1), h.name]
      else array[d.body -> 'metadata' ->> 'namespace', d.body -> 'metadata' ->> 'name'] end as names
    from (select d.category, d.body, d.body::text as text from es.documents d
      where d.stream_id = t.stream_id and d.version = t.version and d.shape = t.shape offset 0) d
    cross join lateral (select split_part(d.text, '{', 2) as outside, split_part(d.text, '{', 3) as inside offset 0) p
    cross join lateral (select p.outside, p.inside, split_part(p.inside, '"', 4) as name,
      split_part(p.inside, '","namespace":"', 2) as rest offset 0) h`;

/**
 * Takes the chronicle up to `p_limit` positions further, not beyond the head. Everything is read before anything is written: a transaction gets
 * its id with its first write, and holds the sequencer back from there on. Answers how far it got; a null `reached` says that another process was
 * faster.
 *
 * Every event of the platform pays for each look that this takes: events and documents are walked once, and only what comes or goes is looked at closely.
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
  v_links bytea[];
  v_streams uuid[];
  v_versions bigint[];
  v_positions bigint[];
  v_shown int[];
  v_turns record;
  v_shapes jsonb;
begin
  select c.position, c.link, c.recorded_until into v_from, v_link, v_until from es.chronicle c where c.id = 1;
  select h.position into head from es.seq_head h where h.id = 1;
  reached := least(head, v_from + p_limit);
  if reached <= v_from then
    reached := v_from;
    return;
  end if;

  select jsonb_object_agg(a.category, a.shape) into v_shapes from es.document_shapes a;
  select array_agg(c.content order by c.position), max(c.recorded_at),
      array_agg(c.stream_id order by c.position) filter (where c.shape is not null),
      array_agg(c.version order by c.position) filter (where c.shape is not null),
      array_agg(c.position order by c.position) filter (where c.shape is not null),
      array_agg(c.shape order by c.position) filter (where c.shape is not null)
    into v_links, v_newest, v_streams, v_versions, v_positions, v_shown
    from (select l.position, e.recorded_at, e.stream_id, e.version, ${CONTENT} as content,
        case when d.shape = ${ACTIVE} then ${shownBy('d')}
          when d.shape is not null then coalesce((select ${shownBy('n')} from es.documents n where n.stream_id = e.stream_id
            and n.version = e.version and n.shape = ${ACTIVE}), ${shownBy('d')}) end as shape
      from (select * from es.event_log where position > v_from and position <= reached order by position limit p_limit) l
      join es.events e on e.txid = l.txid and e.seq = l.seq
      -- Most documents have one shape: the newest is the one that is shown.
      left join lateral (select n.shape, n.body from es.documents n where n.stream_id = e.stream_id and n.version = e.version
        order by n.shape desc limit 1) d on true
      -- So that each of these is computed once, not once for each column above.
      offset 0) c;
  if coalesce(cardinality(v_links), 0) <> reached - v_from then
    raise exception 'the log has % events from position % to %', coalesce(cardinality(v_links), 0), v_from + 1, reached;
  end if;
  -- In its place: bytes that grow are copied at each turn.
  for v_at in 1 .. cardinality(v_links) loop
    v_link := sha256(v_link || v_links[v_at]);
    v_links[v_at] := v_link;
  end loop;

  with shown as (
    select u.*, u.shape > ${GONE} as alive, coalesce(lag(u.shape) over (partition by u.stream_id order by u.position) > ${GONE},
        -- As a value, not by "exists": that is answered by a table of all that is alive, made anew for each step.
        (select true from es.lives v where v.stream_id = u.stream_id and v.ended = ${STILL_ALIVE} limit 1), false) as before
      from unnest(v_streams, v_versions, v_positions, v_shown) as u(stream_id, version, position, shape)),
  turned as (
    select t.*, o.category, o.names from shown t left join lateral (${BORN}) o on t.alive where t.alive <> t.before)
  select
      array_agg(t.stream_id) filter (where t.alive) as born_id, array_agg(t.category) filter (where t.alive) as born_category,
      array_agg(coalesce(t.names[1], '')) filter (where t.alive) as born_namespace,
      array_agg(coalesce(t.names[2], '')) filter (where t.alive) as born_name,
      array_agg(t.position) filter (where t.alive) as born_at,
      array_agg(t.stream_id) filter (where not t.alive) as ended_id, array_agg(t.position) filter (where not t.alive) as ended_at
    into v_turns from turned t;

  -- What a crash of the server takes away follows from the log again.
  perform set_config('synchronous_commit', 'off', true);
  update es.chronicle c set position = reached, link = v_link, recorded_until = greatest(v_until, v_newest)
    where c.id = 1 and c.position = v_from;
  if not found then
    reached := null;
    return;
  end if;
  insert into es.chain (position, first_position, links, recorded_until)
    select reached, v_from + 1, string_agg(u.link, ''::bytea order by u.place), greatest(v_until, v_newest)
      from unnest(v_links) with ordinality as u(link, place);
  insert into es.shown (stream_id, position, version) select u.stream_id, u.position, u.version
    from unnest(v_streams, v_versions, v_positions, v_shown) as u(stream_id, version, position, shape) where u.shape > ${GONE};
  insert into es.lives (stream_id, category, namespace, name, born)
    select * from unnest(v_turns.born_id, v_turns.born_category, v_turns.born_namespace, v_turns.born_name, v_turns.born_at);
  update es.lives v set ended = u.position from unnest(v_turns.ended_id, v_turns.ended_at) as u(stream_id, position)
    where v.stream_id = u.stream_id and v.ended = ${STILL_ALIVE} and v.born < u.position;
end $$`;
