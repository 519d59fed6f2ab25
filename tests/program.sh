# Sourced by the tests that run the program:  . program.sh PROGRAM
# Gives: program, root, work (a temporary folder), python, ranks(), wait_for_checkpoint(),
# kill_job(), pid_of(), same_run(), check(), refused(), skip(), finish().
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program=$(realpath "${1:-$root/build/ddpm_mpi}")
python=/usr/bin/python3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$root/tools/mpi.sh"
failures=0

skip() {
    echo "skipped: $1"
    exit 77
}

[ -x "$program" ] || { echo "$program: not built" >&2; exit 1; }
[ -f "$root/data/mnist/train-images-idx3-ubyte" ] || skip "MNIST is not in data/mnist (tools/fetch_mnist.sh)"
$python -c 'import h5py, numpy' 2>/dev/null || skip "python3-h5py is not installed"

# ranks N COMMAND...: the program on N ranks; one rank without a launcher. At most 3 minutes.
ranks() {
    local count=$1
    shift
    if [ "$count" -eq 1 ]; then
        timeout 180 "$program" "$@"
    else
        mpi_command "$count"
        timeout 180 "${MPIRUN[@]}" "$program" "$@"
    fi
}

# wait_for_checkpoint RUN: until it has one, so that what comes next meets a run under way. It is the background $job.
wait_for_checkpoint() {
    local tenths
    for ((tenths = 0; tenths < 600; tenths++)); do
        [ ! -e "$work/$1/checkpoints/latest.h5" ] || return 0
        kill -0 "$job" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

# same_run RUN RUN: every bit of the newest checkpoints, and every step
same_run() {
    $python "$root/tests/compare_h5.py" --attributes step,epoch "$work/$1/checkpoints/latest.h5" \
        "$work/$2/checkpoints/latest.h5" && $python "$root/tests/compare_steps.py" "$work/$1/steps.jsonl" "$work/$2/steps.jsonl"
}

# kill_job: SIGKILL to the background command $job, a launcher or one process, and to its children
kill_job() {
    local pids
    pids=$(pgrep -P "$job")
    # shellcheck disable=SC2086
    kill -KILL "$job" $pids 2>/dev/null
}

# pid_of RANK: of the background launcher $job
pid_of() {
    local pid
    for pid in $(pgrep -P "$job"); do
        if tr '\0' '\n' <"/proc/$pid/environ" | grep -qx "OMPI_COMM_WORLD_RANK=$1"; then
            echo "$pid"
            return
        fi
    done
}

# check NAME COMMAND...: runs it quietly; a failure is shown and counted.
check() {
    local name=$1 output status=0
    shift
    output=$("$@" 2>&1) || status=$?
    if [ "$status" -eq 0 ]; then
        echo "ok: $name"
    else
        echo "FAILED: $name (exit status $status): $*"
        printf '%s\n' "$output" | tail -n 15 | sed 's/^/    /'
        failures=$((failures + 1))
    fi
}

# refused NAME STATUS PATTERN... -- COMMAND...: exit status, one line on standard error, each pattern in it
refused() {
    local name=$1 expected=$2 status=0 patterns=() problem="" pattern lines
    shift 2
    while [ "$1" != -- ]; do
        patterns+=("$1")
        shift
    done
    shift
    timeout 120 "$@" >"$work/stdout" 2>"$work/stderr" || status=$?
    [ "$status" -eq "$expected" ] || problem="expected exit status $expected, found $status"
    lines=$(grep -v -e '^--*$' -e '^$' "$work/stderr" | grep -c .)
    [ "$lines" -eq 1 ] || problem="$problem; expected one line on standard error, found $lines"
    for pattern in "${patterns[@]}"; do
        grep -qiE -- "$pattern" "$work/stderr" || problem="$problem; \"$pattern\" is not in the message"
    done
    if [ -z "$problem" ]; then
        echo "ok: $name: $(head -c 300 "$work/stderr" | head -n 1)"
    else
        echo "FAILED: $name: $problem"
        head -n 10 "$work/stderr" | sed 's/^/    /'
        failures=$((failures + 1))
    fi
}

finish() {
    [ "$failures" -eq 0 ] || { echo "$failures failed"; exit 1; }
    exit 0
}

# A network small enough to train in seconds; batches of 5 shards, and a last batch of each epoch of 20 samples
# in shards of 8, 8 and 4.
small=(--set "data.dir=$root/data/mnist" --set data.limit=220 --set "model.channels=[8,16,24]" --set model.groups=4
    --set model.time_dim=32 --set diffusion.steps=24 --set train.batch=40 --set train.shard=8 --set train.epochs=1000
    --set train.lr=1e-3 --set train.validation_images=40 --set train.sample_every_epochs=0 --outputs "$work")
