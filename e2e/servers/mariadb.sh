#!/usr/bin/env bash
# MariaDB as Debian has it, with a data directory of its own.
#   mariadb.sh install | start | stop | reset
# Listens on 13306, with the database policysync and an account that may make more.
# Its password is no part of any other name, so that a test can look for it in errors.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
data="$state/data/mariadb"
socket="$state/run/mariadb.sock"

install() { debian mariadb-server; }

admin() { mariadb --no-defaults -u root -S "$socket" "$@"; }

start() {
  install
  if [ ! -d "$data/mysql" ]; then
    rm -rf "$data"
    mariadb-install-db --no-defaults --datadir="$data" --user="$(id -un)" \
      --auth-root-authentication-method=normal --skip-test-db >"$state/log/mariadb-install.log" 2>&1
  fi
  launch mariadb 13306 mariadbd --no-defaults --datadir="$data" --user="$(id -un)" --socket="$socket" \
    --bind-address=127.0.0.1 --port=13306 --innodb-flush-log-at-trx-commit=2 --innodb-buffer-pool-size=128M
  await mariadb 60 admin -e 'select 1'
  admin -e "create database if not exists policysync character set utf8mb4;
    create user if not exists e2e@'%' identified by 'open-sesame';
    grant all on *.* to e2e@'%'"
  echo "export POLICYSYNC_E2E_MYSQL=mysql://e2e:open-sesame@127.0.0.1:13306/policysync"
}

stop() { halt TERM mariadb; }

run_command "$@"
