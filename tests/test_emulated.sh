#!/usr/bin/env bash
# The program on the emulated GPU (cuda_emulation/), one and several ranks: what a GPU is to give bit by bit, and
# what together with the CPU to rounding; how it ends without a GPU, with too few, and when a rank dies.
#   test_emulated.sh PROGRAM [quick]    quick: fewer steps, at most 2 ranks
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/program.sh" "$@"

export XDG_CACHE_HOME=$work/cache CUDA_EMULATION_DEVICES=4

# Three whole batches and a short one of 5 images, whose last shard holds one, in each epoch.
tiny=(--set "data.dir=$root/data/mnist" --set data.limit=53 --set "model.channels=[8,16,24]" --set model.groups=4
    --set model.time_dim=16 --set diffusion.steps=8 --set train.batch=16 --set train.epochs=1000 --set train.lr=1e-3
    --set train.validation_images=8 --set train.sample_every_epochs=0 --set sample.count=2 --set train.bucket_mib=0.05
    --threads 1 --outputs "$work")

# train RANKS RUN STEPS PRECISION SHARD [OPTION]...: SHARD 0: one per rank, float sums; else sums in fixed point
train() {
    local count=$1 run=$2 steps=$3 precision=$4 shard=$5
    shift 5
    ranks "$count" train "${tiny[@]}" --device cuda --set "train.precision=$precision" --set "train.shard=$shard" \
        --set "train.max_steps=$steps" --run "$run" "$@"
}

near() { # RUN RUN [TIMES]: losses to rounding
    $python "$root/tools/gpu_check.py" losses "$work/$1/steps.jsonl" "$work/$2/steps.jsonl" "${3:-1}"
}

steps=6 several="2 4"
[ "${2-}" != quick ] || steps=4 several=2 # a whole epoch

# --- without a GPU, with too few, and as launchers and users show them to ranks
refused "no GPU" 1 "no CUDA device" -- env CUDA_EMULATION_DEVICES=0 "$program" train "${tiny[@]}" --device cuda

# per_rank NAME SETTING: makes a command NAME that sets this environment variable, in which $rank stands for the rank
per_rank() {
    # shellcheck disable=SC2016
    printf '#!/bin/sh\nrank=$OMPI_COMM_WORLD_RANK\nexport %s\nexec %s "$@"\n' "$2" "$program" >"$work/$1"
    chmod +x "$work/$1"
}

# refuses NAME MESSAGE [OPTION]...: two ranks of the command NAME end with status 1 and this message
refuses() {
    local name=$1 message=$2 status=0
    shift 2
    program=$work/$name ranks 2 train "${tiny[@]}" --run "$name-run" "$@" >"$work/$name.log" 2>&1 || status=$?
    [ $status -eq 1 ] && grep -q "error: $message" "$work/$name.log" && [ ! -e "$work/$name-run" ] && return
    echo "exit status $status"
    tail -n 5 "$work/$name.log"
    return 1
}
# shellcheck disable=SC2016
{
    per_rank crowded CUDA_EMULATION_DEVICES=1
    per_rank same 'CUDA_VISIBLE_DEVICES=3'
    per_rank own 'CUDA_VISIBLE_DEVICES=$((3 - rank))'
    per_rank some 'CUDA_EMULATION_DEVICES=$((4 - 4 * rank))'
}
check "more ranks than GPUs" refuses crowded "rank 1: no GPU is left on .*: this rank sees 1, taken by lower ranks" --device cuda
check "all ranks shown the same GPU" refuses same "rank 1: no GPU is left on .*: this rank sees 1, taken by lower ranks"
check "ranks shown a GPU each" eval 'program=$work/own train 2 own-run 2 fp32 0'
check "only some ranks see a GPU" refuses some "rank 0 on .* would compute on cuda but rank 1 on .* on cpu"
check "only some ranks see a GPU, and all are to use one" refuses some "rank 1: no CUDA device" --device cuda

# --- one rank: the CPU's losses; recorded and queued steps, a resumed run
check "CPU" ranks 1 train "${tiny[@]}" --device cpu --set train.shard=4 --set train.max_steps=$steps --run cpu
for precision in fp32 bf16; do
    for shard in 0 4; do
        name=$precision-$shard
        check "$name" train 1 "$name" $steps $precision $shard
        check "$name, queued" train 1 "$name-queued" $steps $precision $shard --set train.record_step=false
        check "$name: recorded as queued" same_run "$name" "$name-queued"
        check "$name, one stream" train 1 "$name-stream" $steps $precision $shard --set train.side_stream=false
        check "$name: the same on one stream" same_run "$name" "$name-stream"
    done
    check "$precision, first part" train 1 "$precision-parts" 2 $precision 0
    check "$precision, second part" train 1 "$precision-parts" $steps $precision 0
    check "$precision: resumed as in one go" same_run $precision-0 $precision-parts
done
check "fp32: together with the CPU" near cpu fp32-4
check "sums in float: together with those in fixed point" near fp32-4 fp32-0

# --- several ranks: fixed-point sums the same bits, float sums to rounding
for n in $several; do
    check "fixed-point sums, $n ranks" train $n fixed$n $steps fp32 4
    check "fixed-point sums, $n ranks: same bits" same_run fp32-4 fixed$n
    check "float sums, $n ranks" train $n float$n $steps fp32 0
    check "float sums, $n ranks: together" near fp32-0 float$n
done
check "bf16, 2 ranks" train 2 bf16-fixed2 $steps bf16 4
check "bf16, 2 ranks: same bits" same_run bf16-4 bf16-fixed2
check "float sums, 2 ranks, queued" train 2 queued2 $steps fp32 0 --set train.record_step=false
check "float sums, 2 ranks: recorded as queued" same_run float2 queued2
check "sums in bf16, 2 ranks" train 2 halves2 $steps fp32 0 --set train.gradient_sum=bf16
check "sums in bf16, 2 ranks: together" near fp32-0 halves2 100

