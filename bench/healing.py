"""Which way to begin new rows, and which way to heal them, at equal compute: the carried model on the carried fiction.

    python bench/healing.py                # 3 seeds, about 25 CPU minutes
    python bench/healing.py --seeds 1

One vocabulary (512 -> 2,048 by continued BPE), the same text, the same number of floating-point operations for every
row; only the seed of the data order changes inside a row. Scored on held-out fiction nothing was chosen on, and on
stories the model knew before (what it forgot). Written to bench/results/healing.json.
"""

import argparse
import json
import os
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np

RESULTS = Path(__file__).resolve().parent / "results" / "healing.json"
CASES = {
    "random rows": {"method": "random"},
    "mean of all rows": {"method": "mean"},
    "mean of pieces": {"method": "pieces"},
    "mean of pieces, rows only first": {"method": "pieces", "rows_first": 30},
    "asymmetric": {"method": "asymmetric"},
    "asymmetric, distilled": {"method": "asymmetric", "objective": "distil"},
    "original tokens (control)": {},
}
STEPS = 120
"""Steps of plain healing with tied rows; their operations are everybody's budget."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    import torch

    from tokenry.core.tables import texts
    from tokenry.data import demo_model, demo_text
    from tokenry.models.lm import LM
    from tokenry.tokenization.extend import extend
    from tokenry.transplant.adapt import replace_model
    from tokenry.transplant.distilling import Teacher
    from tokenry.transplant.documents import part_texts, split, take
    from tokenry.transplant.healing import HealConfig, heal, step_flops
    from tokenry.transplant.planning import plan
    from tokenry.transplant.scoring import measure
    from tokenry.transplant.surgery import move

    torch.set_num_threads(1)
    lm, stories = LM.open(demo_model()), take(list(texts(demo_text("stories"))), 40_000)
    with tempfile.TemporaryDirectory() as place:
        split(demo_text("fiction"), Path(place), seed=0, caps={}, reading={})
        parts = {name: part_texts(Path(place), name) for name in ("compose", "heal", "heldout")}
    heldout = take(parts["heldout"], 60_000)
    longer = extend(lm.vocab, parts["compose"], size=2048)
    budget, rows = None, []
    for name, case in CASES.items():
        for seed in range(options.seeds):
            config = HealConfig(
                steps=STEPS, seed=seed, rows_first=case.get("rows_first", 0),
                objective=case.get("objective", "next-token"),
            )  # fmt: skip
            model, teacher = replace_model(lm), None
            if case:
                how = {"seed": seed} if case["method"] == "random" else {}
                made = plan(lm.vocab, longer.vocab, method=case["method"], pieces=longer.pieces, **how)
                model = move(lm, longer.vocab, plan=made).lm
                teacher = Teacher(lm.model, longer.pieces, lm.vocab.size)
            budget = budget or STEPS * step_flops(model, config)
            moved = measure(model, heldout, segment_bytes=512).bits_per_byte().value
            done = heal(model, parts["heal"], config=config, compute=budget, teacher=teacher)
            scores = {n: measure(model, t, segment_bytes=512) for n, t in (("heldout", heldout), ("stories", stories))}
            rows.append({
                "case": name, "seed": seed, "steps": done.steps, "cpu_seconds": round(done.cpu_seconds, 1),
                "moved": round(moved, 4), **{k: round(s.bits_per_byte().value, 4) for k, s in scores.items()},
            })  # fmt: skip
            print(rows[-1], flush=True)
    summary = {}
    for name in CASES:
        own = [row for row in rows if row["case"] == name]
        summary[name] = {}
        for key in ("moved", "heldout", "stories", "cpu_seconds"):
            values = [row[key] for row in own]
            summary[name][key] = {"mean": round(float(np.mean(values)), 4), "sd": round(float(np.std(values)), 4)}
    result = {
        "what": "bits per byte at equal compute", "command": f"python bench/healing.py --seeds {options.seeds}",
        "when": datetime.now(UTC).isoformat(timespec="seconds"), "flops": budget, "seeds": options.seeds,
        "heldout_documents": len(heldout), "stories": len(stories),
        "machine": {"cpu": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "summary": summary, "rows": rows,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
