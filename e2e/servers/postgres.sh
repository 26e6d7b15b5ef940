#!/usr/bin/env bash
# PostgreSQL as Debian has it, in a cluster of its own.
#   postgres.sh install | start | stop | reset
# Listens on 15432, with the database policysync and an account that may make more.
# Its password is no part of any other name, so that a test can look for it in errors.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
data="$state/data/postgres"
export PGUSER=policysync PGPASSWORD=policysync PGHOST=127.0.0.1 PGPORT=15432

# The server refuses to run as root. As user postgres it still must pass root's
# home, which may hold the state: that is what the capability is for.
as_server=()
[ "$(id -u)" != 0 ] || as_server=(setpriv --reuid=postgres --regid=postgres --init-groups
  --inh-caps=+dac_read_search --ambient-caps=+dac_read_search)

install() { debian postgresql; }

start() {
  local programs
  install
  programs="$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)"
  cd / # the server's user may not enter the present directory
  if [ ! -e "$data/PG_VERSION" ]; then
    rm -rf "$data"
    mkdir -m 700 "$data"
    [ "$(id -u)" != 0 ] || chown postgres: "$data"
    "${as_server[@]}" "$programs/initdb" -D "$data" -U "$PGUSER" --pwfile=<(echo "$PGPASSWORD") \
      -A scram-sha-256 -E UTF8 --locale=C.UTF-8 >"$state/log/postgres-initdb.log" 2>&1
  fi
  # A crash of the machine may cost the data, not a crash of the server.
  launch postgres "$PGPORT" "${as_server[@]}" "$programs/postgres" -D "$data" -p "$PGPORT" \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off
  await postgres 60 psql -d postgres -c 'select 1'
  [ "$(psql -d postgres -Atc "select count(*) from pg_database where datname = 'policysync'")" = 1 ] ||
    psql -d postgres -qc 'create database policysync'
  [ "$(psql -d postgres -Atc "select count(*) from pg_roles where rolname = 'e2e'")" = 1 ] ||
    psql -d postgres -qc "create role e2e superuser login password 'open-sesame'"
  echo "export POLICYSYNC_E2E_POSTGRES=postgres://e2e:open-sesame@127.0.0.1:$PGPORT/policysync"
}

stop() { halt INT postgres; } # INT: do not wait for clients

run_command "$@"
