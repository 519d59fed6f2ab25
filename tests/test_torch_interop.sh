#!/usr/bin/env bash
# A checkpoint loads into PyTorch by name, and DDIM there gives the program's samples.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/program.sh" "$@"
$python -c 'import torch' 2>/dev/null || skip "python3-torch is not installed"

check "train" ranks 2 train "${small[@]}" --set diffusion.steps=300 --set train.max_steps=60 --set threads=1 --run trained
checkpoint=$work/trained/checkpoints/latest.h5
check "PyTorch loads /parameters and /ema by name" $python "$root/tools/torch_unet.py" load "$checkpoint"
for weights in ema raw; do
    check "sample --weights $weights" ranks 1 sample --checkpoint "$checkpoint" --sampler ddim --steps 20 --count 12 \
        --set sample.weights=$weights --outputs "$work" --run "$weights"
    check "DDIM in PyTorch, $weights" $python "$root/tools/torch_unet.py" ddim "$work/$weights/samples.h5" "$checkpoint"
done
# The comparison must be able to fail: the wrong weights give other samples.
if $python "$root/tools/torch_unet.py" ddim "$work/raw/samples.h5" "$checkpoint" --weights ema >/dev/null 2>&1; then
    echo "FAILED: DDIM with the wrong weights passes"
    failures=$((failures + 1))
fi
finish
