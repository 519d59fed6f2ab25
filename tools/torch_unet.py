#!/usr/bin/python3
"""The denoiser in PyTorch: the numerical oracle of the C program, and the peer it is measured against.

Parameter names and layouts are the checkpoint's: convolution (out, in, kh, kw), transposed convolution
(in, out, kh, kw), linear (out, in).  x: (N, 1, H, W), t: (N,) in [0, T); H and W divide by 4.

  torch_unet.py bench [--channels 64 128 256] [--batch 128] [--infer] [--threads 2] [--json] ...
  torch_unet.py vectors DIR              writes DIR/unet_small.h5, the committed test vectors
  torch_unet.py load CHECKPOINT          loads /parameters or /ema by name, prints the parameter count
  torch_unet.py ddim SAMPLES CHECKPOINT  repeats a DDIM run from /x_T and compares with /samples
"""
import argparse
import json
import math
import os
import resource
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


# ---------------------------------------------------------------- network


def time_embedding(t, dim, dtype=torch.float32):
    half = dim // 2
    frequency = torch.exp(-math.log(10000.0) * torch.arange(half, device=t.device, dtype=dtype) / half)
    angle = t.to(dtype)[:, None] * frequency[None]
    return torch.cat([angle.sin(), angle.cos()], 1)


class ResBlock(nn.Module):
    def __init__(self, cin, cout, time_dim, groups=8):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, cin)
        self.conv1 = nn.Conv2d(cin, cout, 3, padding=1)
        self.time = nn.Linear(time_dim, cout)
        self.norm2 = nn.GroupNorm(groups, cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1)
        self.skip = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x, e):
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(F.silu(e))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + self.skip(x)


class Down(nn.Module):
    def __init__(self, cin, cout, time_dim, groups):
        super().__init__()
        self.block = ResBlock(cin, cin, time_dim, groups)
        self.downsample = nn.Conv2d(cin, cout, 4, 2, 1)


class Up(nn.Module):
    def __init__(self, cin, cout, time_dim, groups):
        super().__init__()
        self.upsample = nn.ConvTranspose2d(cin, cout, 4, 2, 1)
        self.block = ResBlock(2 * cout, cout, time_dim, groups)


class UNet(nn.Module):
    """channels [64, 128, 256]: two down levels, a two-block bottleneck, two up levels; any image size that
    2^(levels) divides."""

    def __init__(self, channels=(64, 128, 256), time_dim=256, groups=8):
        super().__init__()
        c = list(channels)
        self.base = c[0]
        self.time_mlp = nn.Sequential(nn.Linear(c[0], time_dim), nn.SiLU(), nn.Linear(time_dim, time_dim))
        self.stem = nn.Conv2d(1, c[0], 3, padding=1)
        self.down = nn.ModuleList(Down(c[i], c[i + 1], time_dim, groups) for i in range(len(c) - 1))
        self.mid = nn.ModuleList(ResBlock(c[-1], c[-1], time_dim, groups) for _ in range(2))
        self.up = nn.ModuleList(Up(c[i + 1], c[i], time_dim, groups) for i in reversed(range(len(c) - 1)))
        self.out = nn.ModuleDict({"norm": nn.GroupNorm(groups, c[0]), "conv": nn.Conv2d(c[0], 1, 3, padding=1)})

    def forward(self, x, t):
        e = self.time_mlp(time_embedding(t, self.base, self.stem.weight.dtype))
        h, skips = self.stem(x), []
        for level in self.down:
            h = level.block(h, e)
            skips.append(h)
            h = level.downsample(h)
        for block in self.mid:
            h = block(h, e)
        for level in self.up:
            h = level.block(torch.cat([level.upsample(h), skips.pop()], 1), e)
        return self.out["conv"](F.silu(self.out["norm"](h)))


def parameter_count(net):
    return sum(p.numel() for p in net.parameters())


# ---------------------------------------------------------------- files


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def load_checkpoint(path, weights="parameters"):
    """The network of a checkpoint with its weights, and the checkpoint's configuration."""
    import h5py

    with h5py.File(path, "r") as file:
        config = json.loads(text(file.attrs["config"]))
        model = config["model"]
        net = UNet(model["channels"], model["time_dim"], model["groups"])
        state = {name: torch.from_numpy(dataset[()]) for name, dataset in file[weights].items()}
    net.load_state_dict(state)  # strict: every name present, none left over, every shape equal
    return net.eval(), config


def alpha_bars(diffusion):
    """alpha_bar_t in float64 for the linear schedule of a configuration."""
    if diffusion["schedule"] != "linear":
        sys.exit(f"diffusion.schedule: this program knows \"linear\", found \"{diffusion['schedule']}\"")
    beta = torch.linspace(diffusion["beta_start"], diffusion["beta_end"], diffusion["steps"], dtype=torch.float64)
    return torch.cumprod(1 - beta, 0)


