#!/usr/bin/env bash
# Compares Go benchmarks of a commit with those of the working tree, ten runs each,
# taken in turn so that a drift of the machine hits both.
#
#   scripts/bench-compare.sh HEAD 'Check'
set -euo pipefail
cd "$(dirname "$0")/.."
ref=${1:-HEAD} pattern=${2:-.}

work=$(mktemp -d)
trap 'git worktree remove --force "$work/old" 2>/dev/null || true; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/old" "$ref"

for run in 1 2 3 4 5 6 7 8 9 10; do
	echo "run $run of 10" >&2
	(cd "$work/old" && go test -run '^$' -bench "$pattern" -benchmem ./...) >>"$work/old.txt"
	go test -run '^$' -bench "$pattern" -benchmem ./... >>"$work/new.txt"
done
go tool -modfile=scripts/tools.mod benchstat "$work/old.txt" "$work/new.txt"
