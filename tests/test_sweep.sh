#!/usr/bin/env bash
# Sweeps: the same bytes on 1 to 4 ranks, and after kills and signals, each followed by another number of ranks; units
# that depend on their coordinates alone; what a sweep refuses, and that it then changes nothing.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/program.sh" "$@"

compare=("$python" "$root/tests/compare_h5.py")
common=(--outputs "$work" --threads 1)
fast=(sweep --prior mixture --samplers exact,guided,pigdm,tds --fractions "[0.5,0.2]" --images 5 --mask-seeds 2
    --draws 7 --set diffusion.steps=20 "${common[@]}")

# --- any number of ranks and threads
files=()
for n in 1 2 3 4; do
    check "exact prior, $n ranks" ranks $n "${fast[@]}" --run "fast$n"
    files+=("$work/fast$n/sweep.h5")
done
check "exact prior, 3 threads" ranks 1 "${fast[@]}" --threads 3 --set train.shard=3 --run fast-threads
check "exact prior: same bytes" "${compare[@]}" "${files[@]}" "$work/fast-threads/sweep.h5"
for n in 2 3 4; do
    check "exact prior, $n ranks: same summary" cmp "$work/fast1/summary.csv" "$work/fast$n/summary.csv"
done
check "no parts are left" test ! -e "$work/fast4/parts"
ranks 1 "${fast[@]}" --draws 1 --run single >"$work/log" 2>&1
check "one draw a unit: says what there is not" grep -q "one draw a unit: no spread, coverage, CRPS.*at least 2.*sweep.draws" "$work/log"
check "one draw a unit: says what the dashes are" grep -q "means .*; -: .*at least 2 draws" "$work/log"
check "without the draws" ranks 2 "${fast[@]}" --set sweep.keep_draws=false --run thin

# --- a unit depends on its own coordinates: not on the grid around it, and the command posterior draws the same
check "another grid" ranks 2 "${fast[@]}" --fractions "[0.2]" --images "[9,3]" --mask-seeds "[1]" --samplers pigdm,guided \
    --run corner
check "posterior" ranks 1 posterior --prior mixture --sampler guided --fraction 0.2 --image 3 --mask-seed 1 --draws 7 \
    --set diffusion.steps=20 --set posterior.observation_noise=true "${common[@]}" --run one
cat >"$work/units.py" <<'END'
import json, sys
import h5py
import numpy as np

folder = sys.argv[1]
whole, corner, one, thin = (h5py.File(f"{folder}/{name}") for name in
                            ("fast1/sweep.h5", "corner/sweep.h5", "one/posterior.h5", "thin/sweep.h5"))


def text(file, name):
    value = np.zeros((), file.attrs.get_id(name).dtype)
    file.attrs.get_id(name).read(value)
    return value[()].decode()


def places(file):
    samplers = json.loads(text(file, "samplers"))
    return {(int(file["mask_seed"][u]), float(file["fraction"][u]), int(file["image"][u]), samplers[file["sampler"][u]]): u
            for u in range(len(file["sampler"]))}


def same(a, b, name):
    assert a.dtype == b.dtype and a.tobytes() == b.tobytes(), f"{name} differ"


here, there = places(whole), places(corner)
shared = set(here) & set(there)
assert len(here) == 80 and len(there) == 4 and len(shared) == 2, (len(here), len(there), len(shared))
for key in shared:
    for name in sorted(whole):
        if name != "sampler":
            same(whole[name][here[key]], corner[name][there[key]], f"{name} of {key}")
unit = here[(1, 0.2, 3, "guided")]
same(whole["draws"][unit], one["draws"][()], "draws of posterior")
same(whole["observed"][unit], one["observed"][()], "observation of posterior")
same(whole["truth"][unit], one["truth"][()], "truth of posterior")
settings = {"calibrated_v": 0.05, "pigdm_v": 0.2, "tds_v": 0.2, "zeta": 1, "max_gain": 3, "jumps": 10, "particles": 64,
            "draws_per_run": 4, "lambda_max": 1.5, "lambda_min": 0.25, "power": 1.5, "c": 0.05, "sigma_y": 0.1}
