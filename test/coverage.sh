#!/usr/bin/env bash
# coverage.sh PROFILE MINIMUM: prints the statement coverage of each package of core/ and edge/ and fails
# when either of the two is below MINIMUM percent. Conformance suites (packages named ...test) are tests.
set -euo pipefail
profile=$1 minimum=$2

awk -v minimum="$minimum" '
  NR == 1 { next }                                   # mode line
  {
    file = $1; sub(/:.*/, "", file)
    path = file; sub(/^github\.com\/wardline\/wardline\//, "", path); sub(/\/[^\/]*$/, "", path)
    if (path !~ /^(core|edge)\// || path ~ /test$/) next
    if (!($1 in size)) { size[$1] = $2; where[$1] = path }
    if ($3 > 0) hit[$1] = 1
  }
  END {
    for (block in size) {
      path = where[block]; split(path, part, "/"); top = part[1] "/"
      total[path] += size[block]; total[top] += size[block]
      if (block in hit) { covered[path] += size[block]; covered[top] += size[block] }
    }
    print "statement coverage"
    sort = "LC_ALL=C sort"
    for (path in total)
      if (path !~ /\/$/) printf "  %5.1f %%  %s\n", 100 * covered[path] / total[path], path | (sort " -k3")
    close(sort " -k3")
    failed = 0
    for (i = 1; i <= 2; i++) {
      top = i == 1 ? "core/" : "edge/"
      if (!(top in total)) { printf "no statements of %s in the profile\n", top; failed = 1; continue }
      share = 100 * covered[top] / total[top]
      verdict = share < minimum ? "BELOW " minimum " %" : "ok"
      if (share < minimum) failed = 1
      printf "  %5.1f %%  %s in all (%s)\n", share, top, verdict
    }
    exit failed
  }
' "$profile"
