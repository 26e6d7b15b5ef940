#!/usr/bin/env bash
# Checks the chart without a cluster: lints it and renders it with each values file
# of its ci directory, compares the result with testdata, and sees that values which
# make no sense are refused for the reason that their first line names.
#   HELM=path/to/helm deploy/helm/lint.sh [-update]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
helm="${HELM:?the helm to use}"

for values in policysync/ci/*-values.yaml; do
  golden="testdata/$(basename "$values" -values.yaml).yaml"
  "$helm" lint --strict --quiet policysync -f "$values"
  rendered="$("$helm" template sync policysync --namespace policies -f "$values")"
  [ "${1:-}" != -update ] || printf '%s\n' "$rendered" >"$golden"
  diff -u "$golden" - <<<"$rendered" || { echo "$values renders otherwise: see above; if meant, run $0 -update" >&2; exit 1; }
done

for values in testdata/refused/*.yaml; do
  reason="$(sed -n '1s/^# refused because: //p' "$values")"
  if output="$("$helm" template sync policysync -f "$values" 2>&1)"; then
    echo "$values is accepted" >&2
    exit 1
  fi
  grep -qF -- "${reason:?$values names no reason}" <<<"$output" || { echo "$values is refused otherwise: $output" >&2; exit 1; }
done
