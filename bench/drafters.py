"""Tokens a forward pass and tokens a second of the drafters, beside the library's own fast decoding.

    python bench/drafters.py --out bench/results/drafters.json       # both models of bench/draft_pair.py are made first
    python bench/drafters.py --temperature 1 --out bench/results/drafters_sampled.json
    python bench/drafters.py --prompts 40 --only "library prompt lookup" "recycling 12" --out ...    # some methods

Held-out source code, one thread, float32, batch 1. Every method continues the same prompts, one prompt after another
and the methods in turn, so that a change of the machine's load meets all. Seconds are those of the processor. At
temperature 0 every text must equal the library's greedy one. Ratios are paired over prompts (bootstrap).
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import json
import platform
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from base_lm import training_texts
from draft_pair import code_prompts, draft_model, target_model

from tokenry.core.intervals import ratio_change_interval, ratio_interval
from tokenry.decoding.recycling import warm
from tokenry.decoding.sampling import Settings
from tokenry.decoding.strategies import make, settings_for
from tokenry.models.generation import end_ids
from tokenry.models.lm import LM

OURS = {
    "plain": ("plain", {}),
    "lookup": ("lookup", {}),
    "suffix": ("suffix", {"size": 16}),
    "suffix auto": ("suffix", {"size": "auto"}),
    "suffix or recycling": ("suffix", {"size": "auto", "shortest": 5, "fallback": "recycling"}),
    "suffix or recycling 12": ("suffix", {"size": 12, "shortest": 3, "fallback": "recycling"}),
    "recycling 80": ("recycling", {"size": 80}),
    "recycling 80, paper": ("recycling", {"size": 80, "from_prompt": False}),
    "recycling 32": ("recycling", {"size": 32}),
    "recycling 12": ("recycling", {"size": 12}),
    "recycling 12, warm": ("recycling", {"size": 12}),
    "recycling 8": ("recycling", {"size": 8}),
    "recycling auto": ("recycling", {"size": "auto"}),
}
DRAFTED = {
    "chain": ("draft-chain", {}),
    "fixed": ("draft-tree", {}),
    "dynamic": ("dynamic-tree", {}),
    "dynamic layers": ("dynamic-tree", {"expansion": "layers"}),
    "raw slot": ("dynamic-tree", {"priority": "slot"}),
}


class Counted:
    """Forward passes of a model, counted by a hook."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.n = 0
        model.register_forward_hook(self._count)

    def _count(self, *_: object) -> None:
        self.n += 1


def library(lm: LM, draft: LM, kind: str, settings: Settings) -> Callable[[list[int]], list[int]]:
    """The library's generate: "plain", "prompt lookup" or "assisted"."""
    asked: dict = {"max_new_tokens": settings.max_new_tokens, "pad_token_id": 0, "eos_token_id": list(end_ids(lm))}
    asked |= {"do_sample": True, "temperature": settings.temperature} if settings.temperature else {"do_sample": False}
    if kind == "prompt lookup":
        asked["prompt_lookup_num_tokens"] = 10
    if kind == "assisted":
        asked["assistant_model"] = draft.model

    def run(prompt: list[int]) -> list[int]:
        ids = torch.tensor([prompt])
        torch.manual_seed(0)
        return lm.model.generate(ids, attention_mask=torch.ones_like(ids), **asked)[0, len(prompt) :].tolist()

    return run


def compare(
    lm: LM, draft: LM, prompts: list[list[int]], *, settings: Settings, sizes: list[int], only: list[str]
) -> dict[str, dict]:
    """Per method the tokens, target forwards and processor seconds of every prompt, and its texts."""
    counted = Counted(lm.model)
    kinds = ("plain", "prompt lookup", "assisted")
    methods: dict[str, Callable] = {f"library {kind}": library(lm, draft, kind, settings) for kind in kinds}
    without_draft = {"plain": OURS["plain"]} if settings.temperature else OURS  # their guesses draw nothing
    strategies = {name: make(maker, **options) for name, (maker, options) in without_draft.items()}
    for size in sizes:
        strategies |= {f"{name} {size}": make(maker, draft=draft, size=size, **options)
                       for name, (maker, options) in DRAFTED.items()}  # fmt: skip
    for name, strategy in strategies.items():
        methods[name] = lambda prompt, run=strategy: run(lm, prompt, settings).ids
    methods = {name: run for name, run in methods.items() if not only or name in (*only, "library plain")}
    if "recycling 12, warm" in methods:  # a table as `state=` keeps it, from documents the models were trained on
        warm(strategies["recycling 12, warm"].drafter, lm, [text[:1500] for text in training_texts("code")[:60]])
    found: dict[str, dict] = {name: {"tokens": [], "forwards": [], "seconds": [], "ids": []} for name in methods}
    for number, prompt in enumerate(prompts):
        for name, run in methods.items():
            counted.n, started = 0, time.process_time()
            ids = run(prompt)
            entry = found[name]
            entry["seconds"].append(time.process_time() - started)
            entry["forwards"].append(counted.n)
            entry["tokens"].append(len(ids))
            entry["ids"].append(ids)
        print(f"prompt {number + 1} of {len(prompts)}", file=sys.stderr, flush=True)
    for name, strategy in ((name, one) for name, one in strategies.items() if name in methods):
        drafter = getattr(strategy, "drafter", None)
        found[name]["notes"] = dict(getattr(drafter, "notes", None) or {})
        found[name]["sizing"] = strategy.sizing.table() if hasattr(strategy.sizing, "table") else []
        found[name]["calibration"] = drafter.map.table() if hasattr(drafter, "map") else []
    return found


