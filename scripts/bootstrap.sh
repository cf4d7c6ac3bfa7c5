#!/usr/bin/env bash
# Make .venv with every pinned dependency. Needs bash and Python 3.11+ with pip or ensurepip; nothing else.
# uv is taken from the PATH; if there is none, a pinned and hash-checked one goes into .tools.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^set/{/^set/d;s/^# //p;}' "${BASH_SOURCE[0]}"; exit 0 ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export UV_PYTHON_DOWNLOADS=never

say() { printf '%s\n' "$*" >&2; }

python=""
for name in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
  if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$(command -v "$name")
    break
  fi
done
if [ -z "$python" ]; then
  say "setup: no Python 3.11 or newer found (tried ${PYTHON:-python3, python3.13, python3.12, python3.11, python}). Install one, or say PYTHON=/path/to/python3."
  exit 1
fi

stamp=".venv/.stamp-$(cat requirements/dev.txt pyproject.toml | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])')"
if [ -e "$stamp" ] && [ -x .venv/bin/python ]; then
  exit 0
fi

free=$("$python" -c 'import shutil; print(shutil.disk_usage(".").free // 10**9)')
need=9
[ -d .venv ] && need=2
if [ "$free" -lt "$need" ]; then
  say "setup: $free GB free on this disk, about $need GB are needed (torch with its libraries is most of it). Make room and run again."
  exit 1
fi

find_uv() {
  for candidate in "$(command -v uv || true)" .tools/uv/bin/uv .tools/pip/bin/uv; do
    if [ -n "$candidate" ] && [ -x "$candidate" ]; then printf '%s' "$candidate"; return; fi
  done
}
uv=$(find_uv)
if [ -z "$uv" ]; then
  say "setup: fetching uv into .tools"
  mkdir -p .tools
  if "$python" -m venv .tools/uv >/dev/null 2>&1; then
    .tools/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
  else
    rm -rf .tools/uv
    "$python" -m pip install --quiet --disable-pip-version-check --require-hashes --target .tools/pip -r requirements/uv.txt
  fi
  uv=$(find_uv)
fi
if [ -z "$uv" ]; then
  say "setup: uv could not be installed with $python (it needs pip or ensurepip). Install uv, or pip for that Python, and run again."
  exit 1
fi

say "setup: installing pinned packages into .venv (about 7 GB the first time, a minute or two)"
[ -x .venv/bin/python ] || "$uv" venv --quiet --python "$python" .venv
"$uv" pip sync --quiet --python .venv/bin/python --require-hashes requirements/dev.txt
"$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
rm -f .venv/.stamp-*
touch "$stamp"
