#!/usr/bin/env bash
# Runs every fuzz target for a time, one after the other.
#
#   scripts/fuzz.sh 30s
set -euo pipefail
cd "$(dirname "$0")/.."
duration=${1:-30s}

grep -rEl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r package; do
	grep -hoE '^func (Fuzz[A-Za-z0-9_]+)' "$package"/*_test.go | awk '{print $2}' | sort | while read -r target; do
		echo "== $package $target"
		go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$duration" -fuzzminimizetime 1x
	done
done
