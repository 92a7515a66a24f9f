"""Orthogonal matching pursuit on one core: our forms side by side, what restricting it costs, and how far the limit is.

    python bench/omp.py                         # d 2048, N 8000, k 64, 1,024 targets
    python bench/omp.py --targets 64 --n 2000   # a quick look
    python bench/omp.py --rows MODEL.safetensors --n 40000 --targets 64 --forms auto,near:256,near:1024 --out near.json
    python bench/omp.py --device cuda           # adds the GEMM form in torch on a GPU, where there is one
    python bench/omp.py --limits --out limits.json

Each form runs in a process of its own, so that peak memory is its own, on the same rows: made up (a falling spectrum,
as embedding matrices have), or those of a model (`--rows`; anchors and targets drawn at random from its embedding).
Times include everything a form needs, for the Gram form the Gram matrix too. qr is the reference tool's algorithm
written again; the tool itself is timed by omp_grid.py. `near:M` lets each target pick among M anchors only.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402  (the threads must be set first)

RESULTS = Path(__file__).resolve().parent / "results" / "omp.json"
FORMS = ("qr", "gemm", "gram", "auto", "torch", "near:M")
QR_BATCH = 512

# Axes: B targets, N anchors, D width, K picks.


def made_rows(n_anchors: int, n_targets: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Anchors and targets (float32) from one distribution whose directions fall off as 1 / sqrt(rank)."""
    rng = np.random.default_rng(seed)
    scale = (0.02 / np.sqrt(1 + np.arange(width) / 16)).astype(np.float32)
    rows = rng.standard_normal((n_anchors + n_targets, width), dtype=np.float32) * scale
    return rows[:n_anchors], rows[n_anchors:]


