#!/usr/bin/env bash
# A run that is killed or interrupted, then started again, ends with the bits of a run left alone.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/program.sh" "$@"

steps=150
settings=("${small[@]}" --set train.max_steps=$steps --set train.checkpoint_every_steps=11 --set threads=1)

# start N RUN: the job in the background; its launcher (or the program) is $job.
start() {
    local launcher=()
    if [ "$1" -gt 1 ]; then
        mpi_command "$1"
        launcher=("${MPIRUN[@]}")
    fi
    "${launcher[@]}" "$program" train "${settings[@]}" --run "$2" >"$work/$2.log" 2>&1 &
    job=$!
}

begin=$(date +%s%N)
check "reference run" ranks 1 train "${settings[@]}" --run reference
milliseconds=$((($(date +%s%N) - begin) / 1000000))
echo "reference: $milliseconds ms"

for case in "1 1" "2 2" "2 3" "1 3"; do
    read -r before after <<<"$case"
    name=kill$before$after
    start "$before" "$name"
    delay=$((milliseconds * (20 + RANDOM % 50) / 100))
    sleep "$((delay / 1000)).$(printf %03d $((delay % 1000)))"
    kill_job
    wait "$job" 2>/dev/null
    [ ! -f "$work/$name/steps.jsonl" ] || echo "killed after $delay ms; at least $(wc -l <"$work/$name/steps.jsonl") steps were done"
    sleep 1.5 # ranks outlive a killed launcher by a second
    check "killed on $before ranks, again on $after" ranks "$after" train "${settings[@]}" --run "$name"
    check "killed on $before ranks, again on $after: same bits" same_run reference "$name"
done

for case in "2 USR1 75" "1 USR1 75" "1 TERM 75" "1 INT 75" "2 TERM any"; do
    read -r n signal status <<<"$case"
    name=signal$n$signal
    start "$n" "$name"
    check "$name: first checkpoint" wait_for_checkpoint "$name"
    kill -"$signal" "$job"
    if [ "$status" = any ]; then # mpirun kills its ranks when it gets SIGTERM: the checkpoint may be an older one
        wait "$job" 2>/dev/null
        sleep 1.5
    else
        found=0
        wait "$job" || found=$?
        check "$name: exit status $status, found $found" test "$found" -eq "$status"
    fi
    check "$name: resumed" ranks 1 train "${settings[@]}" --run "$name"
    check "$name: same bits" same_run reference "$name"
done

"$program" train "${settings[@]}" --set train.max_steps=$((steps + 1)) --run kill11 >"$work/same.log" 2>&1
check "resumed by the same build: goes on, no warning" \
    test "$(grep -c "done: $((steps + 1)) steps" "$work/same.log")" -eq 1 -a "$(grep -c warning "$work/same.log")" -eq 0
env DNNL_MAX_CPU_ISA=SSE41 "$program" train "${settings[@]}" --set train.max_steps=$((steps + 1)) --run signal1TERM >"$work/isa.log" 2>&1
check "resumed with other instructions: goes on" grep -q "done: $((steps + 1)) steps" "$work/isa.log"
check "resumed with other instructions: one warning" \
    test "$(grep -c 'warning: .*step-000000150.h5 was .*another machine: libraries was .*AVX.*, is .*SSE' "$work/isa.log")" -eq 1

# --resume FILE begins a run; the same command goes on; a run does not go back
begun=("${settings[@]}" --run begun --resume "$work/branch.h5")
check "up to step 30" ranks 1 train "${settings[@]}" --set train.max_steps=30 --run first
cp "$(realpath "$work/first/checkpoints/latest.h5")" "$work/branch.h5"
check "begun at another run's step 30, 20 more" ranks 1 train "${begun[@]}" --set train.max_steps=50
check "the other run goes on" ranks 1 train "${settings[@]}" --set train.max_steps=80 --run first
cp "$(realpath "$work/first/checkpoints/latest.h5")" "$work/branch.h5"
check "the same command goes on where it was" ranks 2 train "${begun[@]}" --set train.max_steps=60
check "up to step 60" test "$(tail -n 1 "$work/begun/steps.jsonl" | grep -c '"step":60,')" -eq 1
rm "$work/branch.h5"
check "and without the file" ranks 2 train "${begun[@]}"
check "the same bits as without a stop" $python "$root/tests/compare_h5.py" --attributes step,epoch \
    "$work/reference/checkpoints/latest.h5" "$work/begun/checkpoints/latest.h5"
check "its steps are 31 to $steps, each once" $python - "$work/begun/steps.jsonl" "$steps" <<'PYTHON'
import json, sys
found = [json.loads(line)["step"] for line in open(sys.argv[1])]
assert found == list(range(31, int(sys.argv[2]) + 1)), found
PYTHON
find "$work/begun" -type f ! -name .lock -exec sha256sum {} + | sort >"$work/before"
refused "a run does not go back to its own checkpoint" 2 step-000000143.h5 "gone on to step $steps" -- \
    "$program" train "${settings[@]}" --run begun --resume "$work/begun/checkpoints/step-000000143.h5"
find "$work/begun" -type f ! -name .lock -exec sha256sum {} + | sort >"$work/after"
check "nothing changed" cmp "$work/before" "$work/after"

check "a finished run says so and exits with 0" ranks 1 train "${settings[@]}" --run reference
finish
