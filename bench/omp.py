"""Orthogonal matching pursuit on one core: our Gram and GEMM forms against the batched QR form of the reference tool.

    python bench/omp.py                         # d 2048, N 8000, k 64, 1,024 targets: about 3 minutes
    python bench/omp.py --targets 64 --n 2000   # a quick look
    python bench/omp.py --forms gemm,gram,auto,near --n 20000 --targets 512 --memory-mb 4096 --out large.json

Each form runs in a process of its own, so that peak memory is its own, on the same made-up rows (a falling spectrum,
as embedding matrices have). Times include everything a form needs, for the Gram form the Gram matrix too. The result is
written to bench/results/omp.json.
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
FORMS = ("qr", "gemm", "gram", "auto", "near")
"""near: each target among its --candidates best-correlated anchors, which is not exact."""
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


def run_form(form: str, arguments: argparse.Namespace, out: Path) -> None:
    """Time one form in this process and write picks and figures."""
    anchors, targets = made_rows(arguments.n, arguments.targets, arguments.d)
    if form == "qr":
        import torch  # noqa: F401  (its import is not part of the time, nor is numba's for the others)

        solve = qr_pursuit
    else:
        from tokenry.transplant.omp import matching_pursuit

        options = {"memory_mb": arguments.memory_mb}
        options |= {"candidates": arguments.candidates} if form == "near" else {"form": form}
        small = {**options, "candidates": 50} if form == "near" else options
        matching_pursuit(targets[:1, :64].copy(), anchors[:100, :64].copy(), k=2, **small)
        matching_pursuit(targets[:1, :64].copy(), anchors[:100, :64].copy(), k=2, form="gram")

        def solve(x, a, k):
            return matching_pursuit(x, a, k=k, **options)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    picks, weights = solve(targets, anchors, arguments.k)
    figures = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures |= {"peak_mb": peak / 1024, "work_mb": (peak - before) / 1024}
    rebuilt = np.stack([w @ anchors[p] for p, w in zip(picks, weights, strict=True)])
    figures["residual"] = float(np.mean(np.linalg.norm(targets - rebuilt, axis=1) / np.linalg.norm(targets, axis=1)))
    np.savez(out, picks=picks, weights=weights, figures=json.dumps(figures))


def compare(arguments: argparse.Namespace) -> dict:
    """Run every form and put them side by side; times are the least of the repeats."""
    found, reference = {}, None
    with tempfile.TemporaryDirectory() as folder:
        for form in arguments.forms.split(","):
            runs = []
            for _ in range(arguments.repeats):
                out = Path(folder) / f"{form}.npz"
                command = [sys.executable, __file__, "--form", form, "--out", str(out)]
                command += [f"--{name}={getattr(arguments, name)}" for name in ("d", "n", "k", "targets", "candidates")]
                command += [f"--memory-mb={arguments.memory_mb}"]
                subprocess.run(command, check=True)
                with np.load(out) as file:
                    runs.append(json.loads(str(file["figures"])))
                    picks, weights = file["picks"], file["weights"]
            best = min(runs, key=lambda run: run["cpu_seconds"])
            found[form] = {**best, "ms_per_target": 1000 * best["cpu_seconds"] / arguments.targets}
            if reference is None:
                reference = best["cpu_seconds"]
                expected, expected_weights = np.sort(picks, axis=1), weights
            same = (np.sort(picks, axis=1) == expected).all(axis=1)
            found[form]["same_supports"] = float(same.mean())
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
    parser.add_argument("--memory-mb", type=int, default=1024)
    parser.add_argument("--candidates", type=int, default=1024)
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.form:
        run_form(arguments.form, arguments, arguments.out)
        return
    result = {
        "what": "orthogonal matching pursuit, CPU seconds on one core",
        "command": " ".join(["python bench/omp.py", *sys.argv[1:]]),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "shape": {
            name: getattr(arguments, name) for name in ("d", "n", "k", "targets", "repeats", "memory_mb", "candidates")
        },
        "machine": machine(),
        "forms": compare(arguments),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    for form, figures in result["forms"].items():
        print(
            f"{form:5} {figures['cpu_seconds']:8.2f} CPU s  {figures['ms_per_target']:7.2f} ms/target  "
            f"{figures['times_faster_than_first']:5.2f}x  peak {figures['peak_mb']:6.0f} MB  "
            f"same supports {figures['same_supports']:.4f}"
        )


if __name__ == "__main__":
    main()
