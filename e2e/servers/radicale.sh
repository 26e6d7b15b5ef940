#!/usr/bin/env bash
# Radicale, a CalDAV server, and the client "caldav" that reads back what it holds,
# both from PyPI.
#   radicale.sh install | start | stop | reset
# Listens on 15232, with the account e2e. Its password is no part of any other name,
# so that a test can look for it in errors.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
version=3.9.0 client=3.6.0
data="$state/data/radicale"
venv="$state/opt/radicale-$version"

# A virtual environment knows its own path, so it can't be made elsewhere and moved:
# "done" tells a whole one from an interrupted one.
install() {
  [ ! -e "$venv/done" ] || return 0
  debian curl python3-venv
  note "installing radicale-$version"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check "radicale==$version" "caldav==$client" >&2
  touch "$venv/done"
}

start() {
  install
  mkdir -p "$data"
  echo "e2e:open-sesame" >"$state/run/radicale.users"
  launch radicale 15232 "$venv/bin/radicale" --config "" --server-hosts 127.0.0.1:15232 \
    --auth-type htpasswd --auth-htpasswd-filename "$state/run/radicale.users" --auth-htpasswd-encryption plain \
    --auth-delay 0 --storage-filesystem-folder "$data"
  await radicale 60 curl -fsS http://127.0.0.1:15232/.web/
  echo "export POLICYSYNC_E2E_CALDAV=http://e2e:open-sesame@127.0.0.1:15232/e2e/"
  echo "export POLICYSYNC_E2E_PYTHON=$venv/bin/python"
}

stop() { halt TERM radicale; }

run_command "$@"
