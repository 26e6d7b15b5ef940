#!/usr/bin/env bash
# Lays out the root of the image: the static binary, its bill of materials, CA roots,
# and the licence of each module in it. CYCLONEDX is a cyclonedx-gomod to use; without
# it one is built.
#   GOARCH=arm64 GOFIPS140=off VERSION=1.2.3 deploy/image/stage.sh DIRECTORY
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out="${1:?}"
export CGO_ENABLED=0 GOOS=linux
rm -rf "$out"
mkdir -p "$out"/etc/ssl/certs "$out/licenses"
go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION:?}" -o "$out/policysync" ./cmd/policysync
bom() {
  if [ -n "${CYCLONEDX:-}" ]; then "$CYCLONEDX" "$@"; return; fi
  # shellcheck source=../../tools.env
  . ./tools.env
  env -u GOOS -u GOARCH go run "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$CYCLONEDX_VERSION" "$@"
}
# without a serial number and a time the same binary has the same one
bom bin -json -std -noserial -notimestamp -version "$VERSION" -output "$out/sbom.cdx.json" "$out/policysync"
cp "${CA_CERTIFICATES:-/etc/ssl/certs/ca-certificates.crt}" "$out/etc/ssl/certs/ca-certificates.crt"
cp LICENSE NOTICE "$out/licenses/"
go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}' ./cmd/policysync | sort -u |
  while read -r module dir; do
    mkdir -p "$out/licenses/$module"
    find "$dir" -maxdepth 1 -type f \( -iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'notice*' \) -exec cp {} "$out/licenses/$module/" \;
  done
# the same bytes whoever builds, and readable by any user
find "$out" -type d -exec chmod 755 {} + -o -type f -exec chmod 644 {} +
chmod 755 "$out/policysync"
