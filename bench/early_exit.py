"""Quality against layers: early exit by position, naive truncation to the same compute, by confidence, self-drafts.

    python bench/early_exit.py --out bench/results/early_exit.json
    python bench/early_exit.py --only speed --out bench/results/early_exit_speed.json

Data: made records of five fields in random order, and the text about them, which follows from the record exactly
(a name stands in two fields, price and rating together decide the last word), so "right" is known. A Llama of 8 layers
learns it from nothing; each policy then fine-tunes a copy for the same number of steps on the same batches, the whole
model too (the control). Every policy of a budget runs the same layers a token on average. Intervals: over records and
seeds together (Wilson), paired differences by bootstrap over records.
"""

import argparse
import copy
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

from tokenry.core.intervals import bootstrap_interval, wilson_interval
from tokenry.decoding.confident_exit import ConfidentExit
from tokenry.decoding.early_exit import skip_generate
from tokenry.decoding.exit_training import exits_loss, finetune, scheduled_nats
from tokenry.decoding.layer_schedules import LayerSchedule
from tokenry.decoding.sampling import Settings
from tokenry.decoding.self_draft import SelfDrafter
from tokenry.decoding.speculate import generate
from tokenry.models.session import Session
from tokenry.models.training import FitConfig, fit

N_LAYERS, WIDTH, HEADS = 8, 64, 4
FIELDS = ("name", "near", "food", "price", "rating")
VALUES = {
    "name": [f"n{i}" for i in range(24)],
    "near": [f"n{i}" for i in range(24)],
    "food": [f"f{i}" for i in range(12)],
    "price": [f"p{i}" for i in range(4)],
    "rating": [f"r{i}" for i in range(5)],
}
WORDS = ["<pad>", "<s>", "</s>", "=>", *FIELDS, *dict.fromkeys(v for values in VALUES.values() for v in values),
         "is", "a", "place", "near", "and", "it", "serves", "food", "for", "at", ".", "guests", "give",
         "so", "we", "say", *(f"v{i}" for i in range(7)), *(f"cost{i}" for i in range(4))]  # fmt: skip
ID = {word: number for number, word in enumerate(WORDS)}


def record(generator: np.random.Generator) -> tuple[list[int], list[int]]:
    """(prompt, text) of one record."""
    of = {field: str(generator.choice(VALUES[field])) for field in FIELDS}
    order = generator.permutation(len(FIELDS))
    prompt = ["<s>", *(word for place in order for word in (FIELDS[place], of[FIELDS[place]])), "=>"]
    price, rating = int(of["price"][1:]), int(of["rating"][1:])
    text = f"{of['name']} is a place near {of['near']} . it serves {of['food']} food at cost{price} . guests give " \
           f"it {of['rating']} so we say v{(2 * rating - price) % 7} . </s>"  # fmt: skip
    return [ID[word] for word in prompt], [ID[word] for word in text.split()]


def batch_of(seed: int, number: int, size: int) -> dict[str, torch.Tensor]:
    """Fresh records; only the text is learned."""
    generator = np.random.default_rng([seed, number])
    pairs = [record(generator) for _ in range(size)]
    ids = torch.tensor([prompt + text for prompt, text in pairs])
    labels = ids.clone()
    labels[:, : len(pairs[0][0])] = -100
    return {"input_ids": ids, "labels": labels}


