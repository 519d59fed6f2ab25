# Sourced by the scripts that start ranks: mpi_command RANKS sets the array MPIRUN, used as "${MPIRUN[@]}" PROGRAM ...
# shellcheck shell=bash

# Open MPI refuses to start as root unless told twice; a container's only user often is root.
if [ "$(id -u)" -eq 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

# More ranks than cores: wait asleep, not spinning. Threads choose their cores: bind to none.
mpi_command() {
    MPIRUN=(mpirun -n "$1" --bind-to none)
    if [ "$(id -u)" -eq 0 ] || [ "$(nproc)" -lt "$1" ]; then
        MPIRUN+=(--oversubscribe)
    fi
    if [ "$(nproc)" -lt "$1" ]; then
        export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1
    fi
}
