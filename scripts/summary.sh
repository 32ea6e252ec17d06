#!/usr/bin/env bash
# Reads the output of `go test -v` and passes on what matters: packages, failures,
# seeds and the lines that tests print to be read. Fails if a test failed.
set -uo pipefail
awk '
/^(---|===|\s+---) FAIL|^FAIL|^panic:|^ok |^\?|WARNING: DATA RACE/ { print; fflush() }
/seed|models|checks|lists|schedules|acknowledged/ { print; fflush() }
/^FAIL|^panic:|--- FAIL/ { failed = 1 }
END { exit failed }
'
