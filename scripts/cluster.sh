#!/usr/bin/env bash
# Runs three nodes and a read replica on this machine, shows who leads, kills that node
# and starts it again, and shows that the service goes on meanwhile. Then it serves until
# it is interrupted.
#
#   scripts/cluster.sh          # the data stay in data/cluster, and are used again
#   scripts/cluster.sh --once   # in a directory of its own; ends after the show
#
# Node N answers at 127.0.0.1:1N080 (gRPC also on 1N081), tells of itself at 1N082, and
# meets the others at 1N083.
set -euo pipefail
cd "$(dirname "$0")/.."

remit=$PWD/bin/remit
once=
dir=data/cluster
if [[ ${1:-} == --once ]]; then
	once=1
	dir=$(mktemp -d)
fi
mkdir -p "$dir"
declare -A pid=()

say() { printf '\n== %s\n' "$*"; }

# milliseconds since MOMENT, a number of nanoseconds
since() { echo $((($(date +%s%N) - $1) / 1000000)); }

start() { # NODE
	local n=$1 role=(--bootstrap-expect 3)
	if ((n == 4)); then role=(--replica); fi
	"$remit" serve --data-dir "$dir/node$n" \
		--addr "127.0.0.1:1${n}080" --grpc-addr "127.0.0.1:1${n}081" --admin-addr "127.0.0.1:1${n}082" \
		--peer-addr "127.0.0.1:1${n}083" --join 127.0.0.1:11083,127.0.0.1:12083,127.0.0.1:13083 \
		"${role[@]}" >>"$dir/node$n.log" 2>&1 &
	pid[$n]=$!
	disown # the shell need not tell of a node that is killed
}

# A node opens its API when it is a member and up to date.
ready() { # NODE
	local n=$1 tries=0
	until "$remit" whoami --addr "127.0.0.1:1${n}080" --timeout 1s >/dev/null 2>&1; do
		if ! kill -0 "${pid[$n]}" 2>/dev/null || ((++tries > 300)); then
			echo "node $n does not come up; the end of $dir/node$n.log:" >&2
			tail -n 5 "$dir/node$n.log" >&2
			exit 1
		fi
		sleep 0.1
	done
}

stop() {
	local n
	for n in "${!pid[@]}"; do kill "${pid[$n]}" 2>/dev/null || true; done
	for n in "${!pid[@]}"; do
		while kill -0 "${pid[$n]}" 2>/dev/null; do sleep 0.1; done
	done
	if [[ -n $once ]]; then rm -rf "$dir"; fi
}
trap stop EXIT
trap 'exit 130' INT TERM

export REMIT_STORE=acme
export REMIT_ADDR=127.0.0.1:11080,127.0.0.1:12080,127.0.0.1:13080

say "three nodes and a read replica"
for n in 1 2 3 4; do start "$n"; done
for n in 1 2 3 4; do ready "$n"; done
"$remit" cluster status

say "the example organisation acme; every node answers, the replica too"
"$remit" store import cmd/remit/demo/acme.fga.yaml || true # it may be there from the last time
for n in 1 2 3 4; do
	printf 'node %s: may user:sam see deal:orion? ' "$n"
	"$remit" check user:sam can_view deal:orion --addr "127.0.0.1:1${n}080"
done

# The leader is marked, and its API's port tells which node it is.
leader=$("$remit" cluster status | sed -n 's/.* leader .*127\.0\.0\.1:1\([1-3]\)080.*/\1/p')
if [[ -z $leader ]]; then
	echo "nobody leads" >&2
	exit 1
fi

say "node $leader leads, and is killed"
kill -9 "${pid[$leader]}"
began=$(date +%s%N)
for n in 1 2 3 4; do
	if ((n == leader)); then continue; fi
	printf 'node %s, without a leader: may user:sam see deal:orion? ' "$n"
	"$remit" check user:sam can_view deal:orion --addr "127.0.0.1:1${n}080"
done
"$remit" write deal:orion#shared@user:noa
echo "a write was acknowledged again $(since "$began") ms after the kill"

say "it comes back, and catches up"
start "$leader"
ready "$leader"
printf 'node %s: may user:noa see deal:orion? ' "$leader"
"$remit" check user:noa can_view deal:orion --addr "127.0.0.1:1${leader}080"
"$remit" delete deal:orion#shared@user:noa
"$remit" cluster status

if [[ -n $once ]]; then exit 0; fi
say "serving until you stop it (Ctrl-C); in another terminal, try"
echo "  export REMIT_STORE=acme REMIT_ADDR=$REMIT_ADDR"
echo "  $remit cluster status"
echo "  $remit cluster transfer-leader"
echo "  $remit explain user:noa can_view deal:orion"
echo "  kill -9 ${pid[2]}    # node 2; start it again with: $remit serve (as in this script)"
while :; do sleep 3600 & wait $!; done
