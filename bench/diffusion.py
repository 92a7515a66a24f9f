"""What faster diffusion decoding costs in quality, on a made-up language whose valid texts are known.

    python bench/diffusion.py --out bench/results/diffusion.json

Trains its models at the first call (about 1 CPU minute a seed) and keeps them in the bench cache. Quality: the share of
wholly valid texts, and bits per byte under a causal judge trained on other texts. Cost: passes a text, places computed,
tokens the guide read, and tokens per processor second on single rows (a model this small is all overhead).
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from corpus import cache_folder
from diffusion_worlds import NEW, PROMPT, Language, train_language

from tokenry.core.intervals import bootstrap_interval
from tokenry.decoding.diffusion import DiffusionSpec, diffuse
from tokenry.decoding.diffusion_cache import Freeze
from tokenry.decoding.diffusion_guide import Guided, among_top
from tokenry.decoding.diffusion_unmasking import Counted, EntropyBound, Threshold
from tokenry.decoding.sampling import Settings
from tokenry.models.lm import LM

BLOCK, SAMPLING = 16, Settings(max_new_tokens=NEW, temperature=0.2, top_p=0.95, seed=3)
"""Sampling as in the scripts of the paper."""
CACHES = {
    "none": None,
    "block, delayed": Freeze(),
    "block, immediate": Freeze(when="immediate"),
    "token, delayed": Freeze(unit="token"),
    "dual": Freeze(refresh="block", suffix=True),
}


def ways(guide: LM) -> dict:
    """Every way to uncover that is compared; the first is the reference."""
    return {
        "one a step": lambda: Counted(),
        "2 a step": lambda: Counted(2),
        "3 a step": lambda: Counted(3),
        "threshold 0.9": lambda: Threshold(0.9),
        "entropy bound 0.1": lambda: EntropyBound(0.1),
        "guided, argmax": lambda: Guided(guide),
        "guided, top 2": lambda: Guided(guide, among_top(2)),
    }


def n_steps(found) -> list[int]:
    """Passes each row needed for itself: every pass uncovers something in a row that is not finished."""
    return [len(set(row)) for row in found.uncovered_at]


def language_row(lm: LM, make, freeze, prompts: list, *, truth: tuple[Language, LM], n_timed: int) -> dict:
    """Quality over a batch; cost over single rows (a batch shares places, guide tokens and seconds)."""
    spec, asked = DiffusionSpec.of(lm, shift=True), {"settings": SAMPLING, "block": BLOCK, "freeze": freeze}
    found = diffuse(lm, prompts, spec, unmask=make(), **asked)
    (language, judge), rows = truth, [a + b for a, b in zip(prompts, found.ids, strict=True)]
    valid = [language.is_valid(lm.vocab.decode(row)) for row in rows]
    costs, way, started = [], make(), time.process_time()
    for prompt in prompts[:n_timed]:
        costs.append(diffuse(lm, [prompt], spec, unmask=way, **asked).cost)
    seconds = time.process_time() - started
    return {
        "valid": valid, "bits_per_byte": judged(judge, rows), "steps": n_steps(found),
        "places": [cost.n_computed for cost in costs],
        "passes": [cost.n_forwards for cost in costs], "full": [cost.n_full for cost in costs],
        "guide_tokens": getattr(way, "n_tokens", 0) / n_timed, "guide_passes": getattr(way, "n_forwards", 0) / n_timed,
        "tokens_per_cpu_second": n_timed * NEW / seconds,
    }  # fmt: skip


def languages(folder: Path, seeds: list[int], *, n: int, n_timed: int, keep) -> None:
    """{way: {cache: rows}}: every way without a cache, three ways with every cache."""
    out: dict = {}
    true_bits: list[float] = []
    for seed in seeds:
        train_language(seed, folder)
        lm, guide = LM.open(folder / f"language-{seed}-dlm"), LM.open(folder / f"language-{seed}-guide")
        language, judge = Language(seed), LM.open(folder / f"language-{seed}-judge")
        texts = [row.tolist() for row in lm.vocab.encode(language.texts(n, 1000 + seed))]
        prompts = [row[:PROMPT] for row in texts]
        true_bits += judged(judge, texts)
        for name, make in ways(guide).items():
            cached = name in ("one a step", "threshold 0.9", "guided, argmax")
            for cache, freeze in CACHES.items() if cached else [("none", None)]:
                row = language_row(lm, make, freeze, prompts, truth=(language, judge), n_timed=n_timed)
                out.setdefault(name, {}).setdefault(cache, []).append(row)
                print(f"{seed} {name} / {cache}: {np.mean(row['valid']):.3f} valid, {np.mean(row['steps']):.1f} steps, "
                      f"{np.mean(row['places']):.0f} places, {row['tokens_per_cpu_second']:.0f} tokens/CPU s",
                      file=sys.stderr, flush=True)  # fmt: skip
        keep(out, true_bits)


def summed(rows: list[dict]) -> dict:
    """Over seeds: the share of valid texts with an interval over texts and its value for each seed, and mean costs."""
    flat = {
        key: np.concatenate([row[key] for row in rows])
        for key in ("valid", "bits_per_byte", "steps", "places", "passes", "full")
    }
    single = ("guide_tokens", "guide_passes", "tokens_per_cpu_second")
    return {
        "valid": vars(bootstrap_interval(flat.pop("valid").astype(float))),
        "bits_per_byte": vars(bootstrap_interval(flat.pop("bits_per_byte"), unit="bits/byte")),
        "valid_by_seed": [float(np.mean(row["valid"])) for row in rows],
        **{key: float(values.mean()) for key, values in flat.items()},
        **{key: float(np.mean([row[key] for row in rows])) for key in single},
    }


def speed(n_prompt: int = 384, n_new: int = 64, repeats: int = 3) -> dict:
    """Processor seconds of a model with random weights (11 million parameters) with and without a frozen prefix."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=2000, hidden_size=384, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=6,
        num_key_value_heads=6, initializer_range=0.1,
    )  # fmt: skip
    config.is_causal = False
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    prompt = np.random.default_rng(0).integers(0, 1999, n_prompt).tolist()
    asked = {"settings": Settings(max_new_tokens=n_new), "unmask": Counted(4), "block": BLOCK}
    seconds: dict[str, list[float]] = {}
    for _ in range(repeats):
        for cache in ("none", "block, delayed"):
            started = time.process_time()
            diffuse(model, [prompt], DiffusionSpec(1999), freeze=CACHES[cache], **asked)
            seconds.setdefault(cache, []).append(time.process_time() - started)
    ratios = np.divide(seconds["none"], seconds["block, delayed"])
    return {"prompt": n_prompt, "new": n_new, "seconds": seconds, "ratio": vars(bootstrap_interval(ratios))}


