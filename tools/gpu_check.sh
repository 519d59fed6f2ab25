#!/usr/bin/env bash
# Everything to run on a machine with a GPU, in one call of less than 9 minutes, with a table at the end.
#
#   tools/gpu_check.sh [--device cuda|cpu] [--tiny] [--data DIR] [--seconds N] [--only STEP,STEP...] [--list]
#
#   --device cpu   the same steps on the CPU, to test this script; those that need a GPU are skipped. Implies --tiny
#   --tiny         tiny sizes, eight times the limits: for programs on an emulated device (tests/cuda_emulation)
#   --data DIR     MNIST's four files (default $DEVICE/data/mnist, then data/mnist)
#   --seconds N    for everything (default 525); what does not fit is skipped and says so
#
# Environment:
#   DEVICE_ENV     a file to source first, for machines where the programs were carried to: it may define mpirun()
#                  and on_device() (both start programs with the libraries they need) and set DEVICE, a folder with
#                  bin/ddpm_mpi, bin/test_{ops,routines,update,reverse,network,draws_recorded} and bin/test_cuda_*. Without it
#                  the programs are those of build/. LD_LIBRARY_PATH and the driver's folder are added to device_libs, if set
#   OUT            where results.txt, logs.txt, bench.json and the file of chosen cuDNN engines go (default ./gpu_check)
#   PYTHON         a Python with h5py and torch (default: the first of python3, /usr/bin/python3 that has h5py)
#
# Exit status: 0 if no step failed, 1 if one did. A step that fails or hangs does not keep the others from running, but
# for the first: where two steps of training fail, the rest would fail one by one.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
root=$PWD

device=cuda tiny=false data="" seconds=525 only="" list=false
while [ $# -gt 0 ]; do
    case "$1" in
    --device) device=${2:?--device needs cuda or cpu}; shift ;;
    --data) data=$(realpath -m "${2:?--data needs a folder}"); shift ;;
    --seconds) seconds=${2:?--seconds needs a number}; shift ;;
    --only) only=,${2:?--only needs names of steps},; shift ;;
    --list) list=true ;;
    --tiny) tiny=true ;;
    *) sed -n '2,22p' "${BASH_SOURCE[0]}"; exit 2 ;;
    esac
    shift
done
case "$device" in cpu | cuda) ;; *) echo "--device: expected cuda or cpu, found '$device'" >&2; exit 2 ;; esac
[ "$device" = cuda ] || tiny=true

on_device() { "$@"; }
if [ -n "${DEVICE_ENV:-}" ]; then
    # shellcheck disable=SC1090
    . "$DEVICE_ENV" || { echo "DEVICE_ENV=$DEVICE_ENV: could not be sourced" >&2; exit 2; }
fi
. tools/mpi.sh
# Containers mount the driver's libraries where the loader may not look, and PyTorch finds them nevertheless.
for folder in /usr/local/nvidia/lib64 /usr/local/nvidia/lib; do
    if [ -e "$folder/libcuda.so.1" ] && ! ldconfig -p 2>/dev/null | grep -q libcuda.so.1; then
        export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder"
    fi
