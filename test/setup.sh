#!/usr/bin/env bash
# Installs what the tests need and this machine lacks. Quick and silent when nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

node_min=20
# Where a newer node than Debian's goes; the Makefile puts it on PATH.
node_version=22.21.1
node_home=${XDG_CACHE_HOME:-$HOME/.cache}/wardline/node
export PATH=$node_home/node_modules/.bin:$PATH
packages=()

# want PACKAGE REASON: notes a Debian package to install and says what it is for.
want() {
  packages+=("$1")
  echo "setup: needs $1: $2"
}

if ! command -v go >/dev/null; then
  echo "setup: Go is missing; install the version in go.mod (https://go.dev/dl) and put it on PATH" >&2
  exit 1
fi
command -v chromium >/dev/null || want chromium "the browser that the e2e tests drive"
command -v turnutils_uclient >/dev/null || want coturn "turnutils_uclient and turnutils_peer, which test the TURN relay"
command -v ip >/dev/null || want iproute2 "the world's network is made with it"
command -v curl >/dev/null || want curl "a node of the world fetches with it"
command -v jq >/dev/null || want jq "docs/operations.md uses it, and its commands are run"
command -v openssl >/dev/null || want openssl "docs/operations.md uses it"
# The race detector links through the C compiler.
command -v "${CC:-gcc}" >/dev/null || want gcc "go test -race links with it"
compgen -G '/usr/include/*/gnu/libc-version.h' >/dev/null || compgen -G '/usr/include/gnu/libc-version.h' >/dev/null ||
  want libc6-dev "go test -race compiles against it"

node_major() { node --version 2>/dev/null | sed -E 's/^v([0-9]+).*/\1/'; }
if (($(node_major || true) + 0 < node_min)); then
  command -v node >/dev/null || want nodejs "runs the e2e tests and the type check of the browser client"
fi
command -v npm >/dev/null || want npm "fetches the e2e tests' three pinned packages"

if ((${#packages[@]} > 0)); then
  if ! command -v apt-get >/dev/null; then
    echo "setup: this is not Debian; please install by hand: ${packages[*]}" >&2
    exit 1
  fi
  as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || { echo "setup: run as root or install sudo" >&2; exit 1; }
    as_root=(sudo)
  fi
  # Only coturn's test clients are wanted: without this its package would start a relay of its own.
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
  fi
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
fi

if (($(node_major || true) + 0 < node_min)); then
  echo "setup: node $(node --version) is too old (at least $node_min is needed): node $node_version into $node_home"
  npm install --prefix "$node_home" --no-fund --no-audit "node@$node_version"
  hash -r
fi

# npm ci only when the lock file changed since the last one: it removes and reinstalls everything.
stamp=test/e2e/node_modules/.wardline-lock
if ! cmp -s test/e2e/package-lock.json "$stamp"; then
  echo "setup: npm ci in test/e2e"
  npm ci --prefix test/e2e --no-fund --no-audit
  cp test/e2e/package-lock.json "$stamp"
fi
