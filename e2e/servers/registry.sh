#!/usr/bin/env bash
# Apicurio Registry, whose /apis/ccompat/v7 speaks Confluent's API. It keeps
# schemas in memory: a restart forgets them.
#   registry.sh install | start | stop | reset
# Listens on 18081.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
version=2.6.13.Final # the newest whole release on Maven Central that runs on Java 17
data="$state/data/registry"
jars="$opt/apicurio-$version"
api=http://127.0.0.1:18081/apis/ccompat/v7

download() {
  (cd "$1" && mvn -B -q org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
    -Dartifact="io.apicurio:apicurio-registry-app:$version:tar.gz:all" -DoutputDirectory="$1")
  tar -xzf "$1/apicurio-registry-app-$version-all.tar.gz" -C "$1"
  rm "$1/apicurio-registry-app-$version-all.tar.gz"
}

install() {
  debian curl default-jre-headless maven
  once "apicurio-$version" download
}

start() {
  install
  mkdir -p "$data"
  launch registry 18081 java -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -Djava.io.tmpdir="$data" \
    -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port=18081 \
    -Dapicurio.datasource.url=jdbc:h2:mem:registry \
    -jar "$jars/apicurio-registry-app-$version-runner.jar"
  await registry 180 curl -fsS "$api/subjects"
  # Out of the box Apicurio accepts any new version; Confluent's default is this.
  curl -fsS -X PUT -H 'Content-Type: application/json' -d '{"compatibility": "BACKWARD"}' "$api/config" >/dev/null
  echo "export POLICYSYNC_E2E_REGISTRY=$api"
}

stop() { halt TERM registry; }

run_command "$@"
