#!/usr/bin/python3
"""What tools/gpu_check.sh computes from files.

  losses A B [TIMES]      two steps.jsonl of one training in float32 on two devices: together within tolerances
  step CHECKPOINT         prints its step
  autocast VECTORS LOG    PyTorch's own bf16 error on the test vectors, beside test_network's (LOG) on the same data
  bench NAME JSON LIST    adds a benchmark's object to LIST (one object a line) and prints its median
  table LIST              all benchmarks, and ratios to our training step
  sampling A B            metrics.json of drawing 128 images and several times as many: seconds of each and of 128 more
  ceilings                copy bandwidth, a large bf16 matrix product, launch latency
  report-seconds LIST     expected seconds of the report's 80 epochs at our benchmark's speed
  loss METRICS            final epoch mean loss; fails above the report's
"""
import json
import math
import re
import statistics
import sys
import time

REPORT_STEPS = 37520
REPORT_LOSS = 0.0363


def read_losses(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line)["loss"] for line in file]


def command_losses(first, second, times="1"):
    """Rounding differences grow as two trainings go apart. Another cut of the batch into shards, which only changes the
    order of float sums, gives 2e-9 in the first 10 losses, 2e-6 in 200 and 1e-7 in the last 50's mean (channels
    16/32/64, lr 1e-3, on a CPU); another library's algorithms round up to some hundred times as much.
    TIMES widens the tolerances, for gradients rounded to bf16 between ranks: 2e-3 of each element, so of each of AdamW's
    updates, which lower the loss by a tenth in the first 10 steps: 2e-4 there."""
    a, b = read_losses(first), read_losses(second)
    if len(a) != len(b) or not a or not all(map(math.isfinite, a + b)):
        sys.exit(f"{len(a)} and {len(b)} steps, or a loss that is not finite")
    difference = [abs(x - y) / x for x, y in zip(a, b)]
    tail = min(50, len(a))
    means = [sum(x[-tail:]) / tail for x in (a, b)]
    early, late, mean = max(difference[:10]), max(difference), abs(means[0] - means[1]) / means[0]
    most = [float(times) * tolerance for tolerance in (1e-5, 1e-3, 1e-4)]
    good = early <= most[0] and late <= most[1] and mean <= most[2]
    text = (f"{len(a)} steps, loss {a[0]:.4f} -> {means[0]:.5f} and {means[1]:.5f}; relative difference of the first "
            f"10 {early:.1e} ({most[0]:.0e}), of all {late:.1e} ({most[1]:.0e}), of the last {tail}'s mean {mean:.1e} "
            f"({most[2]:.0e})")
    if not good:
        sys.exit(text)
    print(text)


def command_step(path):
    import h5py

    with h5py.File(path, "r") as file:
        print(int(file.attrs["step"]))


def command_autocast(vectors, log):
    import h5py
    import torch
    import torch.nn.functional as F

    sys.path.insert(0, "tools")
    from torch_unet import UNet

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with h5py.File(vectors, "r") as file:
        net = UNet([int(c) for c in file.attrs["channels"]], int(file.attrs["time_dim"]), int(file.attrs["groups"]))
        get = lambda name: torch.from_numpy(file[name][()])  # noqa: E731
        net.load_state_dict({name: get("parameters/" + name) for name, _ in net.named_parameters()})
        expected = {name: get("gradients/" + name).double() for name, _ in net.named_parameters()}
        shape = [int(file.attrs["N"]), 1, int(file.attrs["H"]), int(file.attrs["W"])]
        x, eps, t = get("x_t").reshape(shape).cuda(), get("eps").reshape(shape).cuda(), get("t").cuda()
    net = net.cuda().to(memory_format=torch.channels_last)
    with torch.autocast("cuda", torch.bfloat16):
        out = net(x.contiguous(memory_format=torch.channels_last), t)
    F.mse_loss(out.float(), eps).backward()
    squares = size = worst = 0.0
    for name, parameter in net.named_parameters():
        gap = float((parameter.grad.double().cpu() - expected[name]).square().sum())
        norm = float(expected[name].square().sum())
        squares, size, worst = squares + gap, size + norm, max(worst, math.sqrt(gap / norm))
    peer = math.sqrt(squares / size)
    with open(log, encoding="utf-8") as file:
        found = [float(value) for value in re.findall(r"bf16, shards of .*gradients ([0-9.e+-]+),", file.read())]
    text = f"bf16 gradients: PyTorch's autocast {peer:.2e} (worst tensor {worst:.2e}), ours {found}, allowed 1.5 times"
    if not found or not max(found) <= 1.5 * peer:
        sys.exit(text)
    print(text)


