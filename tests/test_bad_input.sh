#!/usr/bin/env bash
# Wrong input and a failing machine: one line that names file or key, what was expected and found; the right exit
# status; nothing lost.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/program.sh" "$@"

# A data folder with small files (the test split's, also as training split) that a case then breaks.
fresh_data() {
    rm -rf "$work/data"
    mkdir -p "$work/data"
    cp "$root"/data/mnist/t10k-* "$work/data/"
    cp "$work/data/t10k-images-idx3-ubyte" "$work/data/train-images-idx3-ubyte"
    cp "$work/data/t10k-labels-idx1-ubyte" "$work/data/train-labels-idx1-ubyte"
}
train=("$program" train "${small[@]}" --set train.max_steps=4)
bad_data=("${train[@]}" --set "data.dir=$work/data" --run bad-data)

# --- data
refused "missing data folder" 2 "$work/nowhere" -- "${train[@]}" --set "data.dir=$work/nowhere" --run bad-data
fresh_data
rm "$work/data/train-labels-idx1-ubyte"
refused "missing file" 2 train-labels-idx1-ubyte -- "${bad_data[@]}"
fresh_data
truncate -s 5000000 "$work/data/train-images-idx3-ubyte"
refused "truncated IDX" 2 train-images-idx3-ubyte 7840016 5000000 -- "${bad_data[@]}"
fresh_data
printf '\x00\x00\x08\x04' | dd of="$work/data/train-images-idx3-ubyte" conv=notrunc status=none
refused "wrong magic" 2 train-images-idx3-ubyte "0x0*803|2051" "0x0*804|2052" -- "${bad_data[@]}"
fresh_data
cp "$root/data/mnist/train-labels-idx1-ubyte" "$work/data/train-labels-idx1-ubyte"
refused "label and image counts differ" 2 labels "60,?000" "10,?000" -- "${bad_data[@]}"
fresh_data
rm "$work/data/train-images-idx3-ubyte"
mkfifo "$work/data/train-images-idx3-ubyte"
refused "a pipe as images" 2 train-images-idx3-ubyte "special file" -- timeout -s KILL 20 "${bad_data[@]}"
[ ! -e "$work/bad-data/checkpoints/latest.h5" ] || { echo "FAILED: bad data left a checkpoint"; failures=$((failures + 1)); }

# --- configuration and arguments
refused "unknown key" 2 train.bath -- "${train[@]}" --set train.bath=3
refused "value out of range" 2 train.lr -1 -- "${train[@]}" --set train.lr=-1
refused "wrong type" 2 train.batch '"?many"?' -- "${train[@]}" --set train.batch=many
echo '{"train": {"batch": 64, "bath": 3}}' >"$work/unknown.json"
refused "unknown key in a file" 2 unknown.json bath -- "${train[@]}" --config "$work/unknown.json"
printf '{"train": {"batch": 64\n' >"$work/broken.json"
refused "broken JSON" 2 broken.json -- "${train[@]}" --config "$work/broken.json"
refused "missing configuration" 2 absent.json -- "${train[@]}" --config "$work/absent.json"
refused "unknown option" 2 --batch-size -- "${train[@]}" --batch-size 3
refused "unknown command" 2 trian -- "$program" trian
refused "unknown device" 2 tpu cpu -- "${train[@]}" --device tpu
refused "no checkpoint given" 2 --checkpoint -- "$program" sample
refused "more samples than memory" 1 "sample.count 100000000" "out of memory" -- \
    bash -c 'ulimit -v 20000000 && exec "$@"' limited "${train[@]}" --set sample.count=100000000
refused "a schedule whose samples would not be finite" 2 "not finite" -- \
    "${train[@]}" --set diffusion.beta_start=1e-300 --set diffusion.beta_end=1e-300