assert {name: one.attrs[name] for name in settings} == settings
assert "draws" not in thin
for name in thin:
    same(whole[name][()], thin[name][()], name)
# samplers of a cell share its observation, cells of a mask seed have nested masks
for name in ("observed", "mask", "label_weights"):
    same(whole[name][0], whole[name][3], name)
assert np.all(whole["mask"][here[(0, 0.2, 2, "tds")]] <= whole["mask"][here[(0, 0.5, 2, "tds")]])
# exact draws: ensemble measures as they are made
metrics = json.loads(text(whole, "metrics"))
mean, draws = whole["mean"][()], whole["draws"][()]
assert np.allclose(mean, draws.mean(1), atol=1e-5)
# rmse is written in double, its draws are float: sums of at most 16 pixels
missing = whole["mask"][()] == 0
error = np.array([np.sqrt(np.mean((draws[u].astype(float).mean(0) - whole["truth"][u])[missing[u]] ** 2))
                  for u in range(80)])
assert np.allclose(whole["metrics"][:, metrics.index("missing.rmse")], error, rtol=1e-5)
END
check "units are the same in every grid" $python "$work/units.py" "$work"

# --- killed, three times, each time resumed on another number of ranks
slow=(sweep --prior mixture --samplers guided,exact,pigdm --fractions "[0.5,0.2,0.9]" --images 12 --mask-seeds 3
    --draws 8 --set diffusion.steps=200 "${common[@]}")
check "reference" ranks 2 "${slow[@]}" --run reference

# start N RUN ARGUMENT...: the job in the background; its launcher (or the program) is $job.
start() {
    local launcher=() count=$1 name=$2
    shift 2
    if [ "$count" -gt 1 ]; then
        mpi_command "$count"
        launcher=("${MPIRUN[@]}")
    fi
    "${launcher[@]}" "$program" "$@" --run "$name" >"$work/$name.log" 2>&1 &
    job=$!
}

parts() {
    find "$work/$1/parts" -name 'unit-*.h5' 2>/dev/null | wc -l
}

# Waits until RUN has COUNT parts; fails if the job ends before.
wait_for_parts() {
    local hundredths
    for ((hundredths = 0; hundredths < 3000; hundredths++)); do
        [ "$(parts "$1")" -lt "$2" ] || return 0
        kill -0 "$job" 2>/dev/null || return 1
        sleep 0.01
    done
    return 1
}

kill_and_wait() {
    kill_job
    wait "$job" 2>/dev/null
    sleep 1.5 # ranks outlive a killed launcher by a second
}

before=0
for case in "1 20" "3 90" "2 160"; do
    read -r n count <<<"$case"
    start "$n" killed "${slow[@]}"
    check "killed on $n ranks: it had $count parts" wait_for_parts killed "$count"
    kill_and_wait
    check "killed on $n ranks: nothing was lost" test "$(parts killed)" -ge "$count" -a "$(parts killed)" -ge "$before"
    before=$(parts killed)
    echo "$before of 324 units were done"
done
stat -c '%n %Y %s' "$work"/killed/parts/unit-* >"$work/before"
check "killed three times: not done already" test "$before" -lt 324
check "resumed on 4 ranks, by its name alone" ranks 4 sweep "${common[@]}" --run killed
check "killed three times: same bytes" "${compare[@]}" "$work/reference/sweep.h5" "$work/killed/sweep.h5"
rm "$work/killed/summary.csv" "$work/killed/figures/sweep_metrics.png"
check "a finished sweep says so" ranks 1 "${slow[@]}" --run killed
check "and makes again what was lost" cmp "$work/reference/summary.csv" "$work/killed/summary.csv"
check "figures too" test -s "$work/killed/figures/sweep_metrics.png"
cp -r "$work/killed" "$work/truncated"
truncate -s 20000 "$work/truncated/sweep.h5"
refused "a finished sweep whose file is damaged" 2 "truncated/sweep.h5: truncated" -- "$program" "${slow[@]}" --run truncated
check "settings of posterior alone: a warning" test \
    "$(ranks 1 "${slow[@]}" --set posterior.draws=5 --run posterior-keys --images 1 2>&1 | grep -c 'warning: posterior.draws 5 is not used: a sweep has sweep.draws')" -eq 1