def read_list(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def command_bench(name, path, listing):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    result = json.loads(text[text.index("{"):])
    result = {"name": name, **result}
    with open(listing, "a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    print(f"median {result['median_s'] * 1e3:.3f} ms, {result['min_s'] * 1e3:.3f} to {result['max_s'] * 1e3:.3f}")


def command_table(listing):
    results = read_list(listing)
    ours = {}
    for result in results:
        if result["name"].startswith("ours"):
            ours.setdefault(result["name"].split()[1], result["median_s"])
    if results:
        print(f"\n{'benchmark':<24} {'median ms':>10} {'images/s':>10} {'over ours':>10}")
    for result in results:
        kind = "sample" if result["name"].split()[1:2] == ["sample"] or result.get("mode") == "infer" else "train"
        ratio = f"{result['median_s'] / ours[kind]:10.2f}" if kind in ours else f"{'':>10}"
        print(f"{result['name']:<24} {result['median_s'] * 1e3:10.3f} {result.get('images_per_s', 0):10.0f} {ratio}")


def command_sampling(*paths):
    counts, seconds = [], []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            metrics = json.load(file)
        counts.append(metrics["count"])
        seconds.append(metrics["seconds"])
    more = (seconds[1] - seconds[0]) / (counts[1] - counts[0]) * counts[0]
    print(f"{counts[0]} images, {metrics['steps']} steps each: {seconds[0]:.3f} s; {counts[1]}: {seconds[1]:.3f} s, so "
          f"{more:.3f} s for {counts[0]} more (128 in 300 steps: at most 0.3)")


def command_ceilings():
    import torch

    def median_seconds(function, rounds=10):
        for _ in range(3):
            function()
        seconds = []
        for _ in range(rounds):
            torch.cuda.synchronize()
            start = time.perf_counter()
            function()
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds)

    print("torch", torch.__version__, "CUDA", torch.version.cuda)
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copy = 2 * 2**30 / median_seconds(lambda: target.copy_(source))
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    product = 2 * 8192**3 / median_seconds(lambda: a @ b)
    tiny = torch.zeros(1, device="cuda")

    def many():
        for _ in range(200):
            tiny.add_(1)

    launches = median_seconds(many) / 200
    many()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        many()
    replay = median_seconds(graph.replay) / 200
    print(f"copy {copy / 1e12:.2f} TB/s (read + write of 1 GiB), bf16 product of 8192^3 {product / 1e12:.0f} TFLOP/s, "
          f"one small kernel {launches * 1e6:.1f} us from Python, {replay * 1e6:.1f} us in a graph of 200")


def command_report_seconds(listing):
    for result in read_list(listing):
        if result["name"].startswith("ours train"):
            print(math.ceil(REPORT_STEPS * result["median_s"] * 1.05 + 15))
            return
    sys.exit("no benchmark of our training step")


def command_loss(path):
    with open(path, encoding="utf-8") as file:
        metrics = json.load(file)
    text = (f"{metrics['total_steps']} steps, final epoch mean loss {metrics['final_epoch_mean_loss']:.5f} (at most "
            f"{REPORT_LOSS}), best {metrics['best_epoch_mean_loss']:.5f}, {metrics['images_per_second']:.0f} images/s, "
            f"{metrics['training_seconds']:.1f} s of training (at most 75 in all)")
    if not metrics["final_epoch_mean_loss"] <= REPORT_LOSS:
        sys.exit(text)
    print(text)


COMMANDS = {"losses": command_losses, "step": command_step, "autocast": command_autocast, "bench": command_bench,
            "table": command_table, "sampling": command_sampling, "ceilings": command_ceilings,
            "report-seconds": command_report_seconds, "loss": command_loss}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    COMMANDS[sys.argv[1]](*sys.argv[2:])
