#!/bin/sh
# Make a virtual environment with this project and the versions of its locks, PostgreSQL and Kafka included:
#   deploy/install.sh /opt/alert-assets
# Needs Python 3.11 to 3.13 and no rights but to write that folder. PYTHON names the interpreter.
set -eu
folder=${1:?"usage: deploy/install.sh FOLDER"}
source=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${PYTHON:-python3}" -m venv "$folder"
pip() { "$folder/bin/python" -m pip --quiet --disable-pip-version-check --no-cache-dir "$@"; }

# Without build isolation setuptools comes from the lock too: pyspark is published as source only.
sed -n '/^setuptools==/,/[^\]$/p' "$source/requirements-lock.txt" >"$work/setuptools.txt"
pip install --require-hashes -r "$work/setuptools.txt"
pip install --require-hashes --no-build-isolation --use-pep517 -r "$source/requirements-lock.txt"
pip install --require-hashes -r "$source/requirements-image-lock.txt"

# Built in a copy: the sources may belong to somebody else.
mkdir "$work/project"
for part in pyproject.toml README.md LICENSE NOTICE alert_assets; do cp -R "$source/$part" "$work/project/"; done
pip install --no-deps --no-build-isolation "$work/project"
