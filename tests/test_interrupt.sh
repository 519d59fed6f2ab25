#!/usr/bin/env bash
# Signals and sudden death of single ranks: all stop together, or the job ends at once, and it can go on.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/program.sh" "$@"

limit=10 # seconds until the whole job must have ended
settings=("${small[@]}" --set train.checkpoint_every_steps=5 --set threads=1)

# start RUN: three ranks with far more steps than they will do; waits for the first checkpoint. Sets job and pids.
start() {
    name=$1
    mpi_command 3
    "${MPIRUN[@]}" "$program" train "${settings[@]}" --set train.max_steps=100000 --run "$1" >"$work/$1.log" 2>&1 &
    job=$!
    wait_for_checkpoint "$1"
    mapfile -t pids < <(pgrep -P "$job")
    check "$name: training" test -e "$work/$1/checkpoints/latest.h5" -a ${#pids[@]} -eq 3
}

# Waits for the job, at most a minute (not in a subshell, which has no children). Sets status, seconds.
finish_job() {
    local begin=$SECONDS watchdog
    (sleep 60 && kill -KILL "$job" "${pids[@]}") >/dev/null 2>&1 & # whoever reads this output waits for no sleep
    watchdog=$!
    status=0
    wait "$job" || status=$?
    seconds=$((SECONDS - begin))
    kill "$watchdog" 2>/dev/null
    wait "$watchdog" 2>/dev/null
    sleep 1.5 # ranks outlive a killed launcher by a second
    check "$name: ended after $seconds s, expected at most $limit" test $seconds -le $limit
    check "$name: no rank is left" none_left
}

none_left() { # but for those that wait to be collected
    local pid
    for pid in "${pids[@]}"; do
        case $(ps -o stat= -p "$pid") in '' | Z*) ;; *) ps -o pid,ppid,stat,etimes,args -p "$pid"; return 1 ;; esac
    done
}

# The newest checkpoint: a rank killed between its last two renames leaves latest.h5 on the one before.
steps_done() {
    local newest
    newest=$(ls "$work/$1"/checkpoints/step-*.h5 | tail -n 1)
    $python -c 'import h5py, sys; print(h5py.File(sys.argv[1])["/"].attrs["step"])' "$newest"
}

# continues RUN: two more steps on two ranks
continues() {
    local before
    before=$(steps_done "$1")
    ranks 2 train "${settings[@]}" --set train.max_steps=$((before + 2)) --run "$1" || return 1
    [ "$(steps_done "$1")" -eq $((before + 2)) ]
}

for rank in 0 2; do
    start killed$rank
    kill -KILL "$(pid_of $rank)"
    finish_job
    check "$name: exit status $status, expected a failure" test "$status" -ne 0 -a "$status" -ne 75
    check "$name: said so" grep -q "rank $rank .*signal 9" "$work/$name.log"
    check "$name: goes on" continues "$name"
done

start one-usr1
kill -USR1 "$(pid_of 2)"
finish_job
check "$name: exit status $status, expected 75" test "$status" -eq 75
check "$name: said so once" test "$(grep -c 'stopped by signal after step' "$work/$name.log")" -eq 1
check "$name: status.json" grep -q '"interrupted"' "$work/$name/status.json"
check "$name: goes on" continues "$name"

start all-term # as srun and scancel do it
for rank in 0 1 2; do
    kill -TERM "$(pid_of $rank)"
done
finish_job
check "$name: exit status $status, expected 75" test "$status" -eq 75
check "$name: goes on" continues "$name"

# one process whose terminal is closed, without and with nohup; it ends in any case
single=(train "${settings[@]}" --set train.checkpoint_every_steps=100000)
"$program" "${single[@]}" --set train.max_steps=100000 --run hangup >"$work/hangup.log" 2>&1 &
job=$! pids=($!) name=hangup
for ((tenths = 0; tenths < 300; tenths++)); do
    [ ! -s "$work/hangup/steps.jsonl" ] || break
    sleep 0.1