ranks 2 "${slow[@]}" --run killed >"$work/log" 2>&1
check "a finished sweep says so, with its name" grep -q "killed has finished already: 324 units" "$work/log"

# --- signals, damaged parts
for n in 1 3; do
    name=signal$n
    start "$n" "$name" "${slow[@]}"
    check "$name: under way" wait_for_parts "$name" 30
    kill -USR1 "$job"
    status=0
    wait "$job" || status=$?
    check "$name: exit status 75, found $status" test "$status" -eq 75
    check "$name: state" grep -q '"interrupted"' "$work/$name/status.json"
    check "$name: not done already" test "$(parts "$name")" -lt 324
done

# --- a rank that has nothing left to do: it goes on telling, sleeps, and hears a signal
ticks() { # of processor time of a process
    local fields
    read -r -a fields <"/proc/$1/stat"
    echo $((fields[13] + fields[14]))
}
steps_told() {
    $python -c 'import json, sys; print(json.load(open(sys.argv[1]))["step"])' "$work/idle/status.json"
}
start 2 idle "${slow[@]}"
check "idle: under way" wait_for_parts idle 4
idle=$(pid_of 0)
busy=$(pid_of 1)
kill -STOP "$busy"
for ((tenths = 0; tenths < 300 && $(steps_told) < 162 * 8; tenths++)); do # rank 0's half of the units
    sleep 0.1
done
check "idle: its share is done, and status.json says so" test "$(steps_told)" -ge $((162 * 8)) -a "$(parts idle)" -lt 324
before=$(ticks "$idle")
sleep 1
used=$(($(ticks "$idle") - before))
check "idle: $used of $(getconf CLK_TCK) ticks of a processor used in a second" test "$used" -le $(($(getconf CLK_TCK) / 5))
kill -USR1 "$idle"
kill -CONT "$busy"
status=0
wait "$job" || status=$?
check "idle: exit status 75, found $status" test "$status" -eq 75
check "idle: goes on" ranks 1 sweep "${common[@]}" --run idle

truncate -s -100 "$work/signal3/parts/unit-00000001.h5"
printf 'x' | dd of="$work/signal3/parts/unit-00000002.h5" bs=1 seek=2500 conv=notrunc status=none
cp "$work/signal3/parts/unit-00000004.h5" "$work/signal3/parts/unit-00000005.h5"
ranks 2 "${slow[@]}" --run signal3 >"$work/log" 2>&1
check "damaged parts: run goes on" test -e "$work/signal3/sweep.h5"
check "the samplers' settings are printed" grep -q "guided: sigma_y 0.1, lambda_max 1.5, .*, max_gain 3" "$work/log"
for number in 1 2 5; do
    check "damaged part $number: named" grep -q "warning.*unit-0000000$number.h5.*done again" "$work/log"
done
check "resumed after a signal" ranks 2 "${slow[@]}" --run signal1
check "signals and damaged parts: same bytes" "${compare[@]}" "$work/reference/sweep.h5" "$work/signal1/sweep.h5" \
    "$work/signal3/sweep.h5" "$work/idle/sweep.h5"

# --- a network
check "a small network" ranks 1 train "${small[@]}" --set train.max_steps=12 --set train.checkpoint_every_steps=6 --run net
network=(sweep --set "data.dir=$root/data/mnist" --set prior.images=300 --class 4 --images "[0,2]" --fractions "[0.1]"
    --mask-seeds 2 --draws 5 --samplers guided,dps "${common[@]}")
check "network, 1 rank" ranks 1 "${network[@]}" --checkpoint "$work/net" --run net1
check "network, 3 ranks" ranks 3 "${network[@]}" --checkpoint "$work/net" --threads 2 --run net3
check "network: same bytes" "${compare[@]}" "$work/net1/sweep.h5" "$work/net3/sweep.h5"
check "network: the kernels are on record" grep -qE '"kernels":.*"[0-9a-f]{16}"' "$work/net1/metrics.json"

