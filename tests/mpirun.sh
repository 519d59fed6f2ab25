#!/usr/bin/env bash
# A test program on ranks of this machine, however few its cores:  mpirun.sh RANKS PROGRAM [ARGUMENT]...
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../tools/mpi.sh"
command -v mpirun >/dev/null || { echo "skipped: mpirun is not installed"; exit 77; }
mpi_command "$1"
export OMPI_MCA_mpi_yield_when_idle=1 # other tests run at the same time
shift
exec "${MPIRUN[@]}" "$@"
