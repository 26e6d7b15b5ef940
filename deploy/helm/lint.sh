#!/usr/bin/env bash
# Checks the chart without a cluster: lints it and renders it with each values file
# of its ci directory, holds the objects against Kubernetes' strict schemas, compares
# them with testdata, and sees that values which make no sense are refused for the
# reason that their first line names, and tests the alerts.
#   HELM=FILE KUBECONFORM=FILE PROMTOOL=FILE SCHEMAS=DIRECTORY deploy/helm/lint.sh KUBERNETES [-update]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
kubernetes="${1:?version of Kubernetes}" helm="${HELM:?}" conform="${KUBECONFORM:?}" promtool="${PROMTOOL:?}" schemas="${SCHEMAS:?where schemas.sh put them}"

"$helm" lint --strict --quiet --kube-version "$kubernetes" policysync # what a chart's user sees first
for values in policysync/ci/*-values.yaml; do
  golden="testdata/$(basename "$values" -values.yaml).yaml"
  "$helm" lint --strict --quiet --kube-version "$kubernetes" policysync -f "$values"
  rendered="$("$helm" template sync policysync --kube-version "$kubernetes" --namespace policies -f "$values")"
  "$conform" -strict -schema-location "$schemas/{{.ResourceKind}}{{.KindSuffix}}.json" <<<"$rendered" || { echo "$values makes objects that Kubernetes refuses" >&2; exit 1; }
  # the dashboard is in files as it is
  rendered="$(sed '/^  policysync.json: |/,/^---/{/^    /d}' <<<"$rendered")"
  [ "${2:-}" != -update ] || printf '%s\n' "$rendered" >"$golden"
  diff -uBZ "$golden" - <<<"$rendered" || { echo "$values renders otherwise: see above; if meant, run $0 $kubernetes -update" >&2; exit 1; }
done

for values in testdata/refused/*.yaml; do
  reason="$(sed -n '1s/^# refused because: //p' "$values")"
  if output="$("$helm" template sync policysync --kube-version "$kubernetes" -f policysync/ci/minimal-values.yaml -f "$values" 2>&1)"; then
    echo "$values is accepted" >&2
    exit 1
  fi
  grep -qF -- "${reason:?$values names no reason}" <<<"$output" || { echo "$values is refused otherwise: $output" >&2; exit 1; }
done

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"$helm" template sync policysync --kube-version "$kubernetes" --namespace policies -f policysync/ci/full-values.yaml -s templates/prometheusrule.yaml |
  sed '1,/^spec:/d; s/^  //' >"$work/alerts.yaml"
cp testdata/alerts_test.yaml "$work"
"$promtool" test rules "$work/alerts_test.yaml"