mkdir "$work/test-split"
cp "$root"/data/mnist/t10k-* "$work/test-split"
unread=("$program" "${network[@]}" --set "data.dir=$work/test-split" --checkpoint "$work/net")
check "without training images no digits are read" "${unread[@]}" --run unread
check "the same bytes but for digits" $python -c '
import h5py, sys
a, b = h5py.File(sys.argv[1]), h5py.File(sys.argv[2])
assert set(a) - set(b) == {"draw_labels", "label_weights"} and set(b) < set(a)
assert all(a[name][()].tobytes() == b[name][()].tobytes() for name in b if name != "metrics")' \
    "$work/net1/sweep.h5" "$work/unread/sweep.h5"

# --- one rank's failure is everybody's
disk=$work/disk
mkdir -p "$disk"
if mount -t tmpfs -o size=1200k tmpfs "$disk" 2>/dev/null; then
    trap 'umount -l "$disk"; rm -rf "$work"' EXIT
    mpi_command 3
    status=0
    timeout 60 "${MPIRUN[@]}" "$program" "${slow[@]}" --outputs "$disk" --run full >"$work/log" 2>&1 || status=$?
    check "full disk, 3 ranks: exit status 1, found $status" test "$status" -eq 1
    check "full disk, 3 ranks: one message" test "$(grep -c "error: .*$disk/full/parts/unit.*No space" "$work/log")" -eq 1
    check "full disk: finished units are kept" test "$(find "$disk/full/parts" -name 'unit-*.h5' | wc -l)" -ge 10
    mount -o remount,size=40m "$disk"
    check "full disk: goes on once there is room" ranks 2 "${slow[@]}" --outputs "$disk" --run full
    check "full disk: same bytes" "${compare[@]}" "$work/reference/sweep.h5" "$disk/full/sweep.h5"
    umount "$disk"
    trap 'rm -rf "$work"' EXIT
else
    echo "not run: full disk (mounting a small tmpfs is not allowed here)"
fi

# --- bad input: refused by name, nothing changed
folder_state() { # the files of a run, but for its lock
    (cd "$1" && find . -type f ! -name .lock -exec md5sum {} + | sort)
}
start 1 half "${slow[@]}"
check "half a sweep" wait_for_parts half 10
kill_and_wait
folder_state "$work/half" >"$work/half.before"
half=("$program" "${slow[@]}" --run half)
refused "another grid" 2 half sweep.fractions '0.5, 0.2, 0.9' 0.3 -- "${half[@]}" --fractions "[0.3]"
refused "another setting" 2 half posterior.sigma_y 0.1 0.2 -- "${half[@]}" --set posterior.sigma_y=0.2
refused "another seed" 2 half seed -- "${half[@]}" --seed 4
refused "another prior" 2 half prior.name mixture gaussian -- "${half[@]}" --prior gaussian
refused "a network for a prior's run" 2 half "--prior mixture" -- "$program" sweep --checkpoint "$work/net" \
    "${common[@]}" --run half
refused "another instruction set" 2 half "AVX.*SSE" "instruction set" -- env DNNL_MAX_CPU_ISA=SSE41 "${half[@]}"
refused "--resume never" 2 half never -- "${half[@]}" --resume never
refused "--resume of a file" 2 "auto or never" -- "${half[@]}" --resume "$work/net/checkpoints/latest.h5"
check "refused: the run is as it was" diff "$work/half.before" <(folder_state "$work/half")
sed -i 's/"build":[^,}]*/"build": "another build"/' "$work/half/grid.json"
ranks 2 "${slow[@]}" --run half >"$work/log" 2>&1
check "another build: named in one warning" test "$(grep -c "warning: .*half was begun by another build, another build;" "$work/log")" -eq 1
check "another build: goes on" "${compare[@]}" "$work/reference/sweep.h5" "$work/half/sweep.h5"
check "a finished sweep says so, on any machine" env DNNL_MAX_CPU_ISA=SSE41 "${half[@]}"
folder_state "$work/net1" >"$work/net1.before"
refused "another checkpoint" 2 "$work/net1: " "another checkpoint" step-000000006.h5 -- \
    "$program" "${network[@]}" --checkpoint "$work/net/checkpoints/step-000000006.h5" --run net1
