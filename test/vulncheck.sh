#!/usr/bin/env bash
# vulncheck.sh GOVULNCHECK: fails on known vulnerabilities that the code can reach. WARDLINE_VULNDB names a
# database other than https://vuln.go.dev (a URL, file:// too); a database that cannot be reached is skipped, loudly,
# unless WARDLINE_VULNDB asked for it.
set -uo pipefail
tool=$1
args=()
[[ -n ${WARDLINE_VULNDB:-} ]] && args=(-db "$WARDLINE_VULNDB")

output=$("$tool" "${args[@]}" ./... 2>&1)
code=$?
if ((code != 0)) && [[ -z ${WARDLINE_VULNDB:-} && $output == *"fetching vulnerabilities"* ]]; then
  cat >&2 <<MESSAGE
************************************************************************************
* SKIPPED: govulncheck could not reach its database, so NOTHING was checked against
* known vulnerabilities. Set WARDLINE_VULNDB to a mirror to have it checked.
* ${output##*fetching vulnerabilities: }
************************************************************************************
MESSAGE
  exit 0
fi
printf '%s\n' "$output"
exit "$code"
