#!/usr/bin/env bash
# Builds helm-unittest. Its go.mod replaces a module, which go install refuses; a module
# made here for the time of the build carries the replacement over.
#   deploy/helm/unittest.sh FILE VERSION
set -euo pipefail
module=github.com/helm-unittest/helm-unittest work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
source="$(go mod download -json "$module@$2" | sed -n 's/^\t"Dir": "\(.*\)",\?$/\1/p')"
{
  echo "module unittest"
  grep -E '^(go|replace) ' "$source/go.mod"
  echo "require $module $2"
} >go.mod
CGO_ENABLED=0 go build -mod=mod -trimpath -o "$1" "$module/cmd/helm-unittest"
