"""The solver alone against that of `mergekit-tokensurgeon`, over widths, numbers of anchors and picks; one core.

    python bench/omp_grid.py --mergekit PYTHON
    python bench/omp_grid.py --mergekit PYTHON --widths 2048 --anchors 20000 --picks 64 --targets 1024 --memory-mb 2000

PYTHON is the interpreter of an environment that holds mergekit 0.1.5. Two processes are started once, one for each, and
fork for every run, so start-up is not counted, and peak memory is that of the run with all its program has loaded. Runs
alternate: theirs, ours, theirs, ours; the ratios are those of the pairs. Rows are made up (a falling spectrum, as
embedding matrices have). Many anchors get few targets, so that the peer's runs stay short: no help to the Gram form,
which shares its matrix between targets.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402  (the threads must be set first)

RESULTS = Path(__file__).resolve().parent / "results" / "omp_grid.json"
TARGETS = 2048
"""Rows of a file that are targets; its anchors follow."""

# Axes: B targets, N anchors, D width, K picks.


def solver(name: str):
    """(targets, anchors, k, options) -> picks and weights, as numpy arrays."""
    if name == "ours":
        from tokenry.transplant.omp import matching_pursuit

        rows = np.random.default_rng(0).standard_normal((40, 8), dtype=np.float32)
        matching_pursuit(rows[:2], rows, k=2, form="gram")
        return lambda x, a, k, options: matching_pursuit(x, a, k=k, tolerance=0, **options)
    import torch
    from mergekit.tokensurgeon.omp import batch_omp

    torch.set_num_threads(1)

    def run(x, a, k, _):
        # As the tool calls it: batches of 512 targets.
        parts = [batch_omp(part, torch.from_numpy(a), k) for part in torch.from_numpy(x).split(512)]
        return (torch.cat(arrays).numpy() for arrays in zip(*parts, strict=True))

    return run


def peak_mb() -> float:
    """Most memory this process has held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def serve(name: str) -> None:
    """Answer requests, a line each, every one in a fork of this process."""
    solve = solver(name)
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            rows = np.load(asked["rows"], mmap_mode="r")
            targets = rows[: asked["targets"]].copy()
            anchors = rows[TARGETS : TARGETS + asked["anchors"]].copy()
            del rows
            start = time.process_time()
            picks, weights = solve(targets, anchors, asked["k"], asked["options"])
            seconds = time.process_time() - start
            np.savez(asked["out"], picks=picks, weights=weights, figures=[seconds, peak_mb()])
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(json.dumps(status), flush=True)


class Server:
    """One of the two programs, waiting for work."""

    def __init__(self, python: str, name: str, place: Path) -> None:
        self.out = place / f"{name}.npz"
        command = [python, __file__, "--serve", name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, **asked) -> dict:
        """CPU seconds, peak MB, picks and weights of one run."""
        self.process.stdin.write(json.dumps({**asked, "out": str(self.out)}) + "\n")
        self.process.stdin.flush()
        if json.loads(self.process.stdout.readline()) != 0:
            raise RuntimeError(f"A run failed: {asked}.")
        with np.load(self.out) as file:
            seconds, peak = file["figures"].tolist()
            return {"seconds": seconds, "peak_mb": peak, "picks": file["picks"], "weights": file["weights"]}


def cell(servers: dict[str, Server], rows: Path, asked: dict, pairs: int) -> dict:
    """Pairs of runs of one shape."""
    runs = {name: [] for name in servers}
    for _ in range(pairs):
        for name, server in servers.items():
            runs[name].append(server.run(rows=str(rows), **asked))
    found = {name: asked[name] for name in ("anchors", "targets", "k")}
    for name, own in runs.items():
        ms = [1000 * run["seconds"] / asked["targets"] for run in own]
        found[name] = {"ms_per_target": float(np.median(ms)), "peak_mb": max(run["peak_mb"] for run in own)}
    if len(runs) < 2:
        return found
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(runs["mergekit"], runs["ours"], strict=True)]
    found["times_faster"] = {
        "min": min(ratios), "median": float(np.median(ratios)), "max": max(ratios), "pairs": pairs
    }  # fmt: skip
    peer, ours = runs["mergekit"][0], runs["ours"][0]
    same = (np.sort(peer["picks"], axis=1) == np.sort(ours["picks"], axis=1)).all(axis=1)
    shared = [len(np.intersect1d(a, b)) for a, b in zip(peer["picks"], ours["picks"], strict=True)]
    return found | {"same_supports": float(same.mean()), "shared_picks": float(np.mean(shared) / asked["k"])}


def made_rows(path: Path, n: int, width: int) -> None:
    """Rows whose directions fall off as 1 / sqrt(rank), targets first."""
    rng = np.random.default_rng(width)
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(TARGETS + n, width))
    scale = (0.02 / np.sqrt(1 + np.arange(width) / 16)).astype(np.float32)
    for start in range(0, len(rows), 4096):
        part = rows[start : start + 4096]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32) * scale


def main() -> None:
    """Parse, run, print and write after every shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mergekit", help="interpreter of the environment with mergekit; none times ours alone")
    parser.add_argument("--widths", default="64,128,256,512,2048,4096")
    parser.add_argument("--anchors", default="1000,20000,60000")
    parser.add_argument("--picks", default="8,64")
    parser.add_argument("--targets", type=int, help=f"at most {TARGETS}; else as many as the peer does in --seconds")
    parser.add_argument("--seconds", type=float, default=1.2)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--memory-mb", type=int, help="our bound; none is our default")
    parser.add_argument("--candidates", type=int)
    parser.add_argument("--scratch", type=Path, help="folder for the rows, which take up to 1 GB")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--serve", choices=("mergekit", "ours"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    from omp import machine

    options = {"memory_mb": arguments.memory_mb, "candidates": arguments.candidates}
    options = {name: value for name, value in options.items() if value is not None}
    result = {
        "what": "orthogonal matching pursuit, CPU milliseconds a target on one core; peer mergekit 0.1.5",
        "command": " ".join(["python bench/omp_grid.py", *sys.argv[1:]]),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "rows": [],
    }
    sizes, picks = ([int(v) for v in text.split(",")] for text in (arguments.anchors, arguments.picks))
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        place = Path(folder)
        pythons = {"mergekit": arguments.mergekit, "ours": sys.executable}
        servers = {name: Server(python, name, place) for name, python in pythons.items() if python}
        for width in map(int, arguments.widths.split(",")):
            rows = place / "rows.npy"
            made_rows(rows, max(sizes), width)
            for n in sizes:
                for k in picks:
                    # The peer makes some 50 multiply-adds a nanosecond.
                    fit = int(arguments.seconds * 50e9 / (n * width * k))
                    targets = arguments.targets or min(TARGETS, max(32, fit))
                    asked = {"anchors": n, "targets": targets, "k": k, "options": options}
                    found = {"width": width, **cell(servers, rows, asked, arguments.pairs)}
                    result["rows"].append(found)
                    print(json.dumps(found), flush=True)
                    arguments.out.parent.mkdir(parents=True, exist_ok=True)
                    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
        for server in servers.values():
            server.process.stdin.close()
            server.process.wait()


if __name__ == "__main__":
    main()