def base_model(seed: int, steps: int, size: int) -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=N_LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=HEADS // 2, max_position_embeddings=128,
        tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.08,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    how = FitConfig(rate=5e-3, warmup=steps // 10, seed=seed)
    result = fit(model, lambda n: batch_of(10 + seed, n, size), steps=steps, config=how, label="base")
    print(f"base, seed {seed}: {result.cpu_seconds:.0f} CPU s, loss {result.history[-1]['loss']:.3f}", flush=True)
    return model.eval()


def test_records(seed: int, n: int) -> list[tuple[list[int], list[int]]]:
    generator = np.random.default_rng([1000 + seed])
    return [record(generator) for _ in range(n)]


def scored(model: torch.nn.Module, schedule: LayerSchedule, records: list) -> dict:
    """Per record whether the text is exactly right and the share of right words; layers a token as measured."""
    n_new = len(records[0][1])
    settings = Settings(max_new_tokens=n_new, ends=(2,))
    right, words, run, fed = [], [], 0, 0
    for first in range(0, len(records), 50):
        group = records[first : first + 50]
        done = skip_generate(model, [prompt for prompt, _ in group], schedule, settings=settings)
        run += done.token_layers - sum(len(prompt) for prompt, _ in group) * N_LAYERS
        fed += sum(len(ids) - 1 for ids in done.ids)
        for (_, text), ids in zip(group, done.ids, strict=True):
            right.append(ids == text)
            words.append(np.mean([a == b for a, b in zip(text, [*ids, *[0] * len(text)], strict=False)]))
    nats = scheduled_nats(model, [batch_of(2000, n, 50) for n in range(4)], schedule)
    return {"right": right, "words": words, "layers": run / fed, "nats": float(nats.mean())}


def policies(speedup: float, n_steps: int) -> dict[str, LayerSchedule]:
    """Schedules of one average depth."""
    same = {"n_steps": n_steps, "speedup": speedup}
    return {
        "skip (falling, top)": LayerSchedule.falling(N_LAYERS, **same),
        "early exit (falling, bottom)": LayerSchedule.falling(N_LAYERS, place="bottom", **same),
        "truncation (constant, bottom)": LayerSchedule.falling(N_LAYERS, spread=0, place="bottom", **same),
        "even (constant, spread)": LayerSchedule.falling(N_LAYERS, spread=0, place="even", **same),
    }


def by_confidence(model: torch.nn.Module, records: list, exits: list[int], thresholds: list[float]) -> list[dict]:
    settings = Settings(max_new_tokens=len(records[0][1]), ends=(2,))
    found = []
    for layers in exits:
        for threshold in thresholds:
            right, passes, run = [], [], []
            for prompt, text in records:
                ids, _, notes = ConfidentExit(layers, threshold).run(model, prompt, settings)
                right.append(ids == text)
                passes.append(notes["layer passes a token"])
                run.append(notes["layers a token"])
            found.append({"exit": layers, "threshold": threshold, "right": right,
                          "layer passes": float(np.mean(passes)), "layers": float(np.mean(run))})  # fmt: skip
    return found


def by_drafts(model: torch.nn.Module, records: list, exits: list[int]) -> list[dict]:
    settings = Settings(max_new_tokens=len(records[0][1]), ends=(2,))
    plain = [generate(Session.open(model), prompt, settings=settings)[0] for prompt, _ in records]
    found = []
    for layers in exits:
        same, passes, steps, tokens = [], [], 0, 0
        for (prompt, _), truth in zip(records, plain, strict=True):
            drafter = SelfDrafter(layers=layers, n_guesses=4)
            ids, stats = generate(Session.open(model), prompt, drafter, settings=settings)
            same.append(ids == truth)
            passes.append(drafter.notes["layer passes a token"])
            steps, tokens = steps + stats.n_steps, tokens + stats.n_new - 1
        found.append({"layers": layers, "identical": float(np.mean(same)), "layer passes": float(np.mean(passes)),
                      "tokens a step": tokens / steps})  # fmt: skip
    return found


def one_seed(seed: int, asked: argparse.Namespace) -> dict:
    """Everything with one base model."""
    base = base_model(seed, asked.steps, asked.batch)
    records = test_records(seed, asked.records)
    n_steps = len(records[0][1]) - 1
    how = FitConfig(rate=2e-3, warmup=asked.tune // 10, seed=seed)

    def batches(number: int) -> dict:
        return batch_of(500 + seed, number, asked.batch)

    full = LayerSchedule.full(N_LAYERS)
    found: dict = {"seed": seed, "rows": [], "base": scored(base, full, records)}
    control = copy.deepcopy(base)
    finetune(control, batches, full, steps=asked.tune, config=how, label="control")
    found["control"] = scored(control.eval(), full, records)
    for speedup in asked.speedups:
        for name, schedule in policies(speedup, n_steps).items():
            model = copy.deepcopy(base)
            before = scored(model, schedule, records)
            finetune(model, batches, schedule, steps=asked.tune, config=how, label=name)
            after = scored(model.eval(), schedule, records)
            found["rows"].append({"speedup": speedup, "policy": name, "untuned": before, "tuned": after})
            rates = " -> ".join(f"{np.mean(part['right']):.3f}" for part in (before, after))
            told = f"{after['layers']:.2f} layers, right {rates}, nats {after['nats']:.3f}"
            print(f"seed {seed} {speedup:.3g}x {name}: {told}", flush=True)
    lite = copy.deepcopy(base)
    fit(lite, batches, exits_loss((2, 4)), steps=asked.tune, config=how, label="exits")
    lite.eval()
    found["exits"] = scored(lite, full, records)
    few = records[: asked.records // 10]
    found["confident"] = by_confidence(lite, few, [2, 4], [0.5, 0.9, 0.99])
    found["drafts"] = {"tuned": by_drafts(lite, few, [2, 4]), "untuned": by_drafts(base, few, [2, 4])}
    return found


def summary(seeds: list[dict]) -> list[dict]:
    """One row a policy and budget, over all seeds."""

    def rate(parts: list[list[bool]]) -> dict:
        pooled = [bool(one) for part in parts for one in part]
        return vars_of(wilson_interval(sum(pooled), len(pooled)))

    rows = [{"policy": name, "speedup": 1.0, "layers": float(np.mean([s[name]["layers"] for s in seeds])),
             "right": rate([s[name]["right"] for s in seeds]), "nats": float(np.mean([s[name]["nats"] for s in seeds]))}
            for name in ("base", "control", "exits")]  # fmt: skip
    for place, row in enumerate(seeds[0]["rows"]):
        same = [seed["rows"][place] for seed in seeds]
        against = [next(r for r in seed["rows"] if r["speedup"] == row["speedup"] and "truncation" in r["policy"])
                   for seed in seeds]  # fmt: skip
        gain = [float(a) - float(b) for one, other in zip(same, against, strict=True)
                for a, b in zip(one["tuned"]["right"], other["tuned"]["right"], strict=True)]  # fmt: skip
        rows.append({
            "policy": row["policy"], "speedup": row["speedup"],
            "layers": float(np.mean([one["tuned"]["layers"] for one in same])),
            "right": rate([one["tuned"]["right"] for one in same]),
            "right untuned": rate([one["untuned"]["right"] for one in same]),
            "nats": float(np.mean([one["tuned"]["nats"] for one in same])),
            "more than truncation": vars_of(bootstrap_interval(gain)),
        })  # fmt: skip
    return rows


def vars_of(interval: object) -> dict:
    return {"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}


def speed(asked: argparse.Namespace) -> list[dict]:
    """Processor milliseconds a token of a random model of 12 layers, by budget and batch, prompt left out."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=8000, hidden_size=512, intermediate_size=1408, num_hidden_layers=12, num_attention_heads=8,
        num_key_value_heads=8, max_position_embeddings=1024, tie_word_embeddings=True, initializer_range=0.1,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model, n_new, found = LlamaForCausalLM(config).eval(), 24, []
    for batch in (1, 4):
        prompts = np.random.default_rng(0).integers(3, 8000, (batch, 32)).tolist()
        kinds = {speedup: LayerSchedule.falling(12, n_steps=n_new - 1, speedup=speedup) for speedup in (1.5, 2, 4)}
        kinds = {1: LayerSchedule.full(12), **kinds}
        took: dict[float, list[float]] = {kind: [] for kind in kinds}
        for _ in range(asked.repeats):
            for kind, schedule in kinds.items():
                times = []
                for n in (1, n_new):
                    started = time.process_time()
                    skip_generate(model, prompts, schedule, settings=Settings(max_new_tokens=n))
                    times.append(time.process_time() - started)
                took[kind].append(1e3 * (times[1] - times[0]) / (batch * (n_new - 1)))
        for kind, times in took.items():
            ratios = [whole / mine for whole, mine in zip(took[1], times, strict=True)]
            found.append({"batch": batch, "asked": kind, "layers": kinds[kind].average(n_new - 1),
                          "ms a token": statistics.median(times),
                          "faster": vars_of(bootstrap_interval(ratios))})  # fmt: skip
            print(found[-1], flush=True)
    return found


def main() -> None:
    """Print the tables; write them where --out says, after every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("quality", "speed"), default="quality")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--tune", type=int, default=120)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--records", type=int, default=300)
    parser.add_argument("--speedups", type=float, nargs="*", default=[8 / 3, 4.0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    about = {"command": " ".join(["python", "bench/early_exit.py", *sys.argv[1:]]), "machine": platform.machine(),
             "torch": torch.__version__, "threads": 1}  # fmt: skip
    if asked.only == "speed":
        found = {**about, "repeats": asked.repeats, "speed": speed(asked)}
        if asked.out:
            asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return
    seeds: list[dict] = []
    for seed in asked.seeds:
        seeds.append(one_seed(seed, asked))
        rows = summary(seeds)
        for row in rows:
            print(row, flush=True)
        if asked.out:
            kept = [{"seed": one["seed"], "drafts": one["drafts"],
                     "confident": [{**row, "right": float(np.mean(row["right"]))} for row in one["confident"]]}
                    for one in seeds]  # fmt: skip
            found = {**about, "n_records": asked.records, "seeds": [one["seed"] for one in seeds], "rows": rows,
                     "by_seed": kept}  # fmt: skip
            asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
