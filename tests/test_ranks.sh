#!/usr/bin/env bash
# The same bits on 1 to 4 ranks with 1 to 3 threads: training across the ends of epochs, samples, posterior draws.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/program.sh" "$@"

checkpoints=() samples=() posteriors=()
for n in 1 2 3 4; do
    for threads in 1 2 3; do
        name=r${n}t$threads
        check "train, $n ranks, $threads threads" \
            ranks $n train "${small[@]}" --set train.max_steps=20 --set threads=$threads --run $name
        checkpoints+=("$work/$name/checkpoints/latest.h5")
        check "steps of $name" $python "$root/tests/compare_steps.py" "$work/r1t1/steps.jsonl" "$work/$name/steps.jsonl"
    done
done
check "checkpoints" $python "$root/tests/compare_h5.py" --attributes step,epoch "${checkpoints[@]}"

check "another seed" ranks 1 train "${small[@]}" --set train.max_steps=20 --set seed=5 --run other
check "another seed gives another checkpoint" \
    $python "$root/tests/compare_h5.py" --differ "${checkpoints[0]}" "$work/other/checkpoints/latest.h5"

for case in "1 1" "1 3" "2 1" "3 2" "4 1"; do
    read -r n threads <<<"$case"
    common=(--checkpoint "$work/r1t1" --outputs "$work" --set threads="$threads")
    check "sample, $n ranks, $threads threads" ranks "$n" sample "${common[@]}" --count 21 --run "s$n$threads"
    check "posterior, $n ranks, $threads threads" ranks "$n" posterior "${common[@]}" \
        --set "data.dir=$root/data/mnist" --draws 9 --sampler guided --run "p$n$threads"
    samples+=("$work/s$n$threads/samples.h5")
    posteriors+=("$work/p$n$threads/posterior.h5")
done
check "samples" $python "$root/tests/compare_h5.py" "${samples[@]}"
check "posterior draws" $python "$root/tests/compare_h5.py" "${posteriors[@]}"
finish