mkdir "$work/other"
cp "$root"/data/mnist/t10k-* "$work/other"
printf 'x' | dd of="$work/other/t10k-images-idx3-ubyte" bs=1 seek=$((16 + 784 * 4 + 300)) conv=notrunc status=none
refused "other test images" 2 net1 "other images" -- "$program" "${network[@]}" --set "data.dir=$work/other" \
    --checkpoint "$work/net" --run net1
check "refused: the finished run is as it was" diff "$work/net1.before" <(folder_state "$work/net1")
check "the network's run goes on by its name alone" ranks 1 sweep "${common[@]}" --run net1

bad=("$program" "${fast[@]}" --run bad)
bad_network=("$program" "${network[@]}" --checkpoint "$work/net" --run bad)
refused "fraction 0" 2 sweep.fractions '\(0, 1\]' -- "${bad[@]}" --fractions "[0.5,0]"
refused "fraction 1.5" 2 sweep.fractions '\(0, 1\]' 1.5 -- "${bad[@]}" --fractions "[1.5]"
refused "a fraction twice" 2 sweep.fractions "0.5 and 0.5" "8 of 16" -- "${bad[@]}" --fractions "[0.5,0.5]"
refused "fractions of equally many pixels" 2 sweep.fractions "0.2 and 0.2000001,.* 3 of 16" -- \
    "${bad[@]}" --fractions "[0.5,0.2,0.2000001]"
refused "a fraction of no pixel" 2 fraction -- "${bad[@]}" --fractions "[0.001]"
refused "unknown class" 2 sweep.class 12 -- "${bad_network[@]}" --class 12
refused "unknown label of the prior" 2 sweep.class "0 to 9" 12 -- "${bad[@]}" --class 12
check "a mode beyond the tenth" ranks 1 posterior --prior mixture --set prior.modes=20 --class 12 --draws 2 --outputs "$work" --run mode
check "a mode beyond the tenth: its label" grep -q '"label":[^0-9]*12,' "$work/mode/metrics.json"
refused "image index out of range" 2 sweep.images "0 to 981" 5000 -- "${bad_network[@]}" --images "[5000]"
refused "image of all out of range" 2 sweep.images "0 to 9999" 10000 -- "${bad_network[@]}" --class -1 --images "[10000]"
refused "an image twice" 2 sweep.images different -- "${bad[@]}" --images "[1,1]"
refused "unknown sampler" 2 magic guided dps_plus exact -- "${bad[@]}" --samplers guided,magic
refused "exact of a network" 2 exact prior -- "${bad_network[@]}" --samplers exact
refused "prior and checkpoint" 2 "--checkpoint" "--prior" -- "${bad[@]}" --checkpoint "$work/net"
refused "neither prior nor checkpoint" 2 "bad: no sweep to continue" "--checkpoint" "--prior" -- "$program" sweep "${common[@]}" --run bad
mpi_command 2
for source in "" "--prior gaussian --checkpoint $work/net"; do
    status=0
    # shellcheck disable=SC2086
    timeout 60 "${MPIRUN[@]}" "$program" posterior $source "${common[@]}" --run bad >"$work/log" 2>&1 || status=$?
    check "source '$source' on 2 ranks: exit status 2, found $status" test "$status" -eq 2
    check "source '$source' on 2 ranks: one message" test "$(grep -c "error: .*--checkpoint.*--prior" "$work/log")" -eq 1
done
refused "a prior on a GPU" 2 cuda mixture -- "${bad[@]}" --device cuda
refused "truths of a network's prior" 2 posterior.truth -- "${bad_network[@]}" --set posterior.truth=prior
refused "test images for a 4x4 prior" 2 4x4 28x28 -- "${bad[@]}" --set posterior.truth=test --set "data.dir=$root/data/mnist"
refused "the run of another command" 2 sweep train -- "$program" "${fast[@]}" --run net
check "refused: no folder was made" test ! -e "$work/bad"
finish