def command_load(a):
    for weights in ("parameters", "ema"):
        net, _ = load_checkpoint(a.checkpoint, weights)
        squares = sum(float(p.double().square().sum()) for p in net.parameters())
        print(f"{a.checkpoint}: /{weights}: {parameter_count(net)} parameters loaded by name, "
              f"L2 norm {math.sqrt(squares):.9g}")
        if not math.isfinite(squares):
            sys.exit(f"{a.checkpoint}: /{weights} is not finite")


def command_ddim(a):
    import h5py

    with h5py.File(a.samples, "r") as file:
        x_T, expected = torch.from_numpy(file["x_T"][()]), torch.from_numpy(file["samples"][()])
        attributes = dict(file.attrs)
    sampler, steps = text(attributes["sampler"]), int(attributes["steps"])
    weights = {"raw": "parameters", "ema": "ema"}[a.weights or text(attributes["weights"])]
    if sampler != "ddim":
        sys.exit(f"{a.samples}: expected attribute sampler \"ddim\", found \"{sampler}\"")
    net, config = load_checkpoint(a.checkpoint, weights)
    alpha_bar = alpha_bars(config["diffusion"])
    last = len(alpha_bar) - 1
    times = [math.floor(i * last / (steps - 1) + 0.5) for i in range(steps)]
    x = x_T
    with torch.no_grad():
        for i in reversed(range(steps)):
            here = float(alpha_bar[times[i]])
            before = float(alpha_bar[times[i - 1]]) if i > 0 else 1.0
            eps = net(x, torch.full((len(x),), times[i]))
            x0 = (x - math.sqrt(1 - here) * eps) / math.sqrt(here)
            x = math.sqrt(before) * x0 + math.sqrt(1 - before) * eps
    difference = float((x - expected).abs().max())
    print(f"{a.samples}: {len(x)} samples, {steps} DDIM steps, /{weights}: largest difference {difference:.3g} "
          f"(at most {a.tolerance:g})")
    if not difference <= a.tolerance:
        sys.exit(1)


# ---------------------------------------------------------------- test vectors


def command_vectors(a):
    """unet_small.h5: one network and batch; output, gradients (of the loss with respect to the parameters, of
    <eps, eps_hat> with respect to x_t) and ten AdamW steps computed in float64 and rounded once to float32.
    Everything the C program reads is float32 and exactly what float64 started from."""
    import h5py
    import numpy as np

    lr, weight_decay, betas, epsilon, steps = 1e-3, 0.01, (0.9, 0.999), 1e-8, 10
    torch.manual_seed(a.seed)
    torch.set_num_threads(1)
    net32 = UNet(a.channels, a.time_dim, a.groups)
    x_t = torch.randn(a.batch, 1, a.height, a.width)
    eps = torch.randn(a.batch, 1, a.height, a.width)
    t = torch.tensor([(299 * i) // max(1, a.batch - 1) for i in range(a.batch)], dtype=torch.float32)
    net = UNet(a.channels, a.time_dim, a.groups).double()
    net.load_state_dict(net32.state_dict())

    path = os.path.join(a.dir, "unet_small.h5")
    with h5py.File(path, "w", libver=("v110", "v110")) as file:

        def write(name, tensor):
            value = tensor.detach().numpy().astype(np.float32)
            file.create_dataset(name, data=value, track_times=False,
                                **({"compression": 9, "shuffle": True} if value.size > 64 else {}))

        for key, value in dict(N=a.batch, H=a.height, W=a.width, channels=a.channels, time_dim=a.time_dim,
                               groups=a.groups, seed=a.seed, steps=steps, lr=lr, weight_decay=weight_decay,
                               beta1=betas[0], beta2=betas[1], epsilon=epsilon, clip_norm=a.clip_norm).items():
            file.attrs[key] = np.asarray(value)
        file.attrs["made_by"] = np.bytes_(f"tools/torch_unet.py vectors, torch {torch.__version__}")
        write("x_t", x_t)
        write("t", t)
        write("eps", eps)
        for name, parameter in net32.named_parameters():
            write("parameters/" + name, parameter)
        image = x_t.double().requires_grad_()
        (product,) = torch.autograd.grad(net(image, t.double()), image, eps.double())
        write("input_gradient", product)

        decayed = [p for p in net.parameters() if p.ndim > 1]
        plain = [p for p in net.parameters() if p.ndim == 1]  # biases, gamma and beta
        optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": weight_decay},
                                       {"params": plain, "weight_decay": 0.0}], lr=lr, betas=betas, eps=epsilon)
        losses, norms = [], []
        for step in range(steps):
            optimizer.zero_grad()
            eps_hat = net(x_t.double(), t.double())
            loss = F.mse_loss(eps_hat, eps.double())
            loss.backward()
            if step == 0:
                write("eps_hat", eps_hat)
                for name, parameter in net.named_parameters():
                    write("gradients/" + name, parameter.grad)
                with torch.no_grad():
                    error = (net32(x_t, t).double() - eps_hat).norm() / eps_hat.norm()
            norms.append(float(torch.nn.utils.clip_grad_norm_(net.parameters(), a.clip_norm)))
            losses.append(float(loss))
            optimizer.step()
        for name, parameter in net.named_parameters():
            write("parameters_after_10/" + name, parameter)
        file.create_dataset("losses", data=np.array(losses))  # float64
        file.create_dataset("grad_norms", data=np.array(norms))  # float64, before clipping
    print(f"{path}: {os.path.getsize(path)} bytes, {parameter_count(net)} parameters, loss {losses[0]:.6f} -> "
          f"{losses[-1]:.6f}, gradient norm {norms[0]:.4f} -> {norms[-1]:.4f}, clipped at {a.clip_norm:g} in "
          f"{sum(n > a.clip_norm for n in norms)} of {steps} steps; eps_hat in float32 is {float(error):.1e} away")


