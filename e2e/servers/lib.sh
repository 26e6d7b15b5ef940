# shellcheck shell=bash
# What the scripts beside this one share; they source it. Each of them defines
# install, start and stop, sets server and data, and ends in: run_command "$@".
#
# Installed files live in $opt. Everything else lives below $state: what servers
# store in data/, their output in log/, process ids in run/. Tests that kill servers
# name a set of their own by POLICYSYNC_E2E_SET, which shares $opt alone. Nothing
# listens outside loopback. Ports lie below 32768, where the kernel takes the ports
# of outgoing connections from.
set -euo pipefail
shopt -s inherit_errexit

home="${POLICYSYNC_E2E_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/policysync-e2e}"
opt="$home/opt"
state="$home${POLICYSYNC_E2E_SET:+/$POLICYSYNC_E2E_SET}"
mkdir -p "$opt" "$state"/{data,log,run}
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)

note() { echo "$*" >&2; }

run_command() {
  case "${1:-}" in
    install | start | stop) "$@" ;;
    reset)
      stop
      rm -rf "${data:?}"
      ;;
    *)
      note "usage: $0 install | start | stop | reset"
      exit 2
      ;;
  esac
}

# debian PACKAGE...: install the packages that are missing. Their maintainer
# scripts would start a server on its usual port; policy-rc.d forbids that.
debian() {
  local p missing=()
  for p in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
  done
  ((${#missing[@]})) || return 0
  note "installing ${missing[*]}"
  if ! apt_install "${missing[@]}" >"$state/log/apt.log" 2>&1; then
    tail -n 20 "$state/log/apt.log" >&2
    return 1
  fi
}

apt_install() (
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 755 /dev/stdin "$policy"
  fi
  "${as_root[@]}" apt-get update -qq &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
)

# once NAME FUNCTION: call the function with a new directory, which becomes
# $opt/NAME when it returns; never again after that. An interrupted install
# leaves nothing behind that would be taken for a whole one.
once() {
  local into="$opt/$1"
  [ ! -d "$into" ] || return 0
  note "installing $1"
  rm -rf "$into.part"
  mkdir "$into.part"
  "$2" "$into.part" >&2
  mv "$into.part" "$into"
}

# born PID: when the process started, in clock ticks since boot. Together they
# name a process for ever, which the id alone does not. Nothing if it has ended,
# even if nobody has collected its exit status yet.
born() {
  local stat
  stat="$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null)" || return 0
  [ "${stat%% *}" = Z ] || cut -d ' ' -f 20 <<<"$stat"
}

# running NAME: is the process alive that launch started?
running() {
  local pid since
  read -r pid since 2>/dev/null <"$state/run/$1.pid" && [ -n "$since" ] && [ "$(born "$pid")" = "$since" ]
}

listening() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# launch NAME PORTS COMMAND...: start it in the background, unless it runs
# already. PORTS are those that must be free.
launch() {
  local name=$1 ports=$2 port pid
  shift 2
  running "$name" && return
  for port in $ports; do
    if listening "$port"; then
      note "$name: another process listens on port $port"
      return 1
    fi
  done
  setsid "$@" >"$state/log/$name.log" 2>&1 </dev/null &
  pid=$!
  echo "$pid $(born "$pid")" >"$state/run/$name.pid"
}

# await NAME SECONDS COMMAND...: repeat the command until it succeeds. Fail when
# the time is over or the server ends.
await() {
  local name=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ! running "$name" || ((SECONDS > deadline)); then
      note "$name: not ready; the end of $state/log/$name.log:"
      tail -n 20 "$state/log/$name.log" >&2
      return 1
    fi
    sleep 0.2
  done
  note "$name: ready"
}

# halt SIGNAL NAME...: send each the signal, give all of them 20 s to end, then kill.
halt() {
  local signal=$1 name pid deadline=$((SECONDS + 20))
  shift
  for name in "$@"; do
    if running "$name"; then
      read -r pid _ <"$state/run/$name.pid"
      kill -s "$signal" "$pid" || true
    fi
  done
  for name in "$@"; do
    while running "$name" && ((SECONDS < deadline)); do sleep 0.1; done
    if running "$name"; then
      read -r pid _ <"$state/run/$name.pid"
      kill -s KILL "$pid" || true
    fi
    rm -f "$state/run/$name.pid"
  done
}
