/** Raised when another transaction recorded one of our command ids first: nothing was written, the same call again sees its result. */
export const COMMAND_RACE = 'XE001';

/**
 * The group commit: many append requests in one transaction, each with a verdict of its own, as if they had come one after the other.
 *
 * All locks are taken first and always in the same order, so that calls never wait for each other in a circle: streams by id, claim keys by
 * the order the caller sorted them in, command ids at the end. Then the verdicts are computed on arrays, and what was accepted is written
 * set by set. `seq` is drawn after the stream locks are held, so that within a stream it rises with the version.
 *
 * Arrays are parallel. A write names its stream by its place in `p_streams` (sorted, distinct), a claim its key by its place in the `p_key_` arrays
 * (sorted, distinct; mode 0 is require, 1 release, 2 claim), events and documents their write, writes and timers their request. `p_expected` is -1 for any
 * version. `p_created` are the streams that may be new. Lists of JSON texts are joined by the unit separator, which JSON never holds unescaped:
 * splitting them costs a third of what `json_to_recordset` does.
 */
export const createAppend = `
create or replace function es.append(
  p_commands uuid[], p_hashes text[], p_attempts uuid[], p_results text, p_metas text,
  p_streams uuid[], p_stream_category text[], p_created uuid[], p_created_category text[],
  p_write_request int[], p_write_stream int[], p_expected bigint[], p_count int[],
  p_ends boolean[], p_has_document boolean[], p_shape int[],
  p_event_write int[], p_event_index int[], p_event_id uuid[], p_event_type text[], p_event_schema int[], p_event_data text,
  p_document_write int[], p_document_body text,
  p_key_scope text[], p_key_value text[], p_key_mode int[],
  p_claim_request int[], p_claim_key int[], p_claim_op int[], p_claim_holder uuid[],
  p_timers json, p_cancel_request int[], p_cancel_id uuid[],
  out bases bigint[], out refusals json
) language plpgsql
-- Nobody but the owner may write events: services call this.
security definer set search_path = pg_catalog, pg_temp
-- Tables grow faster than statistics do; a plan made while they were small must not scan them later.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
  n_requests int := cardinality(p_commands);
  n_writes int := cardinality(p_write_request);
  n_keys int := cardinality(p_key_scope);
  n_claims int := cardinality(p_claim_request);
  v_version bigint[];
  v_ended boolean[];
  v_shown boolean[];
  v_known boolean[] := array_fill(false, array[n_requests]);
  v_accepted boolean[] := array_fill(false, array[n_requests]);
  v_versions text[] := array_fill(''::text, array[n_requests]);
  v_tombstone boolean[] := array_fill(false, array[n_writes]);
  v_tombstones int := 0;
  v_new int := 0;
  v_accepts int := 0;
  v_before uuid[] := array_fill(null::uuid, array[n_keys]);
  v_holder uuid[];
  v_saved uuid[];
  v_refusals json[] := '{}';
  v_row record;
  v_text text;
  v_one uuid;
  v_failed boolean;
  w int := 1;
  k int := 1;
  w_first int;
  s int;
  v_count int;
  v_metas text[] := string_to_array(p_metas, e'\\x1f');
begin
  bases := array_fill(-1::bigint, array[n_writes]);

  -- Streams: a row for each that is new, then a lock on all of them in order.
  loop
    if cardinality(p_created) > 0 then
      insert into es.streams (stream_id, category, version)
        select u.stream_id, u.category, 0 from unnest(p_created, p_created_category) as u(stream_id, category)
        on conflict do nothing;
      get diagnostics v_count = row_count;
      v_new := v_new + v_count;
    end if;
    select array_agg(l.version), array_agg(l.ended), array_agg(l.has_document) into v_version, v_ended, v_shown
      from (select t.version, t.ended, t.has_document from es.streams t
            where t.stream_id = any (p_streams) order by t.stream_id for update) l;
    exit when coalesce(cardinality(v_version), 0) = cardinality(p_streams);
    -- A stream whose exact version was stated does not exist: give it a row for the time being, so that it has its place.
    p_created := p_streams;
    p_created_category := p_stream_category;
  end loop;

  -- Claim keys, in the caller's order. A key that was released while we waited for it is gone: make its row again.
  for i in 1 .. n_keys loop
    loop
      if p_key_mode[i] = 2 then
        insert into es.claims (scope, value) values (p_key_scope[i], p_key_value[i]) on conflict do nothing;
        -- A row that we made is ours until we commit: there is nothing to lock and nobody who holds it.
        v_one := null;
        exit when found;
      end if;
      if p_key_mode[i] = 0 then
        select c.holder into v_one from es.claims c
          where c.scope = p_key_scope[i] and c.value = p_key_value[i] for key share;
      else
        select c.holder into v_one from es.claims c
          where c.scope = p_key_scope[i] and c.value = p_key_value[i] for update;
      end if;
      exit when found or p_key_mode[i] <> 2;
    end loop;
    v_before[i] := v_one;
  end loop;
  v_holder := v_before;

  -- Command ids with a result. Read after the stream locks: whoever did the same command on the same stream has committed by now.
  for v_row in
    select u.place, c.* from unnest(p_commands) with ordinality as u(command_id, place)
      join es.commands c on c.command_id = u.command_id
  loop
    v_known[v_row.place] := true;
    v_refusals := v_refusals || json_build_object('request', v_row.place, 'status', 'known', 'attempt', v_row.attempt,
      'stored', json_build_object('commandId', v_row.command_id, 'requestHash', v_row.request_hash,
        'result', v_row.result, 'versions', v_row.versions, 'cancelled', v_row.cancelled));
  end loop;

  -- Verdicts, one request after the other, each seeing what the accepted ones before it did.
  for r in 1 .. n_requests loop
    v_failed := v_known[r];
    w_first := w;
    while w <= n_writes and p_write_request[w] = r loop
      if not v_failed then
        s := p_write_stream[w];
        if v_ended[s] then
          v_failed := true;
          v_refusals := v_refusals || json_build_object('request', r, 'status', 'stream_ended', 'streamId', p_streams[s]);
        elsif p_expected[w] <> -1 and p_expected[w] <> v_version[s] then
          v_failed := true;
          v_refusals := v_refusals || json_build_object('request', r, 'status', 'conflict', 'streamId', p_streams[s],
            'actual', v_version[s]);
        end if;
      end if;
      w := w + 1;
    end loop;

    if k <= n_claims and p_claim_request[k] = r then
      v_saved := v_holder;
      while k <= n_claims and p_claim_request[k] = r loop
        if not v_failed then
          s := p_claim_key[k];
          if p_claim_op[k] = 2 then
            if v_holder[s] is null then
              v_holder[s] := p_claim_holder[k];
            elsif v_holder[s] <> p_claim_holder[k] then
              v_failed := true;
              v_refusals := v_refusals || json_build_object('request', r, 'status', 'claim_taken',
                'scope', p_key_scope[s], 'value', p_key_value[s], 'holder', v_holder[s]);
            end if;
          elsif p_claim_op[k] = 1 then
            if v_holder[s] = p_claim_holder[k] then v_holder[s] := null; end if;
          elsif v_holder[s] is null then
            v_failed := true;
            v_refusals := v_refusals || json_build_object('request', r, 'status', 'claim_missing',
              'scope', p_key_scope[s], 'value', p_key_value[s]);
          end if;
        end if;
        k := k + 1;
      end loop;
      if v_failed then v_holder := v_saved; end if;
    end if;

    if not v_failed then
      v_text := '';
      for x in w_first .. w - 1 loop
        s := p_write_stream[x];
        bases[x] := v_version[s];
        v_version[s] := v_version[s] + p_count[x];
        if p_ends[x] then v_ended[s] := true; end if;
        if v_shown[s] and not p_has_document[x] then
          v_tombstone[x] := true;
          v_tombstones := v_tombstones + 1;
        end if;
        v_shown[s] := p_has_document[x];
        v_text := v_text || case when v_text = '' then '' else ',' end
          || '{"streamId":"' || p_streams[s] || '","version":' || v_version[s] || '}';
      end loop;
      v_accepted[r] := true;
      v_accepts := v_accepts + 1;
      v_versions[r] := '[' || v_text || ']';
    end if;
  end loop;

  -- What was accepted.
  if v_accepts > 0 then
    update es.streams t set version = u.version, ended = u.ended, has_document = u.shown
      from unnest(p_streams, v_version, v_ended, v_shown) as u(stream_id, version, ended, shown)
      where t.stream_id = u.stream_id and t.version < u.version;
    insert into es.events (stream_id, version, seq, event_id, category, type, schema_version, data, meta)
      select p_streams[p_write_stream[e.w]], bases[e.w] + e.i, nextval('es.event_seq'), e.id,
          p_stream_category[p_write_stream[e.w]], e.t, e.v, e.d::json, v_metas[p_write_request[e.w]]::json
        from rows from (unnest(p_event_write, p_event_index, p_event_id, p_event_type, p_event_schema),
          string_to_table(p_event_data, e'\\x1f')) as e(w, i, id, t, v, d)
        where bases[e.w] >= 0;
    if cardinality(p_document_write) > 0 then
      insert into es.documents (stream_id, version, shape, category, body)
        select p_streams[p_write_stream[d.w]], bases[d.w] + p_count[d.w], p_shape[d.w],
            p_stream_category[p_write_stream[d.w]], d.b::json
          from rows from (unnest(p_document_write), string_to_table(p_document_body, e'\\x1f')) as d(w, b)
          where bases[d.w] >= 0;
    end if;
    if v_tombstones > 0 then
      insert into es.documents (stream_id, version, shape, category, body)
        select p_streams[p_write_stream[x]], bases[x] + p_count[x], p_shape[x], p_stream_category[p_write_stream[x]], null
          from generate_series(1, n_writes) x where v_tombstone[x];
    end if;
    if json_array_length(p_timers) > 0 then
      for v_row in
        select t.* from json_to_recordset(p_timers) as t(r int, op text, id uuid, due bigint, subject text, command json)
      loop
        if not v_accepted[v_row.r] then continue; end if;
        if v_row.op = 'set' then
          insert into es.timers (id, due_at, subject, command)
            values (v_row.id, v_row.due, v_row.subject, v_row.command)
            on conflict (id) do update
              set due_at = excluded.due_at, subject = excluded.subject, command = excluded.command;
        else
          delete from es.timers t where t.id = v_row.id;
        end if;
      end loop;
    end if;
  end if;
  if v_new > 0 and v_accepts < n_requests then
    -- A stream that got no event was never there. Nobody else can see such a row. What was accepted has at least one for each of its streams.
    delete from es.streams t where t.stream_id = any (p_streams) and t.version = 0;
  end if;
  for i in 1 .. n_keys loop
    if v_holder[i] is null then
      if v_before[i] is not null or p_key_mode[i] = 2 then
        delete from es.claims c where c.scope = p_key_scope[i] and c.value = p_key_value[i];
      end if;
    elsif v_holder[i] is distinct from v_before[i] then
      update es.claims c set holder = v_holder[i] where c.scope = p_key_scope[i] and c.value = p_key_value[i];
    end if;
  end loop;

  -- Results last. Their ids are unique keys, so that two transactions with the same command can't both get past this: one of them fails.
  if v_accepts > 0 and cardinality(p_cancel_id) = 0 then
    insert into es.commands (command_id, request_hash, result, versions, attempt)
      select c.id, c.hash, c.result::json, v_versions[c.place]::json, c.attempt
        from rows from (unnest(p_commands, p_hashes, p_attempts), string_to_table(p_results, e'\\x1f'))
          with ordinality as c(id, hash, attempt, result, place)
        where v_accepted[c.place]
        order by c.id;
  elsif v_accepts > 0 then
    with recorded as (
      insert into es.commands (command_id, request_hash, result, versions, attempt, cancelled)
        select c.id, c.hash, c.result::json, v_versions[c.place]::json, c.attempt, false
          from rows from (unnest(p_commands, p_hashes, p_attempts), string_to_table(p_results, e'\\x1f'))
            with ordinality as c(id, hash, attempt, result, place)
          where v_accepted[c.place]
        union all
        select c.id, '', '{}'::json, '[]'::json, null::uuid, true
          from unnest(p_cancel_request, p_cancel_id) as c(r, id) where v_accepted[c.r]
        order by 1
        on conflict do nothing
        returning cancelled)
    select count(*) into v_count from recorded where not cancelled;
    if v_count < v_accepts then
      raise exception 'a command of this batch was recorded meanwhile' using errcode = '${COMMAND_RACE}';
    end if;
  end if;
  if cardinality(v_refusals) > 0 then refusals := array_to_json(v_refusals); end if;
end $$`;