done
[ -z "${device_libs:-}" ] || device_libs+=${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
if [ -n "${DEVICE:-}" ]; then
    bin=$DEVICE/bin program=$DEVICE/bin/ddpm_mpi
else
    bin=$root/build/tests program=$root/build/ddpm_mpi
fi
[ -x "$program" ] || { echo "$program: not there; build first, or set DEVICE_ENV" >&2; exit 2; }
for candidate in "${DEVICE:-$root}/data/mnist" "$root/data/mnist"; do
    [ -n "$data" ] || [ ! -f "$candidate/train-images-idx3-ubyte" ] || data=$candidate
done
[ -n "$data" ] || { echo "MNIST is not in data/mnist: tools/fetch_mnist.sh, or --data DIR" >&2; exit 2; }
python=${PYTHON:-}
for candidate in python3 /usr/bin/python3; do
    [ -n "$python" ] || ! "$candidate" -c 'import h5py' 2>/dev/null || python=$candidate
done
python=${python:-python3}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=${OUT:-$root/gpu_check}
! $list || out=$work # a list leaves nothing behind
mkdir -p "$out" || exit 2
: >"$out/logs.txt"
: >"$out/results.txt"
export OMP_WAIT_POLICY=passive DDPM_MPI_SHARE_DEVICES=1

. tools/gpu_check_steps.sh

needs_gpu() { [ "$device" = cuda ] || skip "needs a GPU"; }

needs_torch_gpu() { # asked once: importing PyTorch takes seconds
    needs_gpu
    [ ! -f "$work/torch_gpu" ] || return 0
    "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || skip "no PyTorch that sees a GPU"
    : >"$work/torch_gpu"
}

# ---------------------------------------------------------------- programs

# launch RANKS PROGRAM [ARGUMENT]...: several ranks share the one GPU; NCCL takes each for a host of its own, but is not to
# look for NVLink between these hosts, and newer versions ask for the last variable.
launch() {
    local count=$1 rank apps=()
    shift
    if [ "$count" -eq 1 ]; then
        on_device "$@"
        return
    fi
    for ((rank = 0; rank < count; rank++)); do
        [ "$rank" -eq 0 ] || apps+=(:)
        apps+=(-n 1 env "NCCL_HOSTID=r$rank" NCCL_SOCKET_IFNAME=lo NCCL_NET=Socket NCCL_NVLS_ENABLE=0 NCCL_DEBUG=WARN
            NCCL_MNNVL_ENABLE=0 NCCL_MULTI_RANK_GPU_ENABLE=1 "$@")
    done
    # shellcheck disable=SC2086
    mpirun --bind-to none --oversubscribe ${launcher_options:-} "${apps[@]}"
}

run_test() { # NAME [ARGUMENT]...
    local name=$1
    shift
    [ -x "$bin/$name" ] || skip "$bin/$name is not there"
    on_device "$bin/$name" "$@"
}

if ! $tiny; then
    channels='[16,32,64]' groups=8 batch=128 shard=32 steps=200 limit=0 short=1200 peer_shard=32
else
    channels='[8,16,24]' groups=4 batch=40 shard=8 steps=20 limit=220 short=220 peer_shard=5
fi
small=(--set "data.dir=$data" --set "data.limit=$limit" --set "model.channels=$channels" --set "model.groups=$groups"
    --set model.time_dim=32 --set "train.batch=$batch" --set "train.shard=$shard" --set train.epochs=1000
    --set train.lr=1e-3 --set train.validation_images=40 --set train.sample_every_epochs=0 --set sample.count=4
    --set diffusion.steps=24)

train() { # RANKS RUN STEPS DEVICE PRECISION [OPTION]...
    local ranks=$1 run=$2 count=$3 where=$4 precision=$5
    shift 5
    # a sum that hangs is reported within its step's limit
    launch "$ranks" "$program" train "${small[@]}" --outputs "$outputs" --set "train.max_steps=$count" --run "$run" \
        --device "$where" --set "train.precision=$precision" --set train.nccl_timeout_s=45 "$@"
}

run_path() { echo "$outputs/$1"; }

same_run() { # RUN RUN: bits of the checkpoints, and every step
    "$python" tests/compare_h5.py --attributes step,epoch "$(run_path "$1")/checkpoints/latest.h5" \
        "$(run_path "$2")/checkpoints/latest.h5" &&
        "$python" tests/compare_steps.py "$(run_path "$1")/steps.jsonl" "$(run_path "$2")/steps.jsonl"
}

precisions() { # those that this device has, for what is tested at several
    if [ "$device" = cuda ]; then echo "${1:-fp32 bf16}"; else echo fp32; fi
}

# ---------------------------------------------------------------- the steps

machine() { # passes if two steps of a small network run on it; the rest is for the log
    on_device "$program" --version
    echo "LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}, ldconfig: $(ldconfig -p 2>/dev/null | grep -m 1 libcuda.so.1)"
    tiny fp32 8 8 2 || return 1
    needs_gpu
    nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.limit --format=csv,noheader ||
        echo "nvidia-smi does not answer"
}

ops() { # PRECISION
    if [ "$device" = cuda ]; then run_test test_ops cuda "$1"; else run_test test_ops; fi
}

copies() { # PRECISION: other engines serve a whole batch than the few samples of the op tests
    ! $tiny || export XDG_CACHE_HOME=/dev/null # choices that cannot be kept are not timed, which would take long
    if [ "$device" = cuda ]; then
        run_test test_ops --copies cuda "$1" "$($tiny && echo 2 || echo 128)"
    else
        run_test test_ops --copies cpu "$1" 16
    fi
}

network() { # PRECISION
    local vectors=tests/vectors/unet_small.h5 quick=()
    ! $tiny || quick=(quick)
    if [ "$device" = cuda ]; then
        run_test test_network "$vectors" cuda "$1" "${quick[@]}"
    else
        run_test test_network "$vectors"
    fi
}

host_math() {
    local file found=0
    for file in "$bin"/test_cuda_*; do
        if [ ! -f "$file" ] || [ ! -x "$file" ]; then continue; fi
        on_device "$file" || return 1
        found=$((found + 1))
    done
    [ "$found" -gt 0 ] || skip "no test_cuda_* in $bin"
    echo "$found programs"
}

routines() {
    local name where=()
    [ "$device" = cpu ] || where=(cuda)
    for name in test_routines test_update test_reverse; do
        run_test "$name" "${where[@]}" || return 1
    done
}

autocast() {
    needs_torch_gpu
    "$python" tools/gpu_check.py autocast tests/vectors/unet_small.h5 "$work/network_bf16.log"
}

learning() { # on the device and on the CPU; on the CPU alone: in other shards
    train 1 learn_peer "$steps" cpu fp32 --set train.checkpoint_every_steps=0 --set "train.shard=$peer_shard" ||
        return 1
    train 1 learn_device "$steps" "$device" fp32 --set train.checkpoint_every_steps=0 || return 1
    "$python" tools/gpu_check.py losses "$(run_path learn_peer)/steps.jsonl" "$(run_path learn_device)/steps.jsonl"
}

# few images: within a few steps an epoch ends with a batch that is short, and a rank's share of it that is empty
ranks() {
    local precision count
    for precision in $(precisions); do
        for count in 1 2 4; do
            train "$count" "ranks$count-$precision" 24 "$device" "$precision" --set "data.limit=$short" \
                --set threads=1 || return 1
            [ "$count" -eq 1 ] || same_run "ranks1-$precision" "ranks$count-$precision" || return 1
        done
    done
    echo "1, 2 and 4 ranks bit-identical ($(precisions))"
}

resume() {
    local precision
    for precision in $(precisions); do
        train 1 "whole-$precision" 40 "$device" "$precision" --set "data.limit=$short" || return 1
        train 1 "parts-$precision" 17 "$device" "$precision" --set "data.limit=$short" || return 1
        train 1 "parts-$precision" 40 "$device" "$precision" --set "data.limit=$short" || return 1
        same_run "whole-$precision" "parts-$precision" || return 1
    done
    echo "stopped after 17 of 40 steps and resumed: bit-identical ($(precisions))"
}

ranks_float() { # sums in float, one shard per rank: to rounding, and the same bits again
    local sum=(--set train.shard=0 --set train.gradient_sum=fp32 --set threads=1) count=$((steps / 2)) ranks
    train 1 float1 "$count" "$device" fp32 "${sum[@]}" || return 1
    for ranks in 2 4; do
        train "$ranks" "float$ranks" "$count" "$device" fp32 "${sum[@]}" || return 1
        "$python" tools/gpu_check.py losses "$(run_path float1)/steps.jsonl" "$(run_path "float$ranks")/steps.jsonl" ||
            return 1
    done
    train 2 again2 "$count" "$device" fp32 "${sum[@]}" || return 1
    same_run float2 again2 || return 1
    if [ "$device" = cuda ]; then # MPI has no sum of bf16
        train 2 halves2 "$count" "$device" fp32 "${sum[@]}" --set train.gradient_sum=bf16 || return 1
        "$python" tools/gpu_check.py losses "$(run_path float1)/steps.jsonl" "$(run_path halves2)/steps.jsonl" 100 ||
            return 1
    fi
    echo "1, 2 and 4 ranks together to rounding; twice the same bits on 2"
}

recorded() { # one step recorded and replayed, against kernels queued one by one and on one stream: the same bits, quietly
    local precision cut name
    for precision in $(precisions); do
        for cut in 0 "$shard"; do
            name=$precision-$cut
            train 1 "recorded-$name" 40 "$device" "$precision" --set "train.shard=$cut" --set "data.limit=$short" 2>&1 |
                tee "$work/recorded-$name" || return 1
            train 1 "queued-$name" 40 "$device" "$precision" --set "train.shard=$cut" \
                --set "data.limit=$short" --set train.record_step=false || return 1
            ! grep -q 'could not be recorded' "$work/recorded-$name" || { echo "not recorded: see the log"; return 1; }
            same_run "recorded-$name" "queued-$name" || return 1
        done
        train 1 "stream-$precision" 40 "$device" "$precision" --set train.shard=0 --set "data.limit=$short" \
            --set train.side_stream=false || return 1
        same_run "recorded-$precision-0" "stream-$precision" || return 1
    done
    echo "recorded steps bit-identical with queued ones and with one stream ($(precisions); both kinds of sums)"
}

recorded_ranks() { # with NCCL's sums in the recording
    needs_gpu
    train 2 recorded2 40 "$device" bf16 --set train.shard=0 --set "data.limit=$short" 2>&1 | tee "$work/recorded2" || return 1
    train 2 queued2 40 "$device" bf16 --set train.shard=0 --set "data.limit=$short" --set train.record_step=false ||
        return 1
    ! grep -q 'could not be recorded' "$work/recorded2" || { echo "not recorded on 2 ranks: see the log"; return 1; }
    same_run recorded2 queued2 || return 1
    echo "recorded steps bit-identical with queued ones on 2 ranks"
}

draws() { # replayed passes against queued ones, every sampler
    needs_gpu
    local precision
    for precision in $(precisions); do run_test test_draws_recorded cuda "$precision" || return 1; done
}

rank_pid() { # MARK RANK
    local process
    for process in /proc/[0-9]*; do
        if tr '\0' '\n' <"$process/environ" 2>/dev/null | grep -qx "GPU_CHECK_MARK=$1" &&
            tr '\0' '\n' <"$process/environ" 2>/dev/null | grep -qx "OMPI_COMM_WORLD_RANK=$2" &&
            [ "$(cat "$process/comm" 2>/dev/null)" = ddpm_mpi ]; then
            echo "${process#/proc/}"
            return 0
        fi
    done
    return 1
}

steps_done() { wc -l <"$(run_path killed)/steps.jsonl" 2>/dev/null || echo 0; }

# killed SECONDS EVERY [OPTION]...: a checkpoint, then rank 1 dies in a run that writes one every so many steps; the job must
# have ended after so many seconds
killed() {
    local job tenths=0 status=0 begin pid before settings=("$device" fp32 --set train.shard=0 --set threads=1 "${@:3}")
    train 2 killed 5 "${settings[@]}" || return 1
    export GPU_CHECK_MARK=$$-$RANDOM
    train 2 killed 100000 "${settings[@]}" --set "train.checkpoint_every_steps=$2" &
    job=$!
    until [ "$(steps_done)" -ge 12 ]; do
        kill -0 "$job" 2>/dev/null || { echo "ended before step 12"; return 1; }
        [ $((tenths++)) -lt 1200 ] || { echo "not at step 12 within two minutes"; kill "$job"; return 1; }
        sleep 0.1
    done
    pid=$(rank_pid "$GPU_CHECK_MARK" 1 2>/dev/null) || { echo "rank 1 not found"; kill "$job"; return 1; }
    begin=$SECONDS
    kill -KILL "$pid"
    wait "$job" || status=$?
    echo "exit status $status after $((SECONDS - begin)) s"
    # a launcher that was told to go on after failures counts them as successes
    [ "$status" -ne 0 ] || [ -n "${launcher_options:-}" ] || return 1
    [ $((SECONDS - begin)) -le "$1" ] || return 1
    sleep 1.5 # ranks outlive a killed launcher by a second
    ! rank_pid "$GPU_CHECK_MARK" 0 2>/dev/null || { echo "rank 0 is still there"; return 1; }
    unset GPU_CHECK_MARK
    before=$("$python" tools/gpu_check.py step "$(run_path killed)/checkpoints/latest.h5") || return 1
    train 1 killed $((before + 3)) "${settings[@]}" || return 1
    echo "rank 1 killed: the job ended with status $status and went on from step $before"
}

# The launcher does not end the other ranks: the program must notice by itself. Only sums of device memory are watched,
# so the ranks meet in no other call: no checkpoints, epochs of 60,000 images. NCCL's own watch over its sockets may or
# may not see the death: the deadline must end it in time. It covers all steps that are queued, and sums of ranks that
# share a GPU are slow.
left_alone() {
    needs_gpu
    ! $tiny || skip "an emulated device is slower than its time limit; tests/test_emulated.sh has the same"
    launcher_options=--enable-recovery
    killed 40 0 --set train.nccl_timeout_s=25 --set data.limit=0 --set train.validation_images=0
}

# tiny PRECISION BATCH SHARD STEPS [COMMAND]...: a training of almost nothing, started by COMMAND
tiny() {
    local precision=$1 batch=$2 shard=$3 count=$4
    shift 4
    on_device "$@" "$program" train "${small[@]}" --outputs "$outputs" --device "$device" --set data.limit=16 \
        --set 'model.channels=[8,16,24]' --set model.groups=4 --set "train.batch=$batch" --set "train.shard=$shard" \
        --set "train.max_steps=$count" --set train.validation_images=8 --set diffusion.steps=4 \
        --set "train.precision=$precision" --run "tiny-$precision-$shard-$#"
}

sanitizer() {
    needs_gpu
    local tool name memcheck setting
    tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null) ||
        skip "no compute-sanitizer"
    on_device "$tool" --tool memcheck "$bin/test_update" cuda >"$work/probe" 2>&1
    ! grep 'Device not supported' "$work/probe" || skip "compute-sanitizer does not work on this machine"
    for name in test_routines test_update test_reverse; do
        on_device "$tool" --tool memcheck --error-exitcode 9 "$bin/$name" cuda || return 1
        on_device "$tool" --tool racecheck --error-exitcode 9 "$bin/$name" cuda || return 1
    done
    # Libraries probe with calls that may fail: only memory errors count. Each first without the tool, which would
    # slow down the choice of cuDNN's engines.
    memcheck=("$tool" --tool memcheck --report-api-errors no --error-exitcode 9)
    for setting in "fp32 8 8 2" "bf16 8 8 2" "bf16 6 0 4"; do
        # shellcheck disable=SC2086
        tiny $setting && tiny $setting "${memcheck[@]}" || return 1
    done
    grep -c 'ERROR SUMMARY: 0 errors' "$work/sanitizer.log" | sed 's/$/ runs without errors/'
}

