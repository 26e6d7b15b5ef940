#!/usr/bin/env bash
# Jaeger, built from its Go module, which takes minutes the first time. It keeps
# traces in memory.
#   jaeger.sh install | start | stop | reset
# OTLP over HTTP on 14318 (gRPC: 14317), the query API on 16686.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
version=v1.76.0
data="$state/data/jaeger"

# Jaeger's go.mod replaces a module, so `go install` refuses to build it from
# afar: build a writable copy of it as the main module.
build() {
  local source
  source="$(cd / && go mod download -json "github.com/jaegertracing/jaeger@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')"
  cp -r "$source" "$1/source"
  chmod -R u+w "$1/source"
  (cd "$1/source" && GOFLAGS='' CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$1/jaeger" ./cmd/jaeger)
  rm -rf "$1/source"
}

install() {
  debian curl
  once "jaeger-$version" build
}

start() {
  install
  mkdir -p "$data"
  cat >"$data/config.yaml" <<'END'
service:
  extensions: [jaeger_storage, jaeger_query, healthcheckv2]
  pipelines:
    traces: {receivers: [otlp], exporters: [jaeger_storage_exporter]}
  telemetry: {metrics: {level: none}}
extensions:
  healthcheckv2: {use_v2: true, http: {endpoint: "127.0.0.1:14319"}}
  jaeger_storage: {backends: {memory: {memory: {max_traces: 200000}}}}
  jaeger_query:
    storage: {traces: memory}
    http: {endpoint: "127.0.0.1:16686"}
    grpc: {endpoint: "127.0.0.1:16687"}
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "127.0.0.1:14317"}
      http: {endpoint: "127.0.0.1:14318"}
exporters:
  jaeger_storage_exporter: {trace_storage: memory}
END
  launch jaeger "14317 14318 14319 16686 16687" "$opt/jaeger-$version/jaeger" --config "$data/config.yaml"
  await jaeger 60 curl -fsS http://127.0.0.1:16686/api/services
  echo "export POLICYSYNC_E2E_OTLP=http://127.0.0.1:14318"
  echo "export POLICYSYNC_E2E_JAEGER=http://127.0.0.1:16686"
}

stop() { halt TERM jaeger; }

run_command "$@"
