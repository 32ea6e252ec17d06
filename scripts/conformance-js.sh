#!/usr/bin/env bash
# A session of the unmodified JavaScript SDK against bin/remit, or with
# CONFORMANCE_TARGET=openfga against OpenFGA.
#
#   scripts/conformance-js.sh
set -euo pipefail
cd "$(dirname "$0")/../rpc/openfga/conformance"

for tool in node npm; do
  if ! command -v "$tool" >/dev/null; then
    echo "conformance-js.sh: $tool is missing; install Node.js 20.19 or newer, which brings node and npm" >&2
    exit 1
  fi
done

npm ci --prefix js --ignore-scripts --no-audit --no-fund --loglevel=error
go run ./with node js/session.mjs
