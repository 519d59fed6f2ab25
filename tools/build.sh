#!/usr/bin/env bash
# Installs what building and running need, configures build/ if it is not, and compiles: build/ddpm_mpi.
#
#   tools/build.sh [--cuda-if-gpu] [MESON OPTION]...     for example -Dwerror=true
#
# The CUDA backend is built where nvcc and cuDNN are; with --cuda-if-gpu, only where a GPU is too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1-}" = --cuda-if-gpu ]; then
    shift
    if [ -e /dev/nvidia0 ] || nvidia-smi -L >/dev/null 2>&1; then
        set -- -Dcuda=auto "$@"
    else
        set -- -Dcuda=disabled "$@"
    fi
fi

tools/packages.sh build run
if [ ! -f build/build.ninja ]; then
    meson setup build "$@"
elif [ $# -gt 0 ]; then
    meson configure build "$@"
fi
meson compile -C build
