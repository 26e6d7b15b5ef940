#!/usr/bin/env bash
# ClickHouse as Debian has it (18.16 in Debian 12), with a data directory of its own.
#   clickhouse.sh install | start | stop | reset
# Native protocol on 19000, HTTP on 18123: database policysync, no password.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
data="$state/data/clickhouse"

install() { debian clickhouse-server clickhouse-client curl; }

start() {
  install
  mkdir -p "$data"
  cat >"$data/config.xml" <<END
<yandex>
  <logger><level>warning</level><console>true</console></logger>
  <listen_host>127.0.0.1</listen_host>
  <tcp_port>19000</tcp_port>
  <http_port>18123</http_port>
  <interserver_http_port>19009</interserver_http_port>
  <path>$data/</path>
  <tmp_path>$data/tmp/</tmp_path>
  <users_config>$data/users.xml</users_config>
  <mark_cache_size>67108864</mark_cache_size>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
</yandex>
END
  cat >"$data/users.xml" <<'END'
<yandex>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password/>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </default>
  </users>
</yandex>
END
  launch clickhouse "18123 19000 19009" clickhouse-server --config-file="$data/config.xml"
  await clickhouse 60 curl -fsS 'http://127.0.0.1:18123/?query=select%201'
  curl -fsS http://127.0.0.1:18123/ --data-binary 'create database if not exists policysync'
  echo "export POLICYSYNC_E2E_CLICKHOUSE=clickhouse://127.0.0.1:19000/policysync"
}

stop() { halt TERM clickhouse; }

run_command "$@"