kernels() {
    if [ "$device" = cuda ]; then
        run_test test_ops --perf cuda bf16 "$($tiny && echo 1 || echo 128)"
    else
        run_test test_ops --perf cpu fp32 1
    fi
}

bench_settings() {
    if ! $tiny; then
        echo --steps 100 --warmup 100 --set train.batch=128
    else
        echo --steps 2 --warmup 1 --set train.batch=8 --set 'model.channels=[8,16,24]' --set model.groups=4
    fi
}

bench() { # train|sample PRECISION [OPTION]...
    local what=$1 precision=$2 name="$1 $2"
    shift 2
    [ $# -eq 0 ] || name+=" ${*: -1}"
    # shellcheck disable=SC2046
    on_device "$program" bench "$what" --json $(bench_settings) --device "$device" --set "data.dir=$data" \
        --set "train.precision=$precision" "$@" >"$work/bench.json" || return 1
    "$python" tools/gpu_check.py bench "ours $name" "$work/bench.json" "$out/bench.json"
}

sampling() { # every step of ancestral sampling by the command itself: 128 images at once, and 5 times 128
    local count drawn=0 network=()
    $tiny || network=(--set 'model.channels=[64,128,256]' --set model.time_dim=256
        --set diffusion.steps=300 --set train.shard=0)
    train 1 trained 2 "$device" "$([ "$device" = cuda ] && echo bf16 || echo fp32)" "${network[@]}" \
        --set sample.count=1 || return 1
    for count in 128 640; do
        ! $tiny || count=$((count / 64))
        on_device "$program" sample --checkpoint "$(run_path trained)" --count "$count" --weights raw \
            --device "$device" --outputs "$outputs" --run "drawn$count" || return 1
        cp "$(run_path "drawn$count")/metrics.json" "$work/drawn.$((++drawn)).json"
    done
    "$python" tools/gpu_check.py sampling "$work/drawn.1.json" "$work/drawn.2.json"
}

torch_bench() { # NAME [OPTION]...
    local name=$1 sizes=(--batch 128 --steps 100 --warmup 100)
    shift
    if [ "$device" = cuda ]; then needs_torch_gpu; else "$python" -c 'import torch' || skip "no torch"; fi
    ! $tiny || sizes=(--batch 8 --steps 2 --warmup 1 --channels 8 16 24 --groups 4)
    "$python" tools/torch_unet.py bench --json --device "$device" "${sizes[@]}" "$@" >"$work/$name.json" || return 1
    "$python" tools/gpu_check.py bench "$name" "$work/$name.json" "$out/bench.json"
}

compiled() {
    needs_gpu
    torch_bench "$@"
}

ceilings() {
    needs_torch_gpu
    "$python" tools/gpu_check.py ceilings
}

report() {
    needs_gpu
    ! $tiny || skip "takes minutes: not with --tiny"
    local need
    need=$("$python" tools/gpu_check.py report-seconds "$out/bench.json") || skip "no bench of our training step"
    [ "$need" -le "$(($(remaining) - 5))" ] || skip "needs about $need s, $(remaining) s left"
    on_device "$program" train --config configs/report.json --set "data.dir=$data" --set train.validation_images=1000 \
        --device "$device" --outputs "$outputs" --run report || return 1
    cp "$(run_path report)/metrics.json" "$out/report_metrics.json"
    "$python" tools/gpu_check.py loss "$out/report_metrics.json"
}

: >"$out/bench.json"
# What steps that share the GPU choose among cuDNN's engines is not for the timed ones, and these need not choose anew.
own_cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}
mkdir -p "$own_cache" "$work/cache"
for_checks() { export XDG_CACHE_HOME=$work/cache; }
for_timing() { export XDG_CACHE_HOME=$own_cache; }
for_checks
step machine 120 machine
if [ "$failures" -gt 0 ]; then
    echo "no use in going on: see $out/logs.txt"
    exit 1