def summary(found: dict[str, dict]) -> dict[str, dict]:
    """Rates with intervals; the speed beside the library's prompt lookup and assisted generation, paired."""
    rows = {}
    truth = found["library plain"]
    rivals = {name: found[f"library {name}"] for name in ("prompt lookup", "assisted", "plain")
              if f"library {name}" in found}  # fmt: skip
    for name, entry in found.items():
        row: dict = {
            "tokens_per_forward": _text(ratio_interval(entry["tokens"], entry["forwards"])),
            "tokens_per_second": _text(ratio_interval(entry["tokens"], entry["seconds"])),
            "same_text": float(np.mean([a == b for a, b in zip(entry["ids"], truth["ids"], strict=True)])),
        }
        for rival, other in rivals.items():
            row[f"speed_vs_library_{rival.replace(' ', '_')}"] = _text(_speed_ratio(entry, other))
        for rival in (f"fixed {name.split()[-1]}", "library prompt lookup"):
            if rival in found and rival != name:
                pair = [(found[one]["tokens"], found[one]["forwards"]) for one in (rival, name)]
                row[f"tokens_per_forward_more_than_{rival.replace(' ', '_')}"] = _text(ratio_change_interval(*pair))
        rows[name] = row | {key: entry[key] for key in ("notes", "sizing", "calibration") if entry.get(key)}
    return rows


def _speed_ratio(entry: dict, other: dict) -> list[float]:
    """Tokens a second, ours over theirs, with a paired bootstrap over prompts."""
    columns = np.array([entry["tokens"], entry["seconds"], other["tokens"], other["seconds"]], dtype=np.float64)
    picks = np.random.default_rng(0).integers(0, columns.shape[1], (1000, columns.shape[1]))
    drawn = columns[:, picks].sum(-1)
    whole = columns.sum(1)
    ratios = drawn[0] / drawn[1] / (drawn[2] / drawn[3])
    value = whole[0] / whole[1] / (whole[2] / whole[3])
    return [float(value), *np.quantile(ratios, [0.025, 0.975]).tolist()]


def _text(interval: object) -> list[float]:
    numbers = interval if isinstance(interval, list) else [interval.value, interval.low, interval.high]
    return [round(float(number), 3) for number in numbers]


def main() -> None:
    """Print the table; write it where --out says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--skip", type=int, default=4, help="prompts set aside, on which choices were made")
    parser.add_argument("--new", type=int, default=96)
    parser.add_argument("--sizes", type=int, nargs="*", default=[16])
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--only", nargs="*", default=[], help="names of methods; all without it")
    parser.add_argument("--target")
    parser.add_argument("--draft")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lm, draft = LM.open(asked.target or str(target_model())), LM.open(asked.draft or str(draft_model()))
    settings = settings_for(lm, Settings(max_new_tokens=asked.new, temperature=asked.temperature))
    prompts = code_prompts(lm, n=asked.prompts, skip=asked.skip)
    found = compare(lm, draft, prompts, settings=settings, sizes=asked.sizes, only=asked.only)
    rows = summary(found)
    for name, row in rows.items():
        told = "  ".join(f"{key} {row[key]}" for key in row if key not in ("notes", "sizing", "calibration"))
        print(f"{name:24} {told}", flush=True)
    if asked.out:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, one thread, torch {torch.__version__}"
        head = {"command": "python " + shlex.join(sys.argv), "machine": machine, "n_prompts": len(prompts), "seed": 0,
                "new_tokens": asked.new, "parameters": [sum(w.numel() for w in one.model.parameters())
                                                        for one in (lm, draft)]}  # fmt: skip
        asked.out.write_text(json.dumps(head | {"methods": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
