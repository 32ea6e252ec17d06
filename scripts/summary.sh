#!/usr/bin/env bash
# Reads the output of `go test -v`, keeps it in a file, and passes on what matters:
# packages, failures, seeds and the counts that tests print to be read. Fails if a test
# failed.
#
#   go test -v ./... 2>&1 | scripts/summary.sh test-all.log
set -uo pipefail
log=${1:?the file to keep the whole output in}

tee "$log" | awk '
/^[ \t]*--- FAIL|^FAIL|^panic:|^ok |WARNING: DATA RACE/ { print; fflush() }
/_test\.go:[0-9]+: .*(seed|models|checks|lists|kills|cuts|losses|refused)/ { print; fflush() }
/^[ \t]*--- FAIL|^FAIL|^panic:/ { failed = 1 }
END { exit failed }
' || { echo "the whole output is in $log" >&2; exit 1; }
