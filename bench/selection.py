"""Selectors at equal token budgets: the same small model trained on what each keeps, in bits per byte on a target.

    python bench/selection.py --data ../shared/data/mixture

Pool: runs of neighbouring paragraphs of seven labels of the mixture, and planted noise: English and Python with their
words shuffled, English with the same boilerplate in every document, English documents copied word for word. Target:
English and Python text that is not in the pool; one half is shown to the selectors that want a target, the other half
is what the models are tested on. Each selector keeps `--budget` tokens of the pool (a tokenizer trained on the pool); a
small Llama is trained for `--steps` steps on that, whatever it is. `random` and `full` (the whole pool for the same
steps) are the controls, `labels` cheats: it knows which documents are clean text of the target's kind. Every seed draws
weights, order of batches and what is random in the selector. Runs go seed by seed and are written one by one.

Written to bench/results/selection.json; `--page` writes docs/results/selectors.md from it.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import json
import lzma
import platform
import random
import shutil
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "results" / "selection.json", HERE.parent / "docs" / "results" / "selectors.md"
LABELS = ("en", "code_python", "de", "fr", "cs", "code_c", "code_go")
TARGET = ("en", "code_python")
BOILERPLATE = (
    "Cookie notice: this site uses cookies to improve your experience. Accept all. Manage settings. "
    "Subscribe to our newsletter. Share this page. Log in or register to comment. All rights reserved. "
) * 6
LABEL_BYTES, NOISE_BYTES, TARGET_BYTES, DOCUMENT_BYTES = 300_000, 200_000, 60_000, 1500
SHAPE, LENGTH, BATCH, RATE, SIZE = {"width": 96, "layers": 2}, 128, 16, 5e-3, 2048


def documents(folder: Path, label: str) -> list[str]:
    """Runs of paragraphs of about `DOCUMENT_BYTES`."""
    made, held, size = [], [], 0
    with lzma.open(folder / f"{label}.jsonl.xz", "rt", encoding="utf-8") as lines:
        for line in lines:
            text = json.loads(line)["text"]
            pieces = [text[at : at + DOCUMENT_BYTES] for at in range(0, len(text), DOCUMENT_BYTES)]
            for piece in pieces:
                held.append(piece)
                size += len(piece.encode())
                if size >= DOCUMENT_BYTES:
                    made.append("\n".join(held))
                    held, size = [], 0
    random.Random(0).shuffle(made)
    return made


def taken(texts: list[str], n_bytes: int) -> list[str]:
    """The first texts, up to so many bytes."""
    sizes = np.cumsum([len(text.encode()) for text in texts])
    return texts[: int(np.searchsorted(sizes, n_bytes)) + 1]


def shuffled(text: str, seed: int) -> str:
    words = text.split()
    random.Random(seed).shuffle(words)
    return " ".join(words)


def world(folder: Path) -> tuple[list[dict], list[str], list[str]]:
    """The pool, and the two halves of the target."""
    pool, shown, tested = [], [], []
    for label in LABELS:
        texts = documents(folder, label)
        if label in TARGET:
            for half in (shown, tested):
                own = taken(texts, TARGET_BYTES)
                half += own
                texts = texts[len(own) :]
        pool += [{"text": text, "kind": label} for text in taken(texts, LABEL_BYTES)]
    english = [row["text"] for row in pool if row["kind"] == "en"]
    python = [row["text"] for row in pool if row["kind"] == "code_python"]
    half = NOISE_BYTES // 2
    broken = taken(english, half) + taken(python, half)
    pool += [{"text": shuffled(text, place), "kind": "shuffled"} for place, text in enumerate(broken)]
    filled = [f"{BOILERPLATE}\n{text[:200]}\n{BOILERPLATE[: 30 + place % 50]}" for place, text in enumerate(english)]
    pool += [{"text": text, "kind": "boilerplate"} for text in taken(filled, NOISE_BYTES)]
    pool += [{"text": text, "kind": "copy"} for text in taken(english[::-1], NOISE_BYTES)]
    random.Random(1).shuffle(pool)
    rows = [{"id": f"d{place:05d}", "source": "pool", **row} for place, row in enumerate(pool)]
    return rows, shown, tested


METHODS = {
    "random": {"method": "random"},
    "labels": {"rules": {"clean": f'kind == "{TARGET[0]}" or kind == "{TARGET[1]}"'}},
    "dsir": {"method": "dsir", "target": True},
    "dsir-length": {"method": "dsir-length", "target": True},
    "moore-lewis": {"method": "moore-lewis", "target": True},
    "ngram of the target": {"method": "ngram", "target": True},
    "ngram of the pool": {"method": "ngram"},
    "ngram-middle of the pool": {"method": "ngram-middle"},
    "classifier": {"method": "classifier", "target": True},
    "gopher-quality, then random": {"method": "gopher-quality"},
    "minhash, then random": {"method": "minhash"},
    "semdedup, then random": {"method": "semdedup", "encoder": "words"},
    "d4": {"method": "d4", "encoder": "words"},
    "k-center": {"method": "k-center", "encoder": "words"},
    "density": {"method": "density", "encoder": "words"},
    "rho": {"method": "rho", "target": True},
}
"""What is compared. "labels" cheats; "rho" takes the model of `random` and one trained on the shown target."""


def chosen(name: str, place: dict, seed: int, budget: float) -> tuple[np.ndarray, float]:
    """How often each document is kept, and the seconds it took."""
    from tokenry.corpora.select import Choice
    from tokenry.corpora.selectors import Means, select_by
    from tokenry.corpora.sidecars import read_signals

    asked, out = METHODS[name], place["work"] / f"{name.replace(' ', '_').replace(',', '')}-{seed}"
    for old in out.parent.glob(f"{out.name}*"):
        shutil.rmtree(old, ignore_errors=True)
    means = Means(
        targets=(str(place["target"]),) if asked.get("target") else (), encoder=asked.get("encoder"), seed=seed
    )
    if name == "rho":
        means = replace(
            means, model=str(place["work"] / f"model-random-{seed}"), reference=str(place["work"] / "reference")
        )
    choice = Choice(rules=asked.get("rules", {}), budget=budget, unit="tokens.n", seed=seed)
    started = time.process_time()
    made = select_by(place["pool"], out, method=asked.get("method"), choice=choice, means=means, write=False,
                     sidecars=[place["tokens"]], engine=place["engine"])  # fmt: skip
    copies = read_signals(made.decisions.folder, ["select.copies"]).column("select.copies").to_numpy()
    return copies, time.process_time() - started


def counted(batch: pa.RecordBatch, *, folder: str) -> pa.RecordBatch:
    """Tokens of each document."""
    from tokenry.core.vocab import Vocab

    n = [len(ids) for ids in Vocab.open(folder).encode(batch.column("text").to_pylist())]
    return pa.RecordBatch.from_arrays([batch.column("id"), pa.array(n, pa.int64())], names=["id", "tokens.n"])


def trained(texts: list[str], vocab: object, *, steps: int, seed: int) -> object:
    """The small model, trained on texts."""
    from tokenry.models.tiny import trained_tiny

    texts = list(texts)
    random.Random(seed).shuffle(texts)
    return trained_tiny(texts, vocab, steps=steps, length=LENGTH, batch_size=BATCH, rate=RATE, seed=seed, **SHAPE)


def run(data: Path, *, budget: float, steps: int, seeds: int, minutes: float) -> None:
    """Run seed by seed, writing after each; stop after so many minutes of processor time."""
    import functools

    from tokenry.corpora.dsir import Bag, counts_of, kl_reduction
    from tokenry.corpora.embedded import EmbeddedEngine
    from tokenry.tokenization.train import train

    rows, shown, tested = world(data)
    work = Path(tempfile.mkdtemp(prefix="selectors-"))
    place = {
        "work": work,
        "pool": work / "pool.jsonl",
        "target": work / "target.jsonl",
        "engine": EmbeddedEngine(workers=1),
    }
    place["pool"].write_text("".join(json.dumps(row) + "\n" for row in rows))
    place["target"].write_text("".join(json.dumps({"text": text}) + "\n" for text in shown))
    vocab = train([row["text"] for row in rows], size=SIZE)
    vocab.backend.save(str(work / "tokenizer.json"))
    place["tokens"] = work / "tokens"
    place["engine"].map(
        place["pool"], functools.partial(counted, folder=str(work / "tokenizer.json")), place["tokens"], key="n"
    )
    from tokenry.corpora.sidecars import read_signals

    n_tokens = read_signals(place["tokens"]).column("tokens.n").to_numpy()
    kinds = np.array([row["kind"] for row in rows])
    trained(shown, vocab, steps=steps, seed=100).save(work / "reference")
    bag = Bag()
    target = counts_of(pa.array(tested), bag)
    record = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"), "machine": platform.platform(), "budget": budget,
        "steps": steps, "seeds": seeds, "pool_documents": len(rows), "pool_tokens": int(n_tokens.sum()),
        "kinds": {kind: int(n_tokens[kinds == kind].sum()) for kind in dict.fromkeys(kinds.tolist())},
        "tested_documents": len(tested), "runs": [],
    }  # fmt: skip
    for seed in range(seeds):
        random_counts = None
        for name in ("full", *METHODS):
            if time.process_time() > 60 * minutes:
                print("stopped: out of time", flush=True)
                return
            copies, seconds = (
                (np.ones(len(rows), np.int64), 0.0) if name == "full" else chosen(name, place, seed, budget)
            )
            kept = [row["text"] for row, n in zip(rows, copies, strict=True) for _ in range(n)]
            lm = trained(kept, vocab, steps=steps, seed=seed)
            if name == "random":
                lm.save(work / f"model-random-{seed}")
                random_counts = counts_of(pa.array(kept), bag)
            scores = lm.score(tested, max_bytes=512)
            share = {
                kind: float((n_tokens * copies)[kinds == kind].sum() / (n_tokens * copies).sum())
                for kind in record["kinds"]
            }
            near = 0.0 if random_counts is None else kl_reduction(target, counts_of(pa.array(kept), bag), random_counts)
            record["runs"].append({
                "method": name, "seed": seed, "documents": len(kept), "tokens": int((n_tokens * copies).sum()),
                "bits_per_byte": float(scores.nats.sum() / np.log(2) / scores.n_bytes.sum()), "kl_reduction": near,
                "seconds": round(seconds, 2), "shares": share, "nats": [round(float(one), 2) for one in scores.nats],
                "n_bytes": scores.n_bytes.tolist() if name == "full" and seed == 0 else None,
            })  # fmt: skip
            record["cpu_minutes"] = round(time.process_time() / 60, 2)
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(record) + "\n")
            print(
                seed,
                name,
                {key: record["runs"][-1][key] for key in ("bits_per_byte", "documents", "tokens", "seconds")},
                flush=True,
            )
    shutil.rmtree(work)


def page() -> None:
    """The table of docs/results/selectors.md."""
    from tokenry.core.intervals import ratio_change_interval, ratio_interval

    record = json.loads(RESULTS.read_text())
    n_bytes = np.array(record["runs"][0]["n_bytes"])
    names = list(dict.fromkeys(one["method"] for one in record["runs"]))
    runs = {name: [one for one in record["runs"] if one["method"] == name] for name in names}
    whole = min(len(mine) for mine in runs.values())
    seeds = range(whole) if whole else range(1)

    def bits(name: str) -> np.ndarray:
        return np.mean([one["nats"] for one in runs[name] if one["seed"] in seeds], axis=0) / np.log(2)

    lines = []
    for name in sorted(names, key=lambda one: float(bits(one).sum())):
        mine = [one for one in runs[name] if one["seed"] in seeds]
        value = ratio_interval(bits(name), n_bytes)
        change = ratio_change_interval((bits("random"), n_bytes), (bits(name), n_bytes))
        each = [one["bits_per_byte"] - other["bits_per_byte"] for one, other in zip(mine, runs["random"], strict=False)]
        shares = {kind: np.mean([one["shares"][kind] for one in mine]) for kind in record["kinds"]}
        on_target = sum(shares[kind] for kind in TARGET)
        noise = shares["shuffled"] + shares["boilerplate"]
        lines.append(
            f"| {name} | {value.value:.3f} [{value.low:.3f}, {value.high:.3f}] | {change.value:+.3f} "
            f"[{change.low:+.3f}, "
            f"{change.high:+.3f}] | {min(each):+.3f} to {max(each):+.3f} | {on_target:.0%} | {noise:.0%} | "
            f"{shares['copy']:.0%} | {np.mean([one['documents'] for one in mine]):.0f} | "
            f"{np.mean([one['kl_reduction'] for one in mine]):+.2f} | {np.mean([one['seconds'] for one in mine]):.1f} |"
        )
    head = (
        "| selector | bits per byte of the target | minus random (same documents) | by seed | clean target kinds | "
        "noise | copies | documents | KL reduction (nats) | CPU s |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    missing = [name for name in ("full", *METHODS) if name not in names]
    unfinished = f"\nUnfinished: not reached yet are {', '.join(missing)}.\n" if missing else ""
    kinds = ", ".join(f"{kind} {n / record['pool_tokens']:.0%}" for kind, n in record["kinds"].items())
    text = f"""# Selectors at equal token budgets

