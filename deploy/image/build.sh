#!/usr/bin/env bash
# Builds the image with buildah or docker from what stage.sh lays out, so that no base
# image is needed. The same commit, Go and CA roots give the same digest.
#   IMAGE=name VERSION=1.2.3 ARCH=arm64 GOFIPS140=v1.26.0 deploy/image/build.sh [ARCHIVE.tar]
# Beside an archive the bill of materials, ARCHIVE.tar.cdx.json, is laid.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
arch="${ARCH:-amd64}" fips="${GOFIPS140:-off}" version="${VERSION:?}"
tag="${IMAGE:-policysync}:$version"
[ "$fips" = off ] || tag+="-fips"
[ "$arch" = amd64 ] || tag+="-$arch"
epoch="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"

GOARCH="$arch" GOFIPS140="$fips" VERSION="$version" deploy/image/stage.sh bin/image
args=(--build-arg SOURCE=staged --build-arg "VERSION=$version" --build-arg "GOFIPS140=$fips"
  --build-arg "REVISION=$(git rev-parse HEAD)" --platform "linux/$arch" -t "$tag")
if command -v buildah >/dev/null; then
  buildah bud -q --isolation chroot --timestamp "$epoch" "${args[@]}" .
  [ -z "${1:-}" ] || buildah push -q "$tag" "oci-archive:$1:$tag"
else
  SOURCE_DATE_EPOCH="$epoch" docker buildx build --load "${args[@]}" .
  [ -z "${1:-}" ] || docker save -o "$1" "$tag"
fi
[ -z "${1:-}" ] || cp bin/image/sbom.cdx.json "$1.cdx.json"
echo "$tag"