def qr_pursuit(targets_BD, anchors_ND, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The reference's algorithm: batches of 512, residual x - Q Q^T x made anew each step, R c = Q^T x at the end."""
    import torch

    torch.set_num_threads(1)
    picks, weights = [], []
    anchors = torch.from_numpy(anchors_ND)
    for x in torch.from_numpy(targets_BD).split(QR_BATCH):
        b, d = x.shape
        q, r = torch.zeros(b, d, k), torch.zeros(b, k, k)
        chosen = torch.zeros(b, len(anchors), dtype=torch.bool)
        picked = torch.zeros(b, k, dtype=torch.long)
        residual = x.clone()
        for s in range(k):
            score = (residual @ anchors.T).abs()
            score.masked_fill_(chosen, -float("inf"))
            best = score.argmax(dim=1)
            picked[:, s] = best
            chosen[torch.arange(b), best] = True
            atom = anchors[best]
            if s:
                along = torch.bmm(q[:, :, :s].transpose(1, 2), atom[:, :, None])[:, :, 0]
                r[:, :s, s] = along
                atom = atom - torch.bmm(q[:, :, :s], along[:, :, None])[:, :, 0]
            length = atom.norm(dim=1).clamp(min=1e-8)
            r[:, s, s] = length
            q[:, :, s] = atom / length[:, None]
            used = q[:, :, : s + 1]
            residual = x - torch.bmm(used, torch.bmm(used.transpose(1, 2), x[:, :, None]))[:, :, 0]
        right = torch.bmm(q.transpose(1, 2), x[:, :, None])
        weights.append(torch.linalg.solve_triangular(r, right, upper=True)[:, :, 0])
        picks.append(picked)
    return torch.cat(picks).numpy(), torch.cat(weights).numpy()


def real_rows(path: Path, n_anchors: int, n_targets: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Anchors and targets from a model's embedding matrix."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if "embed" in name and "position" not in name and "type" not in name]  # noqa: SIM118
        rows = file.get_tensor(max(names, key=lambda name: file.get_slice(name).get_shape()[0])).float().numpy()
    order = np.random.default_rng(seed).permutation(len(rows))
    return rows[np.sort(order[:n_anchors])], rows[order[n_anchors : n_anchors + n_targets]]


def run_form(form: str, arguments: argparse.Namespace, out: Path) -> None:
    """Time one form in this process and write picks and figures."""
    shape = (arguments.n, arguments.targets)
    anchors, targets = real_rows(arguments.rows, *shape) if arguments.rows else made_rows(*shape, arguments.d)
    solve = qr_pursuit if form == "qr" else our_solver(form, arguments)
    solve(targets[:2, :64].copy(), anchors[:100, :64].copy(), 2)  # libraries load here; their time is not counted
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    picks, weights = solve(targets, anchors, arguments.k)
    figures = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures |= {"peak_mb": peak / 1024, "work_mb": (peak - before) / 1024}
    rebuilt = np.stack([w @ anchors[p] for p, w in zip(picks, weights, strict=True)])
    left = np.linalg.norm(targets - rebuilt, axis=1) / np.linalg.norm(targets, axis=1)
    figures |= {"residual": float(np.mean(left)), "residual_median": float(np.median(left))}
    np.savez(out, picks=picks, weights=weights, left=left, figures=json.dumps(figures))


def our_solver(form: str, arguments: argparse.Namespace):
    """(targets, anchors, k) -> picks and weights, by one of our forms."""
    from tokenry.transplant.omp import matching_pursuit

    options = {"memory_mb": arguments.memory_mb}
    if form == "torch":
        import torch

        def on_device(x, a, k):
            moved = (torch.from_numpy(rows).to(arguments.device) for rows in (x, a))
            # The copies back wait for the device, so the time is whole.
            return (found.cpu().numpy() for found in matching_pursuit(*moved, k=k, **options))

        return on_device
    name, _, number = form.partition(":")
    options |= {"candidates": int(number)} if name == "near" else {"form": form, "scratch": arguments.scratch}
    return lambda x, a, k: matching_pursuit(x, a, k=k, **options)


def limits(arguments: argparse.Namespace) -> dict:
    """What the pursuit must do by its arithmetic and traffic, and what this machine does of either in a second."""
    n, d, k, targets = arguments.n, arguments.d, arguments.k, arguments.targets

    def best(work, times: int = 5) -> float:
        spent = []
        for _ in range(times):
            start = time.process_time()
            work()
            spent.append(time.process_time() - start)
        return min(spent)

    rng = np.random.default_rng(0)
    square, other = (rng.standard_normal((2048, 2048), dtype=np.float32) for _ in range(2))
    images, weights = rng.standard_normal((k // 2, n), dtype=np.float32), np.ones(k // 2, np.float32)
    large = rng.standard_normal((2**26,), dtype=np.float32)
    image_bytes, row_bytes = 4 * n * k * k / 2, 4 * n * k
    found = {
        "gemm_gflops": 2 * 2048**3 / best(lambda: square @ other) / 1e9,
        "cached_read_gb_per_s": 10 * images.nbytes / best(lambda: [weights @ images for _ in range(10)]) / 1e9,
        "memory_read_gb_per_s": large.nbytes / best(large.max) / 1e9,
        "flops_a_target": {"correlations": 2 * n * d, "recursion": n * k * k, "gram": n * n * d / targets,
                           "gemm_form": 2 * n * d * k},
        "bytes_a_target": {"images_read": image_bytes, "gram_rows_read": row_bytes},
    }  # fmt: skip
    flops = found["flops_a_target"]
    products = (flops["correlations"] + flops["gram"]) / found["gemm_gflops"] / 1e6
    traffic = (image_bytes / found["cached_read_gb_per_s"] + row_bytes / found["memory_read_gb_per_s"]) / 1e6
    found["least_ms_a_target"] = {"gram": products + traffic, "products": products, "traffic": traffic,
                                  "gemm": flops["gemm_form"] / found["gemm_gflops"] / 1e6}  # fmt: skip
    return found


def compare(arguments: argparse.Namespace) -> dict:
    """Run every form and put them side by side; times are the least of the repeats."""
    found, reference = {}, None
    with tempfile.TemporaryDirectory() as folder:
        for form in arguments.forms.split(","):
            runs = []
            for _ in range(arguments.repeats):
                out = Path(folder) / f"{form}.npz"
                command = [sys.executable, __file__, "--form", form, "--out", str(out)]
                command += [f"--{name}={getattr(arguments, name)}" for name in ("d", "n", "k", "targets", "device")]
                given = {"memory-mb": arguments.memory_mb, "rows": arguments.rows, "scratch": arguments.scratch}
                command += [f"--{name}={value}" for name, value in given.items() if value is not None]
                subprocess.run(command, check=True)
                with np.load(out) as file:
                    runs.append(json.loads(str(file["figures"])))
                    picks, weights, left = file["picks"], file["weights"], file["left"]
            best = min(runs, key=lambda run: run["cpu_seconds"])
            found[form] = {**best, "ms_per_target": 1000 * best["cpu_seconds"] / arguments.targets}
            if reference is None:
                reference = best["cpu_seconds"]
                expected, expected_weights, expected_left = np.sort(picks, axis=1), weights, left
            same = (np.sort(picks, axis=1) == expected).all(axis=1)
            found[form]["same_supports"] = float(same.mean())
            shared = [np.intersect1d(a[a >= 0], b[b >= 0]).size for a, b in zip(picks, expected, strict=True)]
            found[form]["shared_picks"] = float(np.sum(shared) / max(1, (expected >= 0).sum()))
            found[form]["residual_ratio_median"] = float(np.median(left / np.maximum(expected_left, 1e-9)))
            difference = np.abs(weights - expected_weights)[same]
            found[form]["largest_weight_difference"] = float(difference.max()) if difference.size else None
            found[form]["times_faster_than_first"] = reference / best["cpu_seconds"]
    return found


def machine() -> dict:
    """Processor and versions."""
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return {
        "cpu": name, "threads": 1, "python": platform.python_version(), "numpy": np.__version__,
        "torch": torch.__version__, "system": platform.system(),
    }  # fmt: skip


def main() -> None:
    """Parse, run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"d": 2048, "n": 8000, "k": 64, "targets": 1024, "repeats": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--forms", default="qr,gemm,gram", help=f"of {', '.join(FORMS)}; the first is the reference")
    parser.add_argument("--device", default="cpu", help="of the torch form; cuda adds that form")
    parser.add_argument("--rows", type=Path, help="a model's safetensors file instead of made-up rows")
    parser.add_argument("--memory-mb", type=int, help="none is the default of matching_pursuit")
    parser.add_argument("--scratch", type=Path, help="folder for Gram rows that memory does not hold")
    parser.add_argument("--limits", action="store_true", help="measure the machine instead of the forms")
    parser.add_argument("--form", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.form:
        run_form(arguments.form, arguments, arguments.out)
        return
    if arguments.device != "cpu" and "torch" not in arguments.forms.split(","):
        import torch

        if not torch.cuda.is_available():
            parser.error(f"--device {arguments.device}: torch {torch.__version__} sees no GPU here; leave it away.")
        arguments.forms += ",torch"
    result = {
        "what": "orthogonal matching pursuit, CPU seconds on one core (the torch form on a GPU: see `seconds`)",
        "command": " ".join(["python bench/omp.py", *sys.argv[1:]]),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "shape": {
            name: getattr(arguments, name) for name in ("d", "n", "k", "targets", "repeats", "memory_mb", "device")
        }
        | {"rows": arguments.rows and arguments.rows.parent.name},
        "machine": machine(),
        **({"limits": limits(arguments)} if arguments.limits else {"forms": compare(arguments)}),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    if arguments.limits:
        print(json.dumps(result["limits"], indent=2))
    for form, figures in result.get("forms", {}).items():
        print(
            f"{form:9} {figures['cpu_seconds']:8.2f} CPU s  {figures['seconds']:8.2f} s  "
            f"{figures['ms_per_target']:7.2f} ms/target  "
            f"{figures['times_faster_than_first']:5.2f}x  peak {figures['peak_mb']:6.0f} MB  "
            f"same supports {figures['same_supports']:.4f}  shared picks {figures['shared_picks']:.4f}  "
            f"residual {figures['residual_median']:.4f} ({figures['residual_ratio_median']:.3f} of the first)"
        )


if __name__ == "__main__":
    main()