# agreed NAME PATTERN COMMAND...: three ranks say one error, and none aborts the others
agreed() {
    local name=$1 pattern=$2
    shift 2
    mpi_command 3
    timeout 60 "${MPIRUN[@]}" "$@" >"$work/log" 2>&1
    check "$name, on three ranks: one error" \
        test "$(grep -c 'error: ' "$work/log").$(grep -c "error: .*$pattern" "$work/log").$(grep -c MPI_ABORT "$work/log")" = 1.1.0
}
agreed "a schedule without signal" "no signal" \
    "${train[@]}" --set diffusion.beta_start=0.5 --set diffusion.beta_end=0.9 --set diffusion.steps=1000
agreed "sums in bf16 without NCCL" "expected NCCL" "${train[@]}" --set train.shard=0 --set train.gradient_sum=bf16
refused "groups do not divide the channels" 2 model.groups -- "${train[@]}" --set model.groups=3

# --- checkpoints
good=("$program" train "${small[@]}" --set train.max_steps=12 --set train.checkpoint_every_steps=4
    --set train.checkpoint_keep=3 --set threads=1)
check "a good run" "${good[@]}" --run good
latest=$(readlink -f "$work/good/checkpoints/latest.h5")
refused "unknown sampler" 2 ddmp "ddpm" ddim -- "$program" sample --checkpoint "$latest" --sampler ddmp --outputs "$work"
refused "unknown posterior sampler" 2 magic dps_plus guided -- \
    "$program" posterior --checkpoint "$latest" --sampler magic --outputs "$work"
refused "missing checkpoint" 2 "$work/none.h5" -- "$program" sample --checkpoint "$work/none.h5" --outputs "$work"
mkfifo "$work/pipe"
refused "a pipe for a checkpoint" 2 "$work/pipe" "special file" -- \
    timeout -s KILL 20 "$program" sample --checkpoint "$work/pipe" --outputs "$work"
mkdir -p "$work/no-run" "$work/early/checkpoints"
for command in sample inspect; do
    refused "$command of a folder that is no run" 2 no-run "without checkpoints/step" -- "$program" $command --checkpoint "$work/no-run"
    refused "$command of a run without a checkpoint" 2 early "without checkpoints/step" -- "$program" $command --checkpoint "$work/early"
    refused "$command: setting against the checkpoint" 2 "model.channels .*8, ?16, ?24.*8, ?16, ?32" "leave them out" -- \
        "$program" $command --checkpoint "$latest" --set "model.channels=[8,16,32]"
done
check "inspect of a checkpoint takes settings that are not the network's" \
    test "$("$program" inspect --checkpoint "$latest" --set train.batch=3 --set train.shard=3 | grep -c 'a step of 3 images')" -eq 1
refused "not a checkpoint" 2 train-images-idx3-ubyte -- \
    "$program" sample --checkpoint "$root/data/mnist/train-images-idx3-ubyte" --outputs "$work"
refused "resume with another architecture" 2 model.channels -- "${train[@]}" --set "model.channels=[8,16,32]" --run good
refused "resume from a file of another architecture" 2 model.channels -- \
    "${train[@]}" --set "model.channels=[8,16,32]" --run elsewhere --resume "$latest"
refused "--resume never on a run with products" 2 good -- "${good[@]}" --run good --resume never
refused "another batch size on resume" 2 train.batch 40 48 -- "${good[@]}" --set train.batch=48 --run good
$python - "$latest" "$work/foreign.h5" <<'END'
import re, shutil, sys
import h5py, numpy
shutil.copy(sys.argv[1], sys.argv[2])
with h5py.File(sys.argv[2], "r+") as file:
    attribute = file.attrs.get_id("config")
    value = numpy.zeros((), attribute.dtype)
    attribute.read(value)
    attribute.write(numpy.array(re.sub(rb'("channels": \[[^]]*)24', rb'\g<1>32', value[()]), attribute.dtype))