fi
step host_math 30 host_math
step routines 90 routines
# Several at a time: these are not timed, and share the GPU.
if [ "$device" = cuda ]; then
    for precision in fp32 tf32 bf16; do start "network_$precision" 120 network "$precision"; done
    collect
    for precision in fp32 tf32 bf16; do start "ops_$precision" 150 ops "$precision"; done
    for precision in fp32 bf16; do start "copies_$precision" 120 copies "$precision"; done
    collect
else
    step network_fp32 120 network fp32
    step ops_fp32 150 ops fp32
    step copies_fp32 120 copies fp32
fi
start autocast 60 autocast
start learning 120 learning
start resume 120 resume
start recorded 150 recorded
start draws 120 draws
collect
# Timed: one at a time, what was asked for first.
for_timing
bf16=$([ "$device" = cuda ] && echo bf16 || echo fp32)
best=()
[ "$device" = cpu ] || best=(--dtype bf16 --channels-last)
step ceilings 60 ceilings
step "train_$bf16" 60 bench train "$bf16"
step torch_untuned 120 compiled torch_untuned "${best[@]}" --compile --untuned-graphs
step sampling 60 sampling
step kernels 90 kernels
[ "$device" = cpu ] || step train_one_stream 60 bench train bf16 --set train.side_stream=false
step report 400 report
# Ranks that share the GPU: NCCL is not made for that, and may need its time limits.
for_checks
step ranks 90 ranks
step ranks_float 90 ranks_float
step recorded_ranks 60 recorded_ranks
step killed 60 killed 30 5
for_timing
step sample_bench 40 bench sample "$bf16"
step torch_infer 60 torch_bench torch_infer --infer "${best[@]}"
step torch_eager 60 torch_bench torch_eager "${best[@]}"
if [ "$device" = cuda ]; then # what the recording and the sums in float are worth
    step train_queued 60 bench train bf16 --set train.record_step=false
    step train_fixed 60 bench train bf16 --set "train.shard=$($tiny && echo 8 || echo 128)"
    step train_tf32 60 bench train tf32
    step train_fp32 60 bench train fp32
fi
step torch_compiled 90 compiled torch_compiled "${best[@]}" --compile
for_checks
step left_alone 90 left_alone
step sanitizer 240 sanitizer
for_timing
step torch_graphs 300 compiled torch_graphs "${best[@]}" --compile --graphs

$list && exit 0
cp "$own_cache"/ddpm_mpi/cudnn-*.jsonl "$out" 2>/dev/null
"$python" tools/gpu_check.py table "$out/bench.json" | tee -a "$out/results.txt"
echo "$failures failed; results in $out" | tee -a "$out/results.txt"
[ "$failures" -eq 0 ]
