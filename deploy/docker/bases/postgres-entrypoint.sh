#!/bin/sh
# What the official image's script of this name does, as far as Xenolith needs it: a cluster at the first start, then the server.
set -eu

if [ "${1#-}" != "$1" ]; then set -- postgres "$@"; fi
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  : "${POSTGRES_PASSWORD:?must be set}"
  # Made beside its place: a start that is cut short leaves none that is half made.
  draft=$PGDATA/draft
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA"
  rm -rf "$draft"
  printf '%s\n' "$POSTGRES_PASSWORD" >/var/run/postgresql/password
  # The official image takes these options, too; they are words.
  # shellcheck disable=SC2086
  initdb -D "$draft" -U "$user" --pwfile=/var/run/postgresql/password --auth=scram-sha-256 --auth-local=trust --encoding=UTF8 \
    --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8 --no-instructions ${POSTGRES_INITDB_ARGS:-}
  rm /var/run/postgresql/password
  [ "$database" = postgres ] || printf 'create database "%s"\n' "$database" | postgres --single -D "$draft" postgres >/dev/null
  printf 'host all all all scram-sha-256\n' >>"$draft/pg_hba.conf"
  printf "listen_addresses = '*'\nunix_socket_directories = '/var/run/postgresql'\n" >>"$draft/postgresql.conf"
  mv "$draft"/* "$PGDATA/"
  rmdir "$draft"
fi
# As the official image does at each start: who gives volumes to groups may have opened it, and the server refuses one that is open.
chmod 700 "$PGDATA"
exec "$@"