END
refused "a checkpoint whose settings were altered" 2 foreign.h5 expected found -- \
    "$program" sample --checkpoint "$work/foreign.h5" --set sample.weights=raw --outputs "$work"

# --- results that are there: made again by the same command, else refused and left as they are
draw=(--outputs "$work" --set threads=1 --run)
sample=("$program" sample --checkpoint "$latest" --count 5 "${draw[@]}" drawn)
posterior=("$program" posterior --prior mixture --set diffusion.steps=10 --draws 3 "${draw[@]}" completed)
check "samples" "${sample[@]}"
check "posterior draws" "${posterior[@]}"
files_state() { # of all runs but their locks, and of what names the latest
    (cd "$work" && find . -path ./data -prune -o -type f ! -name .lock ! -name stdout ! -name stderr ! -name state -exec md5sum {} + | sort)
}
files_state >"$work/state"
refused "samples of another number" 2 drawn "sample.count: expected 5 .*found 6" -- "${sample[@]}" --count 6
refused "samples of another checkpoint" 2 drawn checksum -- "${sample[@]}" --checkpoint "${latest/12.h5/08.h5}"
refused "posterior draws of another image" 2 completed "posterior.image: expected 0 .*found 3" -- "${posterior[@]}" --image 3
refused "samples in the run of a training" 2 good "a run of sample.*one of train" -- "${sample[@]}" --run good
refused "posterior draws in the run of samples" 2 drawn "of posterior.*one of sample" -- "${posterior[@]}" --run drawn
mv "$work/good/status.json" "$work/status.json"
: >"$work/good/status.json"
refused "samples in the run of a training whose status is lost" 2 good "a run of sample.*one of train" -- "${sample[@]}" --run good
mv "$work/status.json" "$work/good/status.json"
check "refused: everything is as it was" diff "$work/state" <(files_state)
cp -r "$work/drawn" "$work/drawn-before"
check "the same samples again" "${sample[@]}" --set threads=2
check "the same samples again: same bits" $python "$root/tests/compare_h5.py" "$work/drawn/samples.h5" "$work/drawn-before/samples.h5"
check "the same posterior draws again" "${posterior[@]}"
truncate -s -1000 "$work/drawn/samples.h5"
refused "samples that cannot be read" 2 samples.h5 truncated "another --run" -- "${sample[@]}"

# --- a run that cannot begin leaves no folder
cp "$latest" "$work/torn.h5"
truncate -s -1000 "$work/torn.h5"
new=(--outputs "$work/new/outputs" --run begun)
refused "resume from a damaged file" 2 torn.h5 -- "${train[@]}" "${new[@]}" --resume "$work/torn.h5"
refused "resume from a missing file" 2 none.h5 -- "${train[@]}" "${new[@]}" --resume "$work/none.h5"
refused "resume from a file of other settings" 2 train.batch -- "${train[@]}" "${new[@]}" --set train.batch=48 --resume "$latest"
fresh_data
refused "resume with other images" 2 "$latest" -- "${train[@]}" "${new[@]}" --set "data.dir=$work/data" --resume "$latest"
mpi_command 2
timeout 60 "${MPIRUN[@]}" "${train[@]}" "${new[@]}" --resume "$work/torn.h5" >"$work/log" 2>&1
check "a run that cannot begin leaves no folder" test ! -e "$work/new"