# --- ranks, and parts of a run, that compute with other engines are named
other=$work/other
mkdir "$other"
cp -r "$XDG_CACHE_HOME/ddpm_mpi" "$other/"
sed -i '/f32/{s/"20"/"30:2=0"/;t;s/"30:2=0"/"20"/}' "$other"/ddpm_mpi/*.jsonl
# shellcheck disable=SC2016
printf '#!/bin/sh\n[ "$OMPI_COMM_WORLD_RANK" = 0 ] || export XDG_CACHE_HOME=%s\nexec %s "$@"\n' "$other" "$program" >"$work/unlike.sh"
chmod +x "$work/unlike.sh"
program=$work/unlike.sh train 2 unlike $steps fp32 4 >"$work/unlike.log" 2>&1
check "ranks with other engines: a warning" grep -q "warning: rank 1 on .* differs from rank 0 on .*; kernels " "$work/unlike.log"
cp -r "$work/fp32-4" "$work/resumed"
train 1 resumed $((steps + 1)) fp32 4 >"$work/resumed.log" 2>&1
check "resumed with the same engines: no warning" test "$(grep -c -e warning -e error "$work/resumed.log")" -eq 0
XDG_CACHE_HOME=$other train 1 resumed $((steps + 2)) fp32 4 >"$work/resumed.log" 2>&1
check "resumed with other engines: a warning" grep -q "warning: .*was written by .*: kernels was " "$work/resumed.log"

# --- rank 1 is killed, and the launcher lets the others go on: they see it by NCCL's error, or by its silence

# killed NAME MESSAGE: rank 0 ends by itself with this message
killed() {
    local job pid tenths status=0
    mpi_command 2
    "${MPIRUN[@]}" --enable-recovery "$program" train "${tiny[@]}" --device cuda --set train.precision=fp32 \
        --set train.shard=0 --set train.checkpoint_every_steps=2 --set train.nccl_timeout_s=15 --run "$1" >"$work/$1.log" 2>&1 &
    job=$!
    wait_for_checkpoint "$1"
    pid=$(pid_of 1)
    [ -n "$pid" ] && kill -KILL "$pid"
    for ((tenths = 0; tenths < 600; tenths++)); do
        kill -0 "$job" 2>/dev/null || break
        sleep 0.1
    done
    ! kill_job || { echo "the job had to be killed"; status=1; }
    wait "$job" 2>/dev/null
    grep -q "$2" "$work/$1.log" || { tail -n 5 "$work/$1.log"; status=1; }
    return $status
}
check "rank 1 killed: silence" killed silent "rank 0: no answer of the other ranks to a sum for 15 s"
export CUDA_EMULATION_NCCL_ERRORS=1
check "rank 1 killed: error" killed broken "sum over ranks on the device: remote process exited"
unset CUDA_EMULATION_NCCL_ERRORS
last=$($python -c "import h5py; print(h5py.File('$work/silent/checkpoints/latest.h5').attrs['step'])")
check "rank 1 killed: goes on alone" train 1 silent $((last + 1)) fp32 0

# --- draws: the CPU's to rounding
for device in cpu cuda; do
    draw=(--checkpoint "$work/fp32-4" --device $device --set train.precision=fp32 --set train.shard=4 --outputs "$work"
        --threads 1)
    check "sample, $device" ranks 1 sample "${draw[@]}" --count 10 --run sample-$device
    check "posterior, $device" ranks 1 posterior "${draw[@]}" --set "data.dir=$root/data/mnist" --draws 5 \
        --sampler pigdm --run posterior-$device
    check "sweep, $device" ranks 1 sweep "${draw[@]}" --set "data.dir=$root/data/mnist" --set prior.images=300 \
        --images "[0]" --mask-seeds 1 --fractions "[0.2]" --draws 3 --samplers guided,dps --run sweep-$device
done
# Rounding (1e-6 of eps_hat in each step) is amplified by what the first steps divide by, sqrt(abar_T) at worst.
near_draws() {
    $python "$root/tests/compare_near.py" 1e-4 "$work/$1-cpu/$3" "$work/$1-cuda/$3" "$2"
}
check "sample: together" near_draws sample samples samples.h5
check "posterior: together" near_draws posterior draws posterior.h5
check "sweep: together" near_draws sweep draws sweep.h5
# With one shard per rank a batch is padded to that shard's size: a draw is the same however many there are.
for count in 3 18; do
    draw_few=(--checkpoint "$work/fp32-4" --device cuda --set train.precision=fp32 --set train.batch=16 --outputs "$work" --threads 1)
    check "$count samples, one shard per rank" ranks 1 sample "${draw_few[@]}" --count $count --run "samples$count"
    check "$count posterior draws, one shard per rank" ranks 1 posterior "${draw_few[@]}" --set "data.dir=$root/data/mnist" \
        --draws $count --sampler pigdm --run "posterior$count"
done
check "one shard per rank: the same draws of any number" $python -c '
import h5py, sys
for few, many, name in zip(*[iter(sys.argv[1:])] * 3):
    few, many = (h5py.File(path)[name][()] for path in (few, many))
    assert len(few) == 3 and len(many) == 18 and few.tobytes() == many[:3].tobytes(), name' \
    "$work"/samples{3,18}/samples.h5 samples "$work"/posterior{3,18}/posterior.h5 draws
check "sample, 2 ranks" ranks 2 sample "${draw[@]}" --count 10 --run sample2
check "sample, 2 ranks: same bits" $python "$root/tests/compare_h5.py" "$work/sample-cuda/samples.h5" "$work/sample2/samples.h5"
finish
