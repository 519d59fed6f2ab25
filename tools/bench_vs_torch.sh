#!/usr/bin/env bash
# Times build/ddpm_mpi against PyTorch on this machine, turn by turn, and prints medians, ratios and peak memory.
#
#   tools/bench_vs_torch.sh [--quick] [--rounds N] [--json FILE]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools/build.sh >/dev/null
tools/packages.sh test
. tools/mpi.sh
mpi_command 2
exec /usr/bin/python3 tools/bench_vs_torch.py "$@" -- "${MPIRUN[@]}"
