#!/usr/bin/env bash
# All servers that the end-to-end tests speak to.
#   eval "$(e2e/servers/all.sh start [BROKERS])"    then run the tests
#   e2e/servers/all.sh stop | reset | install
# Standard output is only the exports. The first start installs Debian packages
# (as root, or by sudo), fetches jars with Maven and builds Jaeger with Go.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

case "${1:-}" in
  start)
    "$here/kafka.sh" "$@"
    for server in registry postgres mariadb clickhouse radicale jaeger chromium; do "$here/$server.sh" start; done
    ;;
  install | stop | reset)
    for server in chromium jaeger radicale clickhouse mariadb postgres registry kafka; do "$here/$server.sh" "$1"; done
    ;;
  *)
    echo "usage: $0 install | start [1 | 3] | stop | reset" >&2
    exit 2
    ;;
esac
