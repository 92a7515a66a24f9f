"""The mixing step of FOCUS against deepfocus 1.0.1 on the same vectors: CPU seconds on one core, peak memory, rows.

    pip install --no-deps --target PEER deepfocus==1.0.1 entmax fastdist fasttext-wheel print-on-steroids
    python bench/focus_vs_deepfocus.py --peer PEER

deepfocus's first call, which compiles, is not counted. Each side runs in a process of its own.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results" / "focus_vs_deepfocus.json"
WIDTH, ROW_WIDTH, CLUSTERS = 100, 64, 200


def vectors(n_new: int, n_shared: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of new and of shared tokens around common centres, and the shared tokens' rows."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLUSTERS, WIDTH))
    made = [centres[rng.integers(CLUSTERS, size=n)] + rng.standard_normal((n, WIDTH)) for n in (n_new, n_shared)]
    return *(part.astype(np.float32) for part in made), rng.standard_normal((n_shared, ROW_WIDTH)).astype(np.float32)


def ours(new: np.ndarray, shared: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, float]:
    """New rows and CPU seconds."""
    from tokenry.transplant.neighbours import near_rows

    began = time.process_time()
    mixed = near_rows(new, shared, np.arange(len(shared)), k=None)
    made = np.array([weights @ rows[ids] for ids, weights in mixed])
    return made, time.process_time() - began


def peer(new: np.ndarray, shared: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, float]:
    """The same by deepfocus."""
    from types import SimpleNamespace

    import torch
    from deepfocus.focus import focus_additional_token_initialization as mix
    from deepfocus.vocab_helper import NewToken, OverlappingToken

    torch.set_num_threads(1)
    known = {
        str(n): OverlappingToken([], SimpleNamespace(id=n), torch.tensor(rows[n]), vector)
        for n, vector in enumerate(shared)
    }
    asked = {str(n): NewToken(SimpleNamespace(id=n), vector) for n, vector in enumerate(new)}
    blank = torch.zeros(len(new), ROW_WIDTH)
    mix(known, {"0": asked["0"]}, blank.clone(), device="cpu")
    began = time.process_time()
    made = mix(known, asked, blank, device="cpu").numpy()
    return made, time.process_time() - began


def main() -> None:
    """Run both sides, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, required=True, help="folder with deepfocus")
    parser.add_argument("--new", type=int, default=2000)
    parser.add_argument("--shared", type=int, default=20_000)
    parser.add_argument("--side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        sys.path.append(str(chosen.peer))
        made, seconds = {"ours": ours, "peer": peer}[chosen.side](*vectors(chosen.new, chosen.shared))
        np.save(chosen.rows, made)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print("FIGURES", json.dumps({"cpu_seconds": round(seconds, 2), "peak_mb": round(peak)}))
        return
    result = {"command": " ".join(["python bench/focus_vs_deepfocus.py", *sys.argv[1:]])}
    result |= {"new": chosen.new, "shared": chosen.shared, "width": WIDTH}
    with tempfile.TemporaryDirectory() as folder:
        made = {}
        for side in ("ours", "peer"):
            file = Path(folder) / f"{side}.npy"
            command = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--rows", str(file)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            result[side] = json.loads(said.rsplit("FIGURES", 1)[1])
            made[side] = np.load(file)
    result["largest_difference"] = float(np.abs(made["ours"] - made["peer"]).max())
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