# A damaged newest checkpoint is named, and the one before it carries on to the same end.
for damage in truncated flipped; do
    cp -r "$work/good" "$work/$damage"
    newest=$(readlink -f "$work/$damage/checkpoints/latest.h5")
    if [ $damage = truncated ]; then
        truncate -s -1000 "$newest"
    else
        offset=$(($(stat -c %s "$newest") / 2))
        byte=$(od -An -tu1 -j $offset -N 1 "$newest")
        printf "\\x$(printf %02x $(((byte + 1) % 256)))" | dd of="$newest" bs=1 seek=$offset conv=notrunc status=none
    fi
    cp "$newest" "$work/$damage.h5"
    status=0
    "${good[@]}" --run $damage >"$work/log" 2>&1 || status=$?
    check "$damage newest checkpoint: run goes on" test "$status" -eq 0
    check "$damage newest checkpoint: named" grep -q "$(basename "$newest")" "$work/log"
    check "$damage newest checkpoint: same bits" $python "$root/tests/compare_h5.py" "$latest" "$work/$damage/checkpoints/latest.h5"
    refused "$damage checkpoint by name" 2 "$damage.h5" -- \
        "$program" sample --checkpoint "$work/$damage.h5" --outputs "$work"
done
cp -r "$work/good" "$work/hopeless"
truncate -s 1000 "$work"/hopeless/checkpoints/step-*.h5
status=0
"${good[@]}" --run hopeless >"$work/log" 2>&1 || status=$?
check "no checkpoint left whole: refused, not started afresh" test "$status" -eq 2
check "no checkpoint left whole: named" grep -q "error:.*hopeless" "$work/log"

# --- the machine
"${good[@]}" --set train.log_every_steps=1 --run closed <&- >&- 2>&-
check "closed standard streams: nothing but steps in steps.jsonl" \
    $python "$root/tests/compare_steps.py" "$work/good/steps.jsonl" "$work/closed/steps.jsonl"
touch "$work/file"
refused "output directory below a file" 2 "$work/file" -- "${train[@]}" --outputs "$work/file/outputs"
refused "output directory that cannot be written" 2 /proc/nowhere -- "${train[@]}" --outputs /proc/nowhere

disk=$work/disk
mkdir -p "$disk"
if mount -t tmpfs -o size=24m tmpfs "$disk" 2>/dev/null; then
    trap 'umount -l "$disk"; rm -rf "$work"' EXIT
    on_disk=("$program" train "${small[@]}" --set threads=1 --outputs "$disk" --run full)
    check "full disk: first part" "${on_disk[@]}" --set train.max_steps=8
    before=$(readlink -f "$disk/full/checkpoints/latest.h5")
    cp "$before" "$work/before.h5"
    # no room at all; then room for the lock, the steps and the status, but not for a checkpoint
    for left in 0 300; do
        dd if=/dev/zero of="$disk/ballast" bs=4k status=none 2>/dev/null
        truncate -s -${left}k "$disk/ballast"
        refused "full disk, $left KiB left" 1 "$disk/full" "no space" -- "${on_disk[@]}" --set train.max_steps=16
        check "full disk: the checkpoint before it is whole" cmp "$before" "$work/before.h5"
        rm "$disk/ballast"
    done
    refused "samples that have no room: before they are drawn" 1 "$disk/samples/samples.h5" "no space.* 125440000 bytes" -- \
        "$program" sample --checkpoint "$disk/full" --count 20000 --outputs "$disk" --run samples
    check "samples that have no room: no folder" test ! -e "$disk/samples"
    check "full disk: goes on once there is room" "${on_disk[@]}" --set train.max_steps=16
    check "full disk: reference" "$program" train "${small[@]}" --set threads=1 --run full-reference --set train.max_steps=16
    check "full disk: same bits" $python "$root/tests/compare_h5.py" "$disk/full/checkpoints/latest.h5" \
        "$work/full-reference/checkpoints/latest.h5"
else
    echo "not run: full disk (mounting a small tmpfs is not allowed here)"
fi

# --- on ranks: the same message once, the same exit status, and no rank left waiting
mpi_command 3
status=0
timeout 60 "${MPIRUN[@]}" "$program" train "${small[@]}" --set "data.dir=$work/nowhere" --run ranks >"$work/log" 2>&1 || status=$?
check "3 ranks, missing data: exit status 2" test "$status" -eq 2
check "3 ranks, missing data: one message" test "$(grep -c "$work/nowhere" "$work/log")" -eq 1
finish