def judged(judge: LM, rows: list[list[int]]) -> list[float]:
    """Bits a byte of the new part of each row under the judge (a token is a byte)."""
    ids = torch.tensor(rows)
    with torch.inference_mode():
        log_p = judge.model(input_ids=ids, use_cache=False).logits[:, :-1].double().log_softmax(-1)
    nats = -log_p.gather(-1, ids[:, 1:, None])[..., 0][:, PROMPT - 1 :]
    return (nats.mean(1) / np.log(2)).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--models", type=Path, default=cache_folder() / "diffusion", help="where trained models lie")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--n", type=int, default=60, help="texts a seed")
    parser.add_argument("--timed", type=int, default=4, help="texts a seed that costs are measured on")
    chosen = parser.parse_args()
    chosen.models.mkdir(parents=True, exist_ok=True)
    result: dict = {
        "command": f"python bench/diffusion.py --seeds {' '.join(map(str, chosen.seeds))} --n {chosen.n}",
        "machine": f"{platform.processor() or platform.machine()}, one thread, torch {torch.__version__}",
        "texts": f"{PROMPT} + {NEW} characters, blocks of {BLOCK}, temperature 0.2, top-p 0.95",
        "n": chosen.n, "seeds": chosen.seeds,
    }  # fmt: skip

    def write() -> None:
        if chosen.out:
            chosen.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    def keep(rows: dict, true_bits: list[float]) -> None:
        result["true_texts"] = vars(bootstrap_interval(true_bits, unit="bits/byte"))
        result["language"] = {
            name: {cache: summed(each) for cache, each in found.items()} for name, found in rows.items()
        }
        result["seeds_done"] = len(rows["one a step"]["none"])
        write()

    result["speed"] = speed()
    languages(chosen.models, chosen.seeds, n=chosen.n, n_timed=chosen.timed, keep=keep)
    print(json.dumps({key: value for key, value in result.items() if key != "language"}))


if __name__ == "__main__":
    main()
