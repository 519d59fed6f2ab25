#!/usr/bin/python3
"""Side-by-side timing of build/ddpm_mpi and tools/torch_unet.py; started by tools/bench_vs_torch.sh.

Ours and theirs alternate within each round, so that a change of the machine's speed meets both; every number is the
median over rounds of a process's own median."""
import argparse
import json
import os
import statistics
import subprocess
import sys

BATCH, THREADS = 128, 2
SIZES = {(16, 32, 64): 8, (64, 128, 256): 3}  # channels: steps in one process
PROGRAM = "build/ddpm_mpi"


def run(command, environment=None):
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout[done.stdout.index("{"):])


def ours(word, channels, steps, threads, launcher=()):
    return run([*launcher, PROGRAM, "bench", word, "--json", "--steps", str(steps), "--warmup", "1",
                "--set", f"train.batch={BATCH}", "--set", f"model.channels={json.dumps(list(channels))}",
                "--set", f"threads={threads}"])


def theirs(word, channels, steps):
    command = [sys.executable, "tools/torch_unet.py", "bench", "--json", "--batch", str(BATCH), "--threads",
               str(THREADS), "--steps", str(steps), "--warmup", "1", "--channels", *map(str, channels)]
    return run(command + (["--infer"] if word == "sample" else []), {"OMP_NUM_THREADS": str(THREADS)})


def median(results, key):
    return statistics.median(result[key] for result in results)


def mebibytes(results):
    return max(result["peak_rss_bytes"] for result in results) / 2**20


def main():
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    launcher = sys.argv[split + 1:]
    parser = argparse.ArgumentParser(description="ddpm_mpi against PyTorch")
    parser.add_argument("--quick", action="store_true", help="one round, the small network only")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="also write every measurement to this file")
    a = parser.parse_args(sys.argv[1:split])
    rounds, sizes = (1, list(SIZES)[:1]) if a.quick else (a.rounds, list(SIZES))

    record = []
    print(f"batch {BATCH}, {THREADS} threads, float32, {rounds} rounds; medians; ratio = PyTorch / ours")
    print(f"{'channels':<12} {'':<8} {'ours s':>9} {'PyTorch s':>9} {'ratio':>6} {'ours MiB':>9} {'PyTorch MiB':>12}")
    for channels in sizes:
        for word in ("train", "sample"):
            steps = SIZES[channels]
            mine, peer = [], []
            for turn in range(rounds):
                order = [lambda: mine.append(ours(word, channels, steps, THREADS)),
                         lambda: peer.append(theirs(word, channels, steps))]
                for go in order if turn % 2 == 0 else reversed(order):
                    go()
            record.append({"channels": channels, "what": word, "ours": mine, "torch": peer})
            name = {"train": "train", "sample": "forward"}[word]
            print(f"{'/'.join(map(str, channels)):<12} {name:<8} {median(mine, 'median_s'):9.4f} "
                  f"{median(peer, 'median_s'):9.4f} {median(peer, 'median_s') / median(mine, 'median_s'):6.2f} "
                  f"{mebibytes(mine):9.0f} {mebibytes(peer):12.0f}", flush=True)
    print("\ntraining step, ratio = 1 rank x 2 threads / 2 ranks x 1 thread (1 is perfect scaling)")
    for channels in sizes:
        one, two = [], []
        for turn in range(rounds):
            order = [lambda: one.append(ours("train", channels, SIZES[channels], THREADS)),
                     lambda: two.append(ours("train", channels, SIZES[channels], 1, launcher))]
            for go in order if turn % 2 == 0 else reversed(order):
                go()
        record.append({"channels": channels, "what": "ranks", "one_rank": one, "two_ranks": two})
        print(f"{'/'.join(map(str, channels)):<12} {median(one, 'median_s'):9.4f} {median(two, 'median_s'):9.4f} "
              f"{median(one, 'median_s') / median(two, 'median_s'):6.2f}", flush=True)
    if a.json:
        with open(a.json, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)


if __name__ == "__main__":
    main()
