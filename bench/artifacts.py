"""Synthetic against human text, first and second order, with the null calibrated; writes bench/results/artifacts.json.

    python bench/artifacts.py            # about 5 CPU minutes, cached generations not kept

Three parts:

- documentation: human text held out from the base model of bench/base_lm.py (a Llama of 2 M parameters trained on it)
  against what that model writes after the first words of the same passages, at temperature 0.7 and 1.0. Then a byte
  n-gram model is trained on human passages, on the model's text and on mixtures, and read on human text held out.
- stories: the stories carried in the package are themselves samples of stories260K (machine-made: no human side is at
  hand for that model); new samples at 1.0 and 0.7 are compared with them.
- null: human passages split in random halves, many times; the share of intervals that hold 0.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import json
import math
import random
import time
from pathlib import Path

import numpy as np
from base_lm import base_model, heldout, training_texts

from tokenry.core.intervals import wilson_interval
from tokenry.core.tables import texts
from tokenry.corpora.artifacts import artifact_battery
from tokenry.corpora.artifacts_text import Reference, TextSide, compare_sides
from tokenry.corpora.artifacts_training import second_order
from tokenry.data import demo_model, demo_text
from tokenry.models.lm import LM

PASSAGE, PROMPT, TOKENS = 500, 40, 150
TEMPERATURES = (0.7, 1.0)


def passages(documents: list[str], n: int, seed: int) -> list[str]:
    """Passages of about `PASSAGE` characters that begin at a word."""
    made = []
    for document in documents:
        words, held = document.split(" "), ""
        for word in words:
            held = f"{held} {word}" if held else word
            if len(held) >= PASSAGE:
                made.append(held)
                held = ""
    random.Random(seed).shuffle(made)
    return made[:n]


def parted(passage: str) -> tuple[str, str]:
    """The first words and the rest."""
    at = passage.find(" ", PROMPT)
    return passage[:at], passage[at:]


def written(lm: LM, prompts: list[str], temperature: float, seed: int) -> list[str]:
    """What the model writes after each prompt, the prompt left out."""
    made = []
    for number, prompt in enumerate(prompts):
        text = lm.generate(prompt, max_new_tokens=TOKENS, temperature=temperature, seed=seed * 100_000 + number)
        made.append(text[len(prompt) :] if text.startswith(prompt) else text)
    return made


def shown(report: object) -> list[dict]:
    """Rows of the tidy table, rounded."""
    return [
        {key: round(value, 5) if isinstance(value, float) and math.isfinite(value) else
         None if isinstance(value, float) else value for key, value in row.items()}
        for row in report.tables["differences"].to_pylist()
    ]  # fmt: skip


def null(known: Reference, human: list[str], splits: int) -> dict:
    """Share of intervals that hold 0 between random halves of human text."""
    whole, rng = TextSide(human, known), np.random.default_rng(0)
    counts: dict[str, list[int]] = {}
    for number in range(splits):
        order = rng.permutation(len(human))
        half = len(human) // 2
        for one in compare_sides(whole.of(order[:half]), whole.of(order[half:]), group="null", seed=number):
            if math.isfinite(one.low):
                counts.setdefault(one.metric, []).append(int(one.low <= 0 <= one.high))
    inside, n = sum(map(sum, counts.values())), sum(map(len, counts.values()))
    overall = wilson_interval(inside, n)
    return {"inside": round(overall.value, 4), "low": round(overall.low, 4), "high": round(overall.high, 4),
            "n_intervals": n, "splits": splits, "passages": len(human),
            "by_feature": {name: round(float(np.mean(one)), 3) for name, one in counts.items()}}  # fmt: skip


def main() -> None:
    """Run the three parts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--passages", type=int, default=150)
    parser.add_argument("--train-passages", type=int, default=250)
    parser.add_argument("--stories", type=int, default=100)
    parser.add_argument("--splits", type=int, default=40)
    chosen, began = parser.parse_args(), time.process_time()
    path, result = Path(__file__).parent / "results" / "artifacts.json", {}

    def keep(name: str, made: object) -> None:
        result[name] = made
        result["command"] = (f"python bench/artifacts.py --passages {chosen.passages} --train-passages "
                             f"{chosen.train_passages} --stories {chosen.stories} "
                             f"--splits {chosen.splits}")  # fmt: skip
        result["cpu_seconds"] = round(time.process_time() - began, 1)
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(name, result["cpu_seconds"], "CPU s", flush=True)

    seen, unseen = training_texts("en"), heldout("en", n_bytes=400_000)
    reference = passages(seen, 600, 0)
    train, known = reference[: chosen.train_passages], Reference.of(reference[300:])
    held = passages(unseen, 10**6, 0)
    keep("null", null(known, held[:300], chosen.splits))
    lm, asked = LM.open(str(base_model("en"))), held[: chosen.passages]
    prompts, human = zip(*map(parted, asked), strict=True)
    train_prompts, train_human = zip(*map(parted, train), strict=True)
    for temperature in TEMPERATURES:
        synthetic = written(lm, list(prompts), temperature, 1)
        report = artifact_battery("text", list(human), synthetic, reference=reference[300:])
        keep(f"documentation, temperature {temperature}", shown(report))
        more = written(lm, list(train_prompts), temperature, 2)
        trained = second_order(list(train_human), more, held[chosen.passages :][:150], repeats=5)
        keep(f"documentation, trained on temperature {temperature}",
             {"rows": shown(trained), "curve": trained.tables["curve"].to_pylist()})  # fmt: skip
    small = LM.open(demo_model())
    carried = list(texts(demo_text("stories")))
    for temperature in TEMPERATURES:
        fresh = written(small, [""] * chosen.stories, temperature, 3)
        keep(f"stories, temperature {temperature}", shown(artifact_battery("text", carried, fresh)))


if __name__ == "__main__":
    main()
