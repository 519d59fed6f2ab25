#!/usr/bin/env bash
# The program under a real Slurm (slurm_cluster.sh): slurm/job.sbatch goes on after an interruption, preemption and a
# killed rank, with the bits of a run left alone; ranks take a GPU each however Slurm shows them.
#   test_slurm.sh PROGRAM [EMULATED]   EMULATED: the program on an emulated GPU, for the last part
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/program.sh" "$@"
. "$root/tests/slurm_cluster.sh"

[ "$(id -u)" -eq 0 ] || skip "needs root, to start nodes"
for command in munged slurmctld slurmd srun; do
    command -v $command >/dev/null || skip "$command is not installed"
done
unshare --uts --mount true 2>/dev/null || skip "namespaces are not permitted here"
trap 'cluster_stop; rm -rf "$work"' EXIT
cluster_start "$work/cluster" || { tail -n 5 "$work"/cluster/*.log; echo "FAILED: the cluster does not start"; exit 1; }

export OMPI_MCA_mpi_yield_when_idle=1 DDPM_MPI=$program SLURM_WAIT=3
tiny=(--set "data.dir=$root/data/mnist" --set data.limit=400 --set "model.channels=[8,16,24]" --set model.groups=4
    --set model.time_dim=16 --set diffusion.steps=24 --set train.batch=16 --set train.epochs=24 --set train.validation_images=8
    --set train.sample_every_epochs=0 --set sample.count=1 --set train.checkpoint_every_steps=40 --threads 1)

# submit NAME [SBATCH OPTION]... -- COMMAND...: queues slurm/job.sbatch; sets job
submit() {
    local name=$1 options=()
    shift
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    job=$(sbatch --parsable --output "$work/$name.log" --ntasks-per-node=1 --nodes=2 --chdir="$root" "${options[@]}" \
        slurm/job.sbatch "${@:2}" --outputs "$work/$name")
}

run_of() { echo "$work"/"$1"/train-*-"$job"; }
has_checkpoint() { [ -e "$(run_of "$1")/checkpoints/latest.h5" ]; }
state() { scontrol show job "$job" | sed -n 's/.*JobState=\([A-Z]*\).*/\1/p'; }
ended() { case "$(state)" in COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL) ;; *) return 1 ;; esac; }

# goes_on NAME: the job is started again and completes, in one folder, with the bits of the run left alone
goes_on() {
    local name=$1 starts
    until_true 120 ended
    starts=$(grep -c "job $job on .*, start" "$work/$name.log")
    if [ "$(state)" = COMPLETED ] && [ "$starts" -ge 2 ] && [ "$(ls -d "$work/$name"/train-* | wc -l)" -eq 1 ]; then
        mv "$(run_of "$name")" "$work/run-$name"
        same_run whole "run-$name"
        return
    fi
    echo "state $(state), $starts starts; log:"
    tail -n 15 "$work/$name.log"
    return 1
}

# --- without PMIx every task would train on its own
check "refused without PMIx" eval 'srun --quiet --mpi=none -n 2 "$program" train "${tiny[@]}" --outputs "$work" --run none \
    >"$work/none.log" 2>&1; [ $? -ne 0 ] && grep -q -e "--mpi=pmix" "$work/none.log" && [ ! -e "$work/none" ]'

# --- the job script
check "a run left alone" ranks 1 train "${tiny[@]}" --outputs "$work" --run whole

submit signal -- train "${tiny[@]}"
check "interrupted: under way" until_true 60 has_checkpoint signal
scancel --signal=USR1 "$job" # as --signal=USR1@120 does before the time limit
check "interrupted: goes on" goes_on signal

submit preempted --partition=low -- train "${tiny[@]}"
check "preempted: under way" until_true 60 has_checkpoint preempted
check "preempted: by another job" timeout 60 srun --quiet --partition=normal --nodes=2 --exclusive true
check "preempted: goes on" goes_on preempted

rank_of_job() { pgrep -f "$program train .*--outputs $work/$1" -x | tail -n 1; }
for lost_after in 0 600; do # and once more than the job has run for: not again
    LOST_AFTER=$lost_after submit "killed$lost_after" -- train "${tiny[@]}"
    check "killed rank: under way" until_true 60 has_checkpoint "killed$lost_after"
    kill -KILL "$(rank_of_job "killed$lost_after")"
    if [ $lost_after -eq 0 ]; then
        check "killed rank: goes on" goes_on killed0
    else
        until_true 60 ended
        check "killed rank, too early: job failed, found $(state)" test "$(state)" = FAILED
    fi
done

submit refused -- train "${tiny[@]}" --set train.lr=-1
until_true 60 ended
check "wrong setting: job failed, found $(state)" test "$(state)" = FAILED
check "wrong setting: not queued again" test "$(grep -c ", start" "$work/refused.log")" -eq 1

submit swept -- sweep --prior gaussian --images 40 --draws 64 --mask-seeds 2 --samplers guided,exact --threads 1
check "sweep: under way" until_true 60 eval 'ls "$work"/swept/sweep-*/parts/* >/dev/null'
scancel --signal=USR1 "$job"
until_true 120 ended
check "sweep: job completed, found $(state)" test "$(state)" = COMPLETED
check "sweep: two starts, one folder" test "$(grep -c ", start" "$work/swept.log") $(ls -d "$work"/swept/sweep-*/sweep.h5 | wc -l)" = "2 1"

# --- a GPU for each rank, however Slurm shows them
if [ -n "${2-}" ]; then
    emulated=$(realpath "$2")
    export CUDA_EMULATION_DEVICES=4 XDG_CACHE_HOME=$work/cache
    on_gpus() { # RUN [SRUN OPTION]...
        timeout 180 srun --quiet --mpi=pmix --nodes=1 --ntasks=2 "${@:2}" "$emulated" train "${tiny[@]}" \
            --device cuda --set train.max_steps=2 --outputs "$work" --run "$1"
    }
    refused_gpus() { ! on_gpus few --gpus-per-node=1 >"$work/few.log" 2>&1 && grep -q "no GPU is left on node" "$work/few.log"; }
    check "--gpus-per-node=2: all are shown to each rank" on_gpus shown --gpus-per-node=2
    check "--gpus-per-task=1: one is shown to each rank" on_gpus own --gpus-per-task=1
    check "--gpu-bind=none: Slurm shows nothing" on_gpus unbound --gpus-per-node=2 --gpu-bind=none
    check "--gpus-per-node=1: two ranks are refused" refused_gpus
fi
finish