# ---------------------------------------------------------------- bench


def command_bench(a):
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    if a.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    device = torch.device(a.device)
    net = UNet(a.channels, a.time_dim, a.groups).to(device)
    if a.channels_last:
        net = net.to(memory_format=torch.channels_last)
    mode = "max-autotune" if a.graphs else "reduce-overhead" if a.untuned_graphs else "default"
    model = torch.compile(net, mode=mode) if a.compile else net
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-4, **({"fused": True} if a.device == "cuda" else {}))
    T = 300
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 2e-2, T), 0).to(device)
    x0 = torch.rand(a.batch, 1, a.height, a.width, device=device) * 2 - 1
    mixed = torch.autocast(a.device, torch.bfloat16, enabled=a.dtype == "bf16")

    def train():
        t = torch.randint(0, T, (a.batch,), device=device)
        eps = torch.randn_like(x0)
        w = alpha_bar[t][:, None, None, None]
        x_t = w.sqrt() * x0 + (1 - w).sqrt() * eps
        if a.channels_last:
            x_t = x_t.contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad(set_to_none=True)
        with mixed:
            loss = F.mse_loss(model(x_t, t).float(), eps)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    def infer():
        with torch.no_grad(), mixed:
            model(x0, torch.full((a.batch,), 5, device=device))

    step = infer if a.infer else train
    wait = torch.cuda.synchronize if a.device == "cuda" else lambda: None
    for _ in range(a.warmup):
        step()
    wait()
    seconds = []
    for _ in range(a.steps):
        start = time.perf_counter()
        step()
        wait()
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    result = {"torch": torch.__version__, "mode": "infer" if a.infer else "train", "device": a.device,
              "dtype": a.dtype, "channels_last": a.channels_last, "compile": a.compile, "channels": a.channels,
              "batch": a.batch, "threads": a.threads, "parameters": parameter_count(net), "median_s": median,
              "min_s": min(seconds), "max_s": max(seconds), "images_per_s": a.batch / median,
              "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if a.json:
        print(json.dumps(result))
    else:
        print(" ".join(f"{key} {value:.5g}" if isinstance(value, float) else f"{key} {value}"
                       for key, value in result.items()))


# ---------------------------------------------------------------- command line


def add_model_arguments(parser, channels, time_dim, groups, batch, size):
    parser.add_argument("--channels", type=int, nargs="+", default=channels)
    parser.add_argument("--time-dim", type=int, default=time_dim)
    parser.add_argument("--groups", type=int, default=groups)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--height", type=int, default=size)
    parser.add_argument("--width", type=int, default=size)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)

    p = commands.add_parser("bench", help="seconds per training step, or per forward pass with --infer")
    add_model_arguments(p, [64, 128, 256], 256, 8, 128, 28)
    p.add_argument("--steps", type=int, default=5)
    p.add_argument("--warmup", type=int, default=2)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--infer", action="store_true")
    p.add_argument("--channels-last", action="store_true")
    p.add_argument("--device", default="cpu")
    p.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    p.add_argument("--compile", action="store_true")
    p.add_argument("--graphs", action="store_true", help="with --compile: as CUDA graphs, every kernel tuned first: minutes")
    p.add_argument("--untuned-graphs", action="store_true", help="with --compile: as CUDA graphs of kernels as they come")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=command_bench)

    p = commands.add_parser("vectors", help="make the committed test vectors")
    p.add_argument("dir")
    p.add_argument("--seed", type=int, default=1234)
    p.add_argument("--clip-norm", type=float, default=1.0)
    add_model_arguments(p, [8, 16, 24], 24, 4, 4, 12)
    p.set_defaults(run=command_vectors)

    p = commands.add_parser("load", help="load a checkpoint by name")
    p.add_argument("checkpoint")
    p.set_defaults(run=command_load)

    p = commands.add_parser("ddim", help="repeat a DDIM run and compare")
    p.add_argument("samples")
    p.add_argument("checkpoint")
    p.add_argument("--tolerance", type=float, default=1e-4)
    p.add_argument("--weights", choices=["ema", "raw"], help="instead of those that the samples name")
    p.set_defaults(run=command_ddim)

    a = parser.parse_args()
    a.run(a)


if __name__ == "__main__":
    main()