done
kill -HUP $job
finish_job
check "hangup: exit status $status, expected 75" test "$status" -eq 75
check "hangup: a checkpoint" test "$(steps_done hangup)" -ge 1
(
    trap '' HUP
    "$program" "${single[@]}" --set train.max_steps=300 --run nohup >"$work/nohup.log" 2>&1
) &
job=$!
for ((tenths = 0; tenths < 300; tenths++)); do
    [ ! -s "$work/nohup/steps.jsonl" ] || break
    sleep 0.1
done
pid=$(pgrep -P $job)
kill -HUP "$pid"
status=0
wait $job || status=$?
check "hangup, ignored: exit status $status, expected 0" test -n "$pid" -a "$status" -eq 0

status=0 # nothing to keep: it ends at once
timeout -k 10 2 "$program" bench allreduce --steps 1000000 >"$work/log" 2>&1 || status=$?
check "bench: a signal ends it, exit status $status" test "$status" -eq 124

# stopped between its last checkpoint and its end: the same command draws what is missing, once
last=("${single[@]}" --set train.max_steps=5)
for signal in USR1 KILL; do
    name=end-$signal
    "$program" "${last[@]}" --set sample.count=200000 --run "$name" >"$work/$name.log" 2>&1 &
    job=$! pids=($!)
    wait_for_checkpoint "$name"
    kill -$signal $job
    finish_job
    if [ $signal = USR1 ]; then
        check "$name: exit status $status, expected 75" test "$status" -eq 75
        check "$name: said so" grep -q "after step 5, before its figures were drawn; .* --run $name continues" "$work/$name.log"
    fi
    check "$name: again" ranks 1 "${last[@]}" --set sample.count=4 --run "$name"
    check "$name: complete" test "$(grep -c '"completed"' "$work/$name/status.json" "$work/$name/metrics.json" | grep -c ':1$')" -eq 2
    check "$name: figures" test -s "$work/$name/figures/samples.png"
    ranks 1 "${last[@]}" --set sample.count=4 --run "$name" >"$work/$name.log" 2>&1
    check "$name: says that it has finished" grep -q 'has finished already: 5 of 5' "$work/$name.log"
done

status=0 # the search for an image of a label is work, too
timeout -s USR1 -k 20 2 "$program" posterior --prior mixture --class 3 --image 100000000 --outputs "$work" --run search \
    >"$work/log" 2>&1 || status=$?
check "search for an image: a signal ends it, exit status $status" test "$status" -eq 124
check "search for an image: said so" grep -q 'stopped by signal: .* of the 100000001 images of label 3' "$work/log"
status=0 # a file-size limit is an error like others
(ulimit -f 20 && exec "$program" posterior --prior mixture --draws 2000 --set diffusion.steps=5 --outputs "$work" --run limited) \
    >"$work/log" 2>&1 || status=$?
check "file-size limit: exit status $status, expected 1" test "$status" -eq 1
check "file-size limit: said so" grep -q 'limited/posterior.h5: cannot write' "$work/log"

name=drawn # samples: nothing is kept, and a line says so
mpi_command 3
"${MPIRUN[@]}" "$program" sample --checkpoint "$work/one-usr1" --count 100000 --threads 1 --outputs "$work" --run $name \
    >"$work/$name.log" 2>&1 &
job=$!
for ((tenths = 0; tenths < 300; tenths++)); do
    [ ! -e "$work/$name/status.json" ] || break
    sleep 0.1
done
mapfile -t pids < <(pgrep -P "$job")
kill -USR1 "$(pid_of 1)"
finish_job
check "$name: exit status $status, expected 75" test "$status" -eq 75
check "$name: said so once" test "$(grep -c 'nothing of it is kept; the same command begins again' "$work/$name.log")" -eq 1
finish
