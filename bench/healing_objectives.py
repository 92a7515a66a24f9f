"""Which objective and which stages heal best at equal compute: the base model of these benches on another tokenizer.

    python bench/healing_objectives.py             # 2 seeds, about 5 CPU minutes
    python bench/healing_objectives.py --only tuned --steps 80   # one more row into the written result, 2 CPU minutes

The model of bench/base_lm.py (English documentation and code) gets a vocabulary of 4,096 trained on German and English,
by mean of pieces, and heals on English documentation. Every row spends the same floating-point operations, a teacher's
forward passes counted. Scored on held-out English, and on held-out code, which no row reads while healing (what it
forgets). Nothing was chosen on these texts. Written to bench/results/healing_objectives.json.

Every row takes the default learning rate but the one called tuned: there the rate of the rows' stage is chosen among
four on development documents (English held-out documents behind the scored ones) and another order of the text. The
other rows got no such choice, so it may be read only against the untuned row of the same objective.
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
STEPS, BATCH, LENGTH, SCORED, DEVELOPMENT = 20, 8, 128, 30_000, 24_000
TUNED = "token distillation of new rows, then next token, all; rate of the rows tuned"
RATES, CHOICE_SEED = (1e-4, 3e-4, 1e-3, 3e-3), 7


def development() -> list[str]:
    """Held-out English documents that are not among the scored ones."""
    scored = set(heldout("en", n_bytes=SCORED))
    return [text for text in heldout("en", n_bytes=SCORED + DEVELOPMENT) if text not in scored]


class Arms:
    """One base, one new vocabulary, one budget; an arm is an objective with its stages and an order of the text."""

    def __init__(self, steps: int) -> None:
        from tokenry.core.tokenmap import RowKind
        from tokenry.models.lm import LM
        from tokenry.tokenization.train import train
        from tokenry.transplant.healing import HealConfig, step_flops
        from tokenry.transplant.planning import plan

        self.original = LM.open(base_model("en"))
        self.texts = training_texts("en")[:1500]
        self.vocab = train(training_texts("de")[:1000] + self.texts[:500], size=4096)
        self.plan = plan(self.original.vocab, self.vocab, method="pieces")
        self.rows = np.flatnonzero(self.plan.input.kinds > RowKind.SPECIAL).tolist()
        self.kinds = {"english": heldout("en", n_bytes=SCORED), "code": heldout("code", n_bytes=SCORED)}
        self.budget = steps * step_flops(self.moved(), HealConfig(batch=BATCH, length=LENGTH))

    def moved(self) -> object:
        """A fresh copy of the moved model."""
        from tokenry.transplant.surgery import move

        return move(self.original, self.vocab, plan=self.plan).lm

    def scores(self, lm: object, kinds: dict | None = None) -> dict:
        """Scores by kind of text."""
        from tokenry.transplant.scoring import measure

        return {name: measure(lm, some, segment_bytes=512) for name, some in (kinds or self.kinds).items()}

    def healed(self, objective: str, stages: str, seed: int) -> tuple:
        """The model after one arm, and what its training was."""
        from tokenry.transplant.healing import HealConfig, heal
        from tokenry.transplant.stages import parse_stages

        config = HealConfig(stages=parse_stages(stages), batch=BATCH, length=LENGTH, seed=seed, objective=objective)
        lm, teacher = self.moved(), None if objective == "next-token" else self.original
        return lm, heal(lm, self.texts, config=config, compute=self.budget, teacher=teacher, rows=self.rows)

    def chosen_rate(self) -> tuple[float, list[dict]]:
        """Rate of the rows' stage of token distillation, by development documents."""
        kinds, tried = {"development": development()}, []
        for rate in RATES:
            lm, _ = self.healed("token-distil", f"rows:20:{rate},all:20", CHOICE_SEED)
            bits = self.scores(lm, kinds)["development"].bits_per_byte()
            tried.append({"rate": rate, "development": [round(v, 4) for v in (bits.value, bits.low, bits.high)]})
            print(tried[-1], flush=True)
        return min(tried, key=lambda row: row["development"][0])["rate"], tried


def run(arms: Arms, cases: dict[str, tuple[str, str]], seeds: int) -> list[dict]:
    """A row for each case and order of the text."""
    before, found = arms.scores(arms.original), []
    for name, (objective, stages) in cases.items():
        for seed in range(seeds):
            lm, done = arms.healed(objective, stages, seed)
            row = {"case": name, "seed": seed, "steps": done.steps, "cpu_seconds": round(done.cpu_seconds, 1)}
            for kind, found_scores in arms.scores(lm).items():
                change = found_scores.change_from(before[kind])
                row[kind] = round(found_scores.bits_per_byte().value, 4)
                row[f"{kind} against the original"] = [round(v, 4) for v in (change.value, change.low, change.high)]
            found.append(row)
            print(row, flush=True)
    return found


def summed_up(found: list[dict], kinds: list[str]) -> dict:
    """Mean and sd over the orders of the text, by case."""
    summary = {}
    for name in dict.fromkeys(row["case"] for row in found):
        own = [row for row in found if row["case"] == name]
        summary[name] = {"steps": own[0]["steps"]}
        for key in (*kinds, "cpu_seconds"):
            values = [row[key] for row in own]
            summary[name][key] = {"mean": round(float(np.mean(values)), 4), "sd": round(float(np.std(values)), 4)}
    return summary


def main() -> None:
    """Run all rows, or the tuned one into what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=STEPS, help="plain steps whose operations are everybody's budget")
    parser.add_argument("--only", choices=["tuned"], help="add this row to the written result")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    arms, result = Arms(options.steps), {}
    if options.only:
        result = json.loads(options.out.read_text())
        if abs(result["flops"] / arms.budget - 1) > 1e-6:
            raise SystemExit(f"{options.out} was written with another budget; give the --steps of its command.")
    rate, tried = arms.chosen_rate()
    tuned = {TUNED: ("token-distil", f"rows:20:{rate},all:20")}
    kept = [row for row in result.get("runs", []) if row["case"] != TUNED]
    found = kept + run(arms, tuned if options.only else CASES | tuned, options.seeds)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    if not options.only:
        made = arms.scores(arms.moved())
        result = {
            "what": "bits per byte at equal compute; intervals: paired bootstrap over documents",
            "command": f"python bench/healing_objectives.py --seeds {options.seeds} --steps {options.steps}",
            "when": now, "flops": arms.budget, "seeds": options.seeds, "new_rows": len(arms.rows),
            "rows": len(arms.vocab.tokens), "documents": {k: len(v) for k, v in arms.kinds.items()},
            "original": {k: round(s.bits_per_byte().value, 4) for k, s in arms.scores(arms.original).items()},
            "after the move": {k: round(s.bits_per_byte().value, 4) for k, s in made.items()},
        }  # fmt: skip
    result["tuned"] = {
        "when": now, "seeds": options.seeds, "development_documents": len(development()), "seed": CHOICE_SEED,
        "chosen": rate, "tried": tried, "default_rate": 1e-3,
    }  # fmt: skip
    result |= {"summary": summed_up(found, list(arms.kinds)), "runs": found}
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["summary"], indent=2))


if __name__ == "__main__":
    main()
