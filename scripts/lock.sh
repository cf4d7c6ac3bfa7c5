#!/usr/bin/env bash
# Recompile requirements/*.txt: exact versions with hashes for every platform, no registry address.
# Versions stay as they are unless a name is given:  scripts/lock.sh --upgrade-package numpy
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^set/{/^set/d;s/^# //p;}' "${BASH_SOURCE[0]}"; exit 0 ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
uv=$(command -v uv || ls .venv/bin/uv)
compile() { "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" "$@"; }
compile pyproject.toml -o requirements/runtime.txt "${@}"
compile pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt "${@}"
