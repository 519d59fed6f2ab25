#!/usr/bin/env bash
# Installs what building and running need, configures build/ if it is not, and compiles: build/ddpm_mpi.
#
#   tools/build.sh [MESON OPTION]...     for example -Dwerror=true
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools/packages.sh build run
if [ ! -f build/build.ninja ]; then
    meson setup build "$@"
elif [ $# -gt 0 ]; then
    meson configure build "$@"
fi
meson compile -C build
