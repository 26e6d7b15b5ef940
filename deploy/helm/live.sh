#!/usr/bin/env bash
# Proves the chart on a Kubernetes that is started for it.
#   deploy/helm/live.sh api    an API server, controllers and scheduler, the nodes simulated:
#                              what they accept, and what they refuse
#   deploy/helm/live.sh node   a kubelet, containerd and Kafka beside them: e2e/k8s, under load
# K8S_TESTBED names the directory of cluster.sh, which has start kwok|node, exec, load
# and stop; without it ../shared/testbed/k8s beside this project is looked for. Where
# there is none, nothing is proven, and that is said.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
testbed="${K8S_TESTBED:-../shared/testbed/k8s}"
if [ ! -x "$testbed/cluster.sh" ]; then
  echo "left out: there is no $testbed/cluster.sh to start a Kubernetes with; see K8S_TESTBED in $0" >&2
  exit 0
fi
export TB_CLUSTER="policysync-$1" TB_NODE_NET=10.88.79
cluster="$testbed/cluster.sh" chart="$PWD/deploy/helm/policysync" host="$TB_NODE_NET.1"
work="$(mktemp -d)"
trap '"$cluster" stop; rm -rf "$work"' EXIT
helm() { "$cluster" exec helm -n policies "$@"; }
kubectl() { "$cluster" exec kubectl -n policies "$@"; }

step() { # step NAME COMMAND...: its output shows only if it fails
  local begun=$SECONDS name="$1"
  shift
  if ! "$@" >"$work/log" 2>&1; then
    cat "$work/log" >&2
    echo "FAILED: $name" >&2
    exit 1
  fi
  echo "ok: $name ($((SECONDS - begun)) s)"
}

# apply VALUES...: has the API server check what these make of the chart, but for the
# pod of helm test, which needs the account to be there.
apply() {
  local f flags=()
  for f in "$@"; do flags+=(-f "$f"); done
  helm template sync "$chart" "${flags[@]}" --skip-tests >"$work/objects.yaml"
  kubectl apply --server-side --dry-run=server --validate=strict -f "$work/objects.yaml"
}

budget() { # one pod may go if there is a budget
  local allowed
  allowed="$(kubectl get poddisruptionbudget -o 'jsonpath={.items[*].status.disruptionsAllowed}')"
  [ -z "$allowed" ] || [ "$allowed" = 1 ]
}

gone() { # hooks that did their work are gone too; the test's pod stays for its log
  local left
  left="$(kubectl get all,configmap,serviceaccount,poddisruptionbudget,networkpolicy,ingress,scaledobject,servicemonitor,prometheusrule \
    -l app.kubernetes.io/instance=sync -o name | grep -v '^pod/.*-test$' || true)"
  [ -z "$left" ] || { echo "left behind: $left"; return 1; }
}

refused() { # refused VALUES: for the reason that the first line names
  local reason
  reason="$(sed -n '1s/^# refused because: //p' "$1")"
  if ! apply deploy/helm/policysync/ci/minimal-values.yaml "$1" >"$work/answer" 2>&1 || grep -q '^Warning: would violate' "$work/answer"; then
    grep -qF -- "${reason:?}" "$work/answer" && return
  fi
  cat "$work/answer"
  return 1
}

# up MODE: the testbed asks for conditions of what it has just made, and on a busy
# machine may be too early; the cluster is up all the same.
up() {
  "$cluster" start "$1" || "$cluster" start "$1"
  kubectl wait --for condition=Ready --timeout 3m node --all
  kubectl wait --for condition=Established --timeout 1m crd --all
}

api() {
  local values name
  up kwok
  kubectl create namespace policies
  kubectl create priorityclass production --value 1000 # of ci/full-values.yaml
  kubectl create serviceaccount shared # of ci/hpa-values.yaml
  kubectl label namespace policies pod-security.kubernetes.io/enforce=restricted pod-security.kubernetes.io/warn=restricted
  for values in "$chart"/ci/*-values.yaml; do
    name="$(basename "$values" -values.yaml)"
    step "$name: objects" apply "$values"
    step "$name: install" helm install sync "$chart" -f "$values" --wait --timeout 2m
    step "$name: helm test" helm test sync --timeout 1m
    step "$name: disruption budget" budget
    step "$name: upgrade" helm upgrade sync "$chart" -f "$values" --set podAnnotations.upgraded=yes --wait --timeout 4m
    step "$name: rollback" helm rollback sync 1 --wait --timeout 4m
    step "$name: uninstall" helm uninstall sync --wait --timeout 1m
    step "$name: nothing is left" gone
    kubectl delete pod --all >/dev/null
  done
  for values in deploy/helm/testdata/rejected/*.yaml; do
    step "refused: $(basename "$values" .yaml)" refused "$values"
  done
}

# image TAG FLAGS builds and loads an image; FLAGS go to the Go compiler.
image() {
  GOFLAGS="$2" VERSION="$1" IMAGE=localhost/policysync deploy/image/build.sh "$work/$1.tar"
  "$cluster" load "$work/$1.tar"
}

# A release that writes another checkpoint format, and knows only that one: worse than a
# release may be.
next_format() {
  sed 's/^const format = \([0-9]*\)$/const format = \1 + 1/' pkg/checkpoint/encode.go >"$work/encode.go"
  ! cmp -s "$work/encode.go" pkg/checkpoint/encode.go
  printf '{"Replace": {"%s/pkg/checkpoint/encode.go": "%s/encode.go"}}' "$PWD" "$work" >"$work/overlay.json"
}

kafka() {
  "$cluster" exec env POLICYSYNC_E2E_SET=k8s POLICYSYNC_E2E_KAFKA_HOST="$host" "$PWD/e2e/servers/kafka.sh" "$@"
}

node() {
  local servers
  go test -c -tags e2e -o "$work/k8s.test" ./e2e/k8s
  next_format
  up node
  step "image" image now ""
  step "image of a release with another checkpoint format" image next "-overlay=$work/overlay.json"
  kafka reset # none of another cluster's runs now
  servers="$(kafka start)"
  eval "$servers"
  "$cluster" exec env POLICYSYNC_LIVE_CHART="$chart" "$work/k8s.test" -test.v -test.count 1 -test.timeout 40m
}

case "${1:-}" in
  api | node) "$1" ;;
  *)
    sed -n '2,9p' "$0"
    exit 2
    ;;
esac
