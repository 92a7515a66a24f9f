"""What faster diffusion decoding costs in quality: valid texts of a made-up language, bits per byte of stories.

    python bench/diffusion.py --out bench/results/diffusion.json

Trains its models at the first call (about 10 CPU minutes) and keeps them in the bench cache. Language: share of wholly
valid texts over seeds of language and training; passes, places computed and tokens a second on single rows. Stories:
bits per byte of sampled text under stories260K, from which the training texts were drawn, beside fresh samples of
stories260K itself; and how varied the text is.
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
from diffusion_worlds import NEW, PROMPT, Language, train_language, train_stories

from tokenry.core.intervals import bootstrap_interval, ratio_interval
from tokenry.decoding.diffusion import DiffusionSpec, diffuse
from tokenry.decoding.diffusion_cache import Freeze
from tokenry.decoding.diffusion_guide import Guided, among_top, as_likely_as
from tokenry.decoding.diffusion_unmasking import Counted, EntropyBound, Threshold
from tokenry.decoding.sampling import Settings
from tokenry.models.lm import LM

BLOCK, SAMPLING = 16, Settings(max_new_tokens=NEW, temperature=0.2, top_p=0.95, seed=3)
"""Sampling as in the scripts of the paper."""
STORY = {"prompt": 16, "new": 32, "block": 16}
CACHES = {
    "none": None,
    "refresh each step": Freeze(refresh=1),
    "prompt": Freeze(unit="prompt"),
    "block, delayed": Freeze(),
    "block, immediate": Freeze(when="immediate"),
    "token, delayed": Freeze(unit="token"),
    "block, refreshed at each block": Freeze(when="immediate", refresh="block"),
    "dual": Freeze(refresh="block", suffix=True),
}


def ways(guide: LM) -> dict:
    """Every way to uncover that is compared; the first is the reference."""
    return {
        "one a step": lambda: Counted(),
        "one a step, from the left": lambda: Counted(score="left"),
        "2 a step": lambda: Counted(2),
        "3 a step": lambda: Counted(3),
        "6 a step": lambda: Counted(6),
        "threshold 0.9": lambda: Threshold(0.9),
        "threshold 0.6": lambda: Threshold(0.6),
        "entropy bound 0.1": lambda: EntropyBound(0.1),
        "entropy bound 1": lambda: EntropyBound(1.0),
        "guided, argmax": lambda: Guided(guide),
        "guided, top 2": lambda: Guided(guide, among_top(2)),
        "guided, likely 0.1": lambda: Guided(guide, as_likely_as(0.1)),
    }


def n_steps(found) -> list[int]:
    """Passes each row needed for itself: every pass uncovers something in a row that is not finished."""
    return [len(set(row)) for row in found.uncovered_at]


def language_row(lm: LM, make, freeze, prompts: list, *, language: Language, n_timed: int) -> dict:
    """Quality over a batch; cost over single rows (a batch shares places, guide tokens and seconds)."""
    spec, asked = DiffusionSpec.of(lm, shift=True), {"settings": SAMPLING, "block": BLOCK, "freeze": freeze}
    found = diffuse(lm, prompts, spec, unmask=make(), **asked)
    valid = [language.is_valid(lm.vocab.decode([*a, *b])) for a, b in zip(prompts, found.ids, strict=True)]
    costs, way, started = [], make(), time.process_time()
    for prompt in prompts[:n_timed]:
        costs.append(diffuse(lm, [prompt], spec, unmask=way, **asked).cost)
    seconds = time.process_time() - started
    return {
        "valid": valid, "steps": n_steps(found), "places": [cost.n_computed for cost in costs],
        "passes": [cost.n_forwards for cost in costs], "full": [cost.n_full for cost in costs],
        "guide_tokens": getattr(way, "n_tokens", 0) / n_timed, "guide_passes": getattr(way, "n_forwards", 0) / n_timed,
        "tokens_per_cpu_second": n_timed * NEW / seconds,
    }  # fmt: skip


def languages(folder: Path, seeds: list[int], *, n: int, n_timed: int, keep) -> None:
    """{way: {cache: rows}}: every way without a cache, three ways with every cache."""
    out: dict = {}
    for seed in seeds:
        train_language(seed, folder)
        lm, guide = LM.open(folder / f"language-{seed}-dlm"), LM.open(folder / f"language-{seed}-guide")
        language = Language(seed)
        prompts = [row[:PROMPT].tolist() for row in lm.vocab.encode(language.texts(n, 1000 + seed))]
        for name, make in ways(guide).items():
            cached = name in ("one a step", "threshold 0.9", "guided, argmax")
            for cache, freeze in CACHES.items() if cached else [("none", None)]:
                row = language_row(lm, make, freeze, prompts, language=language, n_timed=n_timed)
                out.setdefault(name, {}).setdefault(cache, []).append(row)
                print(f"{seed} {name} / {cache}: {np.mean(row['valid']):.3f} valid, {np.mean(row['steps']):.1f} steps, "
                      f"{np.mean(row['places']):.0f} places, {row['tokens_per_cpu_second']:.0f} tokens/CPU s",
                      file=sys.stderr, flush=True)  # fmt: skip
        keep(out)


def summed(rows: list[dict]) -> dict:
    """Over seeds: the share of valid texts with an interval over texts and its value for each seed, and mean costs."""
    flat = {key: np.concatenate([row[key] for row in rows]) for key in ("valid", "steps", "places", "passes", "full")}
    single = ("guide_tokens", "guide_passes", "tokens_per_cpu_second")
    return {
        "valid": vars(bootstrap_interval(flat.pop("valid").astype(float))),
        "valid_by_seed": [float(np.mean(row["valid"])) for row in rows],
        **{key: float(values.mean()) for key, values in flat.items()},
        **{key: float(np.mean([row[key] for row in rows])) for key in single},
    }


def story_samples(judge: LM, n: int, seed: int) -> torch.Tensor:
    """Ids (n, start + prompt + new) drawn from the true law at temperature 1, without the end token."""
    torch.manual_seed(seed)
    start = torch.full((n, 1), judge.start)
    size = STORY["prompt"] + STORY["new"]
    return judge.model.generate(
        start, attention_mask=torch.ones_like(start), do_sample=True, top_k=0, top_p=1.0, temperature=1.0,
        max_new_tokens=size, min_new_tokens=size, pad_token_id=0,
    )  # fmt: skip


def judged(judge: LM, rows: list[list[int]]) -> tuple[list[float], list[int], float]:
    """Bits and bytes of the new part of each row under the truth, and the share of 4-token runs that are distinct."""
    ids = torch.tensor(rows)
    with torch.inference_mode():
        log_p = judge.model(input_ids=ids, use_cache=False).logits[:, :-1].double().log_softmax(-1)
    first = 1 + STORY["prompt"]
    bits = -log_p.gather(-1, ids[:, 1:, None])[..., 0][:, first - 1 :].sum(1) / np.log(2)
    new = ids[:, first:].numpy()
    n_bytes = judge.vocab.byte_lengths[new].sum(1)
    runs = [tuple(row[at : at + 4]) for row in new.tolist() for at in range(len(row) - 3)]
    return bits.tolist(), n_bytes.tolist(), len(set(runs)) / len(runs)


def stories(folder: Path, n: int, seed: int) -> dict:
    """{way: figures}, the truth's own samples and the guide's among them."""
    from tokenry.data import demo_model

    train_stories(0, folder)
    judge = LM.open(demo_model())
    lm, guide = LM.open(folder / "stories-0-dlm"), LM.open(folder / "stories-0-guide")
    samples = story_samples(judge, n, seed)
    prompts = samples[:, : 1 + STORY["prompt"]].tolist()
    settings = Settings(max_new_tokens=STORY["new"], temperature=1.0, seed=seed, n_tokens=judge.vocab.size)
    out, spec = {}, DiffusionSpec.of(lm, shift=True)

    def note(name: str, rows: list[list[int]], **costs: float) -> None:
        bits, n_bytes, distinct = judged(judge, rows)
        out[name] = {"bits_per_byte": vars(ratio_interval(bits, n_bytes)), "distinct_4": distinct, **costs}
        print(
            f"stories {name}: {ratio_interval(bits, n_bytes)}, {distinct:.3f} distinct, {costs}",
            file=sys.stderr,
            flush=True,
        )

    note("samples of the truth", samples.tolist())
    for name, make in ways(guide).items():
        caches = (
            {"": None, ", block cache": Freeze()}
            if name in ("one a step", "threshold 0.6", "guided, likely 0.1")
            else {"": None}
        )
        for cache, freeze in caches.items():
            found = diffuse(lm, prompts, spec, settings=settings, unmask=make(), block=STORY["block"], freeze=freeze)
            note(
                name + cache,
                [a + b for a, b in zip(prompts, found.ids, strict=True)],
                steps=float(np.mean(n_steps(found))),
            )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--models", type=Path, default=cache_folder() / "diffusion", help="where trained models lie")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--n", type=int, default=200, help="texts a seed, and stories")
    parser.add_argument("--timed", type=int, default=10, help="texts a seed that costs are measured on")
    parser.add_argument("--only", choices=["language", "stories"])
    chosen = parser.parse_args()
    chosen.models.mkdir(parents=True, exist_ok=True)
    result: dict = {
        "command": "python bench/diffusion.py " + " ".join(sys.argv[1:]),
        "machine": f"{platform.processor() or platform.machine()}, one thread, torch {torch.__version__}",
        "texts": f"{PROMPT} + {NEW} characters, blocks of {BLOCK}, temperature 0.2, top-p 0.95",
        "n": chosen.n, "seeds": chosen.seeds,
    }  # fmt: skip

    def write() -> None:
        if chosen.out:
            chosen.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    def keep(rows: dict) -> None:
        result["language"] = {
            name: {cache: summed(each) for cache, each in found.items()} for name, found in rows.items()
        }
        write()

    if chosen.only != "stories":
        languages(chosen.models, chosen.seeds, n=chosen.n, n_timed=chosen.timed, keep=keep)
    if chosen.only != "language":
        result["stories"] = {"n": chosen.n, **stories(chosen.models, chosen.n, 5)}
    write()
    print(json.dumps({key: value for key, value in result.items() if key not in ("language", "stories")}))


if __name__ == "__main__":
    main()