`python bench/selection.py --budget {record["budget"]:.0f} --steps {record["steps"]} --seeds {record["seeds"]}`
({record["when"]}, {record["cpu_minutes"]} CPU minutes; the table holds {len(seeds)} complete seeds of
{record["seeds"]}; {record["tested_documents"]} documents of the target).

A toy: a Llama of width {SHAPE["width"]} and {SHAPE["layers"]} layers, {record["steps"]} steps of {BATCH} x {LENGTH}
tokens, on {record["budget"]:,.0f} tokens kept of {record["pool_tokens"]:,}
({kinds}). The order of the selectors is that of this pool and this target, in which most of the pool is of no use: it
says nothing about the web.
{unfinished}
{head}
{chr(10).join(lines)}

Bits per byte: mean over the seeds of each target document's bits, bootstrap over documents. Minus random: paired on the
same documents; an interval that holds 0 is no difference. By seed: the same difference, one seed at a time, lowest and
highest. Clean target kinds, noise, copies: share of the kept tokens. `full` is the whole pool for the same steps,
`labels` cheats (it reads the planted labels). KL reduction as DSIR defines it, against `random`.
"""
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data" / "mixture")
    parser.add_argument("--budget", type=float, default=120_000)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=14.0, help="stop after so much processor time")
    parser.add_argument("--page", action="store_true", help="write the page from the results that are there")
    given = parser.parse_args()
    if given.page:
        page()
    else:
        run(given.data, budget=given.budget, steps=given.steps, seeds=given.seeds, minutes=given.minutes)
