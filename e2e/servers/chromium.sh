#!/usr/bin/env bash
# A browser, from Debian, and axe-core, which judges pages by WCAG, from npm.
#   chromium.sh install | start | stop | reset
# There is no server to start: each test runs a browser of its own.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
axe=4.14.1
data="$state/data/chromium"

install_axe() {
  cd "$1"
  npm pack --silent "axe-core@$axe" >/dev/null
  tar -xzf "axe-core-$axe.tgz" --strip-components 1 package/axe.min.js package/LICENSE
  rm "axe-core-$axe.tgz"
}

install() {
  debian chromium
  if [ ! -d "$opt/axe-core-$axe" ]; then
    command -v npm >/dev/null || debian npm
    once "axe-core-$axe" install_axe
  fi
}

start() {
  install
  echo "export POLICYSYNC_E2E_CHROMIUM=/usr/bin/chromium"
  echo "export POLICYSYNC_E2E_AXE=$opt/axe-core-$axe/axe.min.js"
}

stop() { :; }

run_command "$@"
