#!/usr/bin/env bash
# Generates the Go code of the API from rpc/proto into rpc/gen.
#
#   scripts/generate.sh          generate in place
#   scripts/generate.sh --check  fail if the checked-in code differs from what would be generated
#
# The tools are those of scripts/tools.mod; validate.proto comes from the Go module
# of protovalidate, so that no schema registry is asked.
set -euo pipefail
cd "$(dirname "$0")/.."

tools="$PWD/scripts/tools.mod"
go mod download -modfile="$tools" github.com/bufbuild/protovalidate
source_dir=$(go list -modfile="$tools" -m -f '{{.Dir}}' github.com/bufbuild/protovalidate)

deps=rpc/proto/.deps/protovalidate
rm -rf "$deps"
mkdir -p "$deps"
cp -R "$source_dir/proto/protovalidate/buf" "$deps/"
chmod -R u+w "$deps"

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -modfile="$tools" -o "$bin/" \
	github.com/bufbuild/buf/cmd/buf \
	google.golang.org/protobuf/cmd/protoc-gen-go \
	connectrpc.com/connect/v2/cmd/protoc-gen-connect-go
export PATH="$bin:$PATH"

cd rpc/proto
buf lint --path remit
if [ "${1:-}" = --check ]; then
	buf generate --output "$bin/generated/proto"
	diff -r "$bin/generated/gen" ../gen || {
		echo "generated code is out of date: run make generate" >&2
		exit 1
	}
else
	rm -rf ../gen
	buf generate
fi
