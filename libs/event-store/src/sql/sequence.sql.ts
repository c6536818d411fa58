/**
 * Takes over the head of the log: a new epoch, from which on calls of earlier holders are refused. In another cluster than the one the head was
 * written in (after a restore), or after a promotion, transaction ids tell nothing about order any more: a new era begins. Then every event without a
 * position is numbered by `seq` while nobody can append, and windows start again at the present. `log_id` changes with the era, so that feeds
 * filled before it are thrown away.
 */
export const createBeginEpoch = `
create or replace function es.begin_epoch(out epoch bigint, out new_era boolean) language plpgsql
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_head es.seq_head;
  v_cluster text;
  v_numbered bigint := 0;
begin
  select s.system_identifier || '/' || c.timeline_id into v_cluster from pg_control_system() s, pg_control_checkpoint() c;
  select * into v_head from es.seq_head where id = 1 for update;
  new_era := v_head.cluster <> v_cluster or v_head.next_txid > pg_snapshot_xmax(pg_current_snapshot());
  epoch := v_head.epoch + 1;
  if not new_era then
    update es.seq_head h set epoch = v_head.epoch + 1 where h.id = 1;
    return;
  end if;
  lock table es.events in share mode;
  insert into es.event_log (position, txid, seq)
    select v_head.position + row_number() over (order by e.seq), e.txid, e.seq from es.events e
      where not exists (select from es.event_log l where l.seq = e.seq);
  get diagnostics v_numbered = row_count;
  update es.seq_head h set epoch = v_head.epoch + 1, position = v_head.position + v_numbered, cluster = v_cluster,
      log_id = case when v_head.cluster = '' then h.log_id else gen_random_uuid() end,
      next_txid = pg_snapshot_xmin(pg_current_snapshot())
    where h.id = 1;
end $$`;

/**
 * Gives positions to the committed events of one closed window: those with next_txid <= txid < horizon, below which no transaction is open.
 * Within it `seq` is the order, as a transaction with a lower id may have appended later to the same stream.
 *
 * An event stays back while an earlier event of its stream lies beyond the horizon. That happens: T10 begins, X11 begins, T12 appends version 4
 * and commits, T10 appends version 5 and commits while X11 is open. The horizon is 11, version 5 is below it and version 4 is not. The next window
 * then starts at the lowest transaction that stayed back, and what has a position already is passed over.
 *
 * A backlog is taken in parts of about `p_limit` events by lowering the horizon, as a window may end at any transaction id below the
 * first open one. `state` is 'fenced' when a later epoch has begun, 'more' when the horizon was lowered, 'open' when what is left waits for an open
 * transaction, else 'done'.
 */
export const createSequence = `
create or replace function es.sequence(p_epoch bigint, p_limit int, out state text, out head bigint, out numbered bigint)
language plpgsql
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
  v_head es.seq_head;
  v_horizon xid8;
  v_cut xid8;
  v_next xid8;
begin
  select * into v_head from es.seq_head where id = 1 for update;
  head := v_head.position;
  numbered := 0;
  if v_head.epoch <> p_epoch then
    state := 'fenced';
    return;
  end if;
  state := 'done';
  v_horizon := pg_snapshot_xmin(pg_current_snapshot());
  select e.txid into v_cut from es.events e
    where e.txid >= v_head.next_txid and e.txid < v_horizon
      and not exists (select from es.event_log l where l.seq = e.seq)
    order by e.txid offset p_limit limit 1;
  if v_cut is not null and v_cut > v_head.next_txid then
    v_horizon := v_cut;
    state := 'more';
  end if;
  with closed as (
    select e.txid, e.seq, e.stream_id, e.version from es.events e
      where e.txid >= v_head.next_txid and e.txid < v_horizon
        and not exists (select from es.event_log l where l.seq = e.seq)),
  waiting as (
    select c.stream_id, min(c.version) as version from closed c
      join es.events p on p.stream_id = c.stream_id and p.version = c.version - 1
      where p.txid >= v_horizon and not exists (select from es.event_log l where l.seq = p.seq)
      group by c.stream_id),
  judged as (
    select c.txid, c.seq, coalesce(c.version < b.version, true) as ready
      from closed c left join waiting b on b.stream_id = c.stream_id),
  placed as (
    insert into es.event_log (position, txid, seq)
      select v_head.position + row_number() over (order by j.seq), j.txid, j.seq from judged j where j.ready
      returning 1)
  select (select count(*) from placed), (select j.txid from judged j where not j.ready order by j.txid limit 1)
    into numbered, v_next;
  head := v_head.position + numbered;
  update es.seq_head set position = sequence.head, next_txid = coalesce(v_next, v_horizon) where id = 1;
  if state = 'done' and (v_next is not null or exists (select from es.events e where e.txid >= v_horizon)) then
    state := 'open';
  end if;
end $$`;

/** True when every event that committed below `p_txid` has a position. Reads only, so that it takes no transaction id. */
export const createSettled = `
create or replace function es.settled(p_txid xid8) returns boolean language plpgsql stable
-- Not in SQL: that language plans its body at every call, which takes ten times as long as the look.
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
begin
  return (select h.next_txid <= pg_snapshot_xmax(pg_current_snapshot()) and not exists (
    select from es.events e where e.txid >= h.next_txid and e.txid < p_txid
      and not exists (select from es.event_log l where l.seq = e.seq))
  from es.seq_head h where h.id = 1);
end $$`;

/**
 * Ends the connections of write transactions that are older than `p_seconds`, in any database of the cluster, but for `p_spared`. Runs as the owner, whom
 * services' sessions obey.
 */
export const createEndOffenders = `
create or replace function es.end_offenders(p_spared int[], p_seconds double precision,
  out pid int, out datname text, out application_name text, out state text, out query text, out age_ms int, out ended boolean
) returns setof record language sql
security definer set search_path = pg_catalog, pg_temp
as $$
  select a.pid, a.datname::text, a.application_name, a.state, left(a.query, 200),
      round(extract(epoch from clock_timestamp() - a.xact_start) * 1000)::int, pg_terminate_backend(a.pid)
    from pg_stat_activity a
    where a.backend_xid is not null and a.backend_type = 'client backend' and not a.pid = any (p_spared)
      and a.xact_start < clock_timestamp() - make_interval(secs => p_seconds)
$$`;
