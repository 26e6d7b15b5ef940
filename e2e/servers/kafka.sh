#!/usr/bin/env bash
# Apache Kafka in KRaft mode: one broker, or three. Each is a controller too.
#   kafka.sh install | start [1 | 3] | stop | reset
#   kafka.sh kill BROKER: kill -9; start brings it back
#   kafka.sh groups ARGUMENT...: what Kafka calls kafka-consumer-groups
# Clients find a broker on loopback or on POLICYSYNC_E2E_KAFKA_HOST. With
# POLICYSYNC_E2E_KAFKA_LARGE it has the heap, collector and compiler of Kafka's own
# scripts.
# Broker n listens 10 ports above broker n-1, the first on 19092 or on
# POLICYSYNC_E2E_KAFKA_PORT; its controller one above. On the second and the fourth
# port above, it tells clients that it is found one port further: a proxy of the
# test's own stands there, and cuts off those clients alone. On the sixth, clients log
# in and may do what ACLs allow; everywhere else they may do all.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
version=4.4.0 tools_version=4.3.1
jars="$opt/kafka-$version" tools="$opt/kafka-tools-$tools_version"
data="$state/data/kafka"
host="${POLICYSYNC_E2E_KAFKA_HOST:-127.0.0.1}"
cluster=cG9saWN5c3luYy1lMmUtMQ # any 16 bytes

port() { echo $((${POLICYSYNC_E2E_KAFKA_PORT:-19092} + 10 * ($1 - 1) + ${2:-0})); } # BROKER [ABOVE]

copy_jars() { mvn -B -q -f "$1" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$2"; }
copy_broker() { copy_jars "$here/kafka/pom.xml" "$1"; }
copy_tools() { copy_jars "$here/kafka/tools.xml" "$1"; }

install() {
  debian default-jre-headless maven
  once "kafka-$version" copy_broker
  once "kafka-tools-$tools_version" copy_tools
}

# jvm runs before a class and its arguments: the quick compiler alone and a small
# heap, since two cores are shared by all servers.
jvm=(java "-Dlog4j2.configurationFile=$here/kafka/log4j2.properties" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xms256m -Xmx640m)
if [ -n "${POLICYSYNC_E2E_KAFKA_LARGE:-}" ]; then
  jvm=("${jvm[@]:0:2}" -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent -Xms1g -Xmx1g)
fi

consumer_groups() {
  install
  "${jvm[@]}" -Dlevel=warn -cp "$tools/*" org.apache.kafka.tools.consumer.group.ConsumerGroupCommand \
    --bootstrap-server "127.0.0.1:$(port 1)" "$@"
}

configure() { # BROKER BROKERS
  local i voters='' copies=$(($2 < 3 ? 1 : 3)) insync=$(($2 < 3 ? 1 : 2))
  for ((i = 1; i <= $2; i++)); do voters+="${voters:+,}$i@127.0.0.1:$(port "$i" 1)"; done
  cat >"$data/$1.properties" <<END
node.id=$1
process.roles=broker,controller
log.dirs=$data/$1
listeners=CLIENT://$host:$(port "$1"),CONTROLLER://127.0.0.1:$(port "$1" 1),PROXIED_A://127.0.0.1:$(port "$1" 2),PROXIED_B://127.0.0.1:$(port "$1" 4),LOGIN://127.0.0.1:$(port "$1" 6)
advertised.listeners=CLIENT://$host:$(port "$1"),PROXIED_A://127.0.0.1:$(port "$1" 3),PROXIED_B://127.0.0.1:$(port "$1" 5),LOGIN://127.0.0.1:$(port "$1" 6)
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED_A:PLAINTEXT,PROXIED_B:PLAINTEXT,LOGIN:SASL_PLAINTEXT
listener.name.login.sasl.enabled.mechanisms=PLAIN
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_member="open-sesame" user_operator="open-sesame" user_viewer="open-sesame" user_deployer="open-sesame";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
controller.quorum.voters=$voters
auto.create.topics.enable=false
default.replication.factor=$copies
min.insync.replicas=$insync
offsets.topic.num.partitions=4
offsets.topic.replication.factor=$copies
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=$copies
transaction.state.log.min.isr=$insync
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=100
END
}

start() {
  local brokers=${1:-1} i addresses='' broker=("${jvm[@]}" -cp "$jars/*")
  install
  mkdir -p "$data"
  # Voters are fixed when a cluster is formatted.
  if [ -e "$data/brokers" ] && [ "$(cat "$data/brokers")" != "$brokers" ]; then
    note "kafka: this cluster's number of brokers is $(cat "$data/brokers"), not $brokers; reset it first"
    return 1
  fi
  for ((i = 1; i <= brokers; i++)); do
    configure "$i" "$brokers"
    if [ ! -e "$data/$i/meta.properties" ]; then
      "${broker[@]}" kafka.tools.StorageTool format -t "$cluster" -c "$data/$i.properties" >"$state/log/kafka-format.log" 2>&1
    fi
  done
  echo "$brokers" >"$data/brokers"
  for ((i = 1; i <= brokers; i++)); do
    launch "kafka-$i" "$(port "$i") $(port "$i" 1) $(port "$i" 2) $(port "$i" 4) $(port "$i" 6)" "${broker[@]}" kafka.Kafka "$data/$i.properties"
  done
  for ((i = 1; i <= brokers; i++)); do
    await "kafka-$i" 120 grep -q 'Kafka Server started' "$state/log/kafka-$i.log"
    addresses+="${addresses:+,}$host:$(port "$i")"
  done
  echo "export POLICYSYNC_E2E_KAFKA=$addresses"
  echo "export POLICYSYNC_E2E_KAFKA_LOGIN=127.0.0.1:$(port 1 6)"
}

stop() { halt TERM kafka-1 kafka-2 kafka-3; }

case "${1:-}" in
  groups) consumer_groups "${@:2}" ;;
  kill) halt KILL "kafka-$2" ;;
  *) run_command "$@" ;;
esac
