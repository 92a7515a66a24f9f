"""Which objective and which stages heal best at equal compute: the base model of these benches on another tokenizer.

    python bench/healing_objectives.py             # 2 seeds, about 5 CPU minutes

The model of bench/base_lm.py (English documentation and code) gets a vocabulary of 4,096 trained on German and English,
by mean of pieces, and heals on English documentation. Every row spends the same floating-point operations, a teacher's
forward passes counted. Scored on held-out English, and on held-out code, which no row reads while healing (what it
forgets). Nothing was chosen on these texts. Written to bench/results/healing_objectives.json.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from base_lm import base_model, heldout, training_texts

RESULTS = Path(__file__).resolve().parent / "results" / "healing_objectives.json"
CASES = {
    "next token, all": ("next-token", "all:40"),
    "next token, new rows then all": ("next-token", "rows:20,all:20"),
    "next token, new rows, rows and LoRA, all": ("next-token", "rows:14,lora:13,all:13"),
    "distilled hidden states, all": ("distil", "all:40"),
    "ALM, all": ("alm", "all:40"),
    "ALM, new rows then all": ("alm", "rows:20,all:20"),
    "token distillation of new rows, then next token, all": ("token-distil", "rows:20,all:20"),
}
STEPS, BATCH, LENGTH, SCORED = 20, 8, 128, 30_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=STEPS, help="plain steps whose operations are everybody's budget")
    options = parser.parse_args()
    import torch

    from tokenry.core.tokenmap import RowKind
    from tokenry.models.lm import LM
    from tokenry.tokenization.train import train
    from tokenry.transplant.healing import HealConfig, heal, step_flops
    from tokenry.transplant.planning import plan
    from tokenry.transplant.scoring import measure
    from tokenry.transplant.stages import parse_stages
    from tokenry.transplant.surgery import move

    torch.set_num_threads(1)
    original = LM.open(base_model("en"))
    texts = training_texts("en")[:1500]
    vocab = train(training_texts("de")[:1000] + texts[:500], size=4096)
    made = plan(original.vocab, vocab, method="pieces")
    rows = np.flatnonzero(made.input.kinds > RowKind.SPECIAL).tolist()
    kinds = {"english": heldout("en", n_bytes=SCORED), "code": heldout("code", n_bytes=SCORED)}

    def scores(lm: LM) -> dict:
        return {name: measure(lm, some, segment_bytes=512) for name, some in kinds.items()}

    before, moved = scores(original), scores(move(original, vocab, plan=made).lm)
    found, budget = [], None
    for name, (objective, stages) in CASES.items():
        for seed in range(options.seeds):
            config = HealConfig(stages=parse_stages(stages), batch=BATCH, length=LENGTH, seed=seed, objective=objective)
            lm = move(original, vocab, plan=made).lm
            budget = budget or options.steps * step_flops(lm, HealConfig(batch=BATCH, length=LENGTH))
            teacher = None if objective == "next-token" else original
            done = heal(lm, texts, config=config, compute=budget, teacher=teacher, rows=rows)
            after = scores(lm)
            row = {"case": name, "seed": seed, "steps": done.steps, "cpu_seconds": round(done.cpu_seconds, 1)}
            for kind, found_scores in after.items():
                change = found_scores.change_from(before[kind])
                row[kind] = round(found_scores.bits_per_byte().value, 4)
                row[f"{kind} against the original"] = [round(v, 4) for v in (change.value, change.low, change.high)]
            found.append(row)
            print(row, flush=True)
    summary = {}
    for name in CASES:
        own = [row for row in found if row["case"] == name]
        summary[name] = {"steps": own[0]["steps"]}
        for key in (*kinds, "cpu_seconds"):
            values = [row[key] for row in own]
            summary[name][key] = {"mean": round(float(np.mean(values)), 4), "sd": round(float(np.std(values)), 4)}
    result = {
        "what": "bits per byte at equal compute; intervals: paired bootstrap over documents",
        "command": f"python bench/healing_objectives.py --seeds {options.seeds} --steps {options.steps}",
        "when": datetime.now(UTC).isoformat(timespec="seconds"), "flops": budget, "seeds": options.seeds,
        "new_rows": len(rows), "rows": len(vocab.tokens), "documents": {k: len(v) for k, v in kinds.items()},
        "original": {k: round(s.bits_per_byte().value, 4) for k, s in before.items()},
        "after the move": {k: round(s.bits_per_byte().value, 4) for k, s in moved.items()},
        "summary": summary, "runs": found,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
