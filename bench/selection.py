"""Selectors at equal token budgets: the same small model trained on what each keeps, in bits per byte on a target.

    python bench/selection.py --data ../shared/data/mixture
    python bench/selection.py --page

Each seed draws a world of its own. Pool: pieces of about 1,500 bytes of seven labels of the mixture (the label is the
document's `source`), and planted noise: English and Python with their words shuffled, English with the same boilerplate
in every document, English documents copied word for word. Target: English and Python that is not in the pool; one half
is shown to the selectors that want a target, the models are tested on the other. Every selector keeps a tenth of the
pool in tokens (what DataComp-LM keeps), and a small Llama reads it twice (repeats up to four are worth nearly as much
as new text, arXiv 2305.16264; two, to end within an hour of one core). Controls: `random`, a second draw of it (how far
chance alone goes), `full` (the whole pool for the same steps); `labels` cheats, it knows which documents are clean text
of the target's kind. Differences are paired: the model, the order of batches and the world of a seed are the same for
all.

Written run by run to bench/results/selection.json; a run that is there is not made again. `--page` writes
docs/results/selectors.md from complete seeds.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import functools
import json
import lzma
import platform
import random
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "selection.json"
LABELS = ("en", "code_python", "de", "fr", "cs", "code_c", "code_go")
TARGET = ("en", "code_python")
BOILERPLATE = (
    "Cookie notice: this site uses cookies to improve your experience. Accept all. Manage settings. "
    "Subscribe to our newsletter. Share this page. Log in or register to comment. All rights reserved. "
) * 6
LABEL_BYTES, NOISE_BYTES, TARGET_BYTES, DOCUMENT_BYTES = 300_000, 200_000, 60_000, 1500
SHAPE, LENGTH, BATCH, RATE, SIZE = {"width": 96, "layers": 2}, 128, 16, 5e-3, 2048
SHARE, EPOCHS = 0.1, 2
UNIQUE = "missing(dedup.minhash.duplicate_of)"
PIECES = {"clusters": 30}  # about the root of half the documents
METHODS = {
    "random": {"method": "random"},
    "random, a second draw": {"method": "random", "shift": 1},
    "labels": {"rules": {"clean": f'kind == "{TARGET[0]}" or kind == "{TARGET[1]}"'}},
    "dsir": {"method": "dsir", "target": True},
    "dsir, best first": {"method": "dsir", "target": True, "score": "dsir.log_weight"},
    "dsir-length": {"method": "dsir-length", "target": True},
    "moore-lewis": {"method": "moore-lewis", "target": True},
    "ngram of the target": {"method": "ngram", "target": True},
    "ngram of the pool": {"method": "ngram"},
    "ngram-middle of the pool": {"method": "ngram-middle"},
    "lm of the target": {"method": "lm", "model": "reference"},
    "lm-middle of the pool": {"method": "lm-middle", "model": "random"},
    "classifier": {"method": "classifier", "target": True},
    "classifier, sampled with T = 0.1": {
        "method": "classifier", "target": True, "score": "quality.classifier", "temperature": 0.1},
    "classifier-noisy": {"method": "classifier-noisy", "target": True},
    "classifier after minhash": {
        "method": "classifier", "target": True, "rules": {"copy": UNIQUE}, "after": "minhash, then random"},
    "gopher-quality, then random": {"method": "gopher-quality"},
    "exact, then random": {"method": "exact"},
    "minhash, then random": {"method": "minhash"},
    "semdedup, then random": {"method": "semdedup", "encoder": "words"},
    "d4": {"method": "d4", "encoder": "words", "options": PIECES},
    "k-center": {"method": "k-center", "encoder": "words"},
    "density": {"method": "density", "encoder": "words", "options": PIECES},
    "density-cap": {"method": "density-cap", "encoder": "words", "options": PIECES, "cap": 1 / PIECES["clusters"]},
    "rho": {"method": "rho", "model": "random", "reference": "reference"},
    "el2n of the sources": {"method": "el2n"},
    "sources alike, then random": {"method": "random", "per": "source", "quota": "equal"},
    "sources by size ** 0.3, then random": {"method": "random", "per": "source", "quota": "power"},
    "sources by DoReMi, then random": {"method": "random", "per": "source", "quota": "doremi"},
    "sources by DoGE to the target, then random": {"method": "random", "per": "source", "quota": "doge"},
}  # fmt: skip
"""What is compared; fixed before the first result. "minhash, then random" must stand before what comes "after" it in
the order of a run (`in_order`)."""


def documents(folder: Path, label: str, seed: int) -> list[str]:
    """Runs of paragraphs of about `DOCUMENT_BYTES`, in an order of the seed."""
    made, held, size = [], [], 0
    with lzma.open(folder / f"{label}.jsonl.xz", "rt", encoding="utf-8") as lines:
        for line in lines:
            text = json.loads(line)["text"]
            for piece in (text[at : at + DOCUMENT_BYTES] for at in range(0, len(text), DOCUMENT_BYTES)):
                held.append(piece)
                size += len(piece.encode())
                if size >= DOCUMENT_BYTES:
                    made.append("\n".join(held))
                    held, size = [], 0
    random.Random(seed).shuffle(made)
    return made


def taken(texts: list, n_bytes: int) -> list:
    """The first texts, up to so many bytes."""
    sizes = np.cumsum([len(text.encode()) for text in texts])
    return texts[: int(np.searchsorted(sizes, n_bytes)) + 1]


def shuffled(text: str, seed: int) -> str:
    words = text.split()
    random.Random(seed).shuffle(words)
    return " ".join(words)


def drawn(folder: Path, seed: int) -> tuple[list[dict], list[str], list[str]]:
    """The pool of a seed, and the two halves of its target."""
    pool, halves = [], ([], [])
    for label in LABELS:
        texts = documents(folder, label, seed)
        for half in halves if label in TARGET else ():
            own = taken(texts, TARGET_BYTES)
            half += own
            texts = texts[len(own) :]
        pool += [{"text": text, "kind": label, "source": label} for text in taken(texts, LABEL_BYTES)]
    english, python = ([row["text"] for row in pool if row["kind"] == label] for label in TARGET)
    half = NOISE_BYTES // 2
    for label, texts in zip(TARGET, (english, python), strict=True):
        broken = [shuffled(text, place) for place, text in enumerate(taken(texts, half))]
        pool += [{"text": text, "kind": "shuffled", "source": label} for text in broken]
    filled = [f"{BOILERPLATE}\n{text[:200]}\n{BOILERPLATE[: 30 + place % 50]}" for place, text in enumerate(english)]
    pool += [{"text": text, "kind": "boilerplate", "source": "en"} for text in taken(filled, NOISE_BYTES)]
    pool += [{"text": text, "kind": "copy", "source": "en"} for text in taken(english[::-1], NOISE_BYTES)]
    random.Random(seed).shuffle(pool)
    return [{"id": f"d{place:05d}", **row} for place, row in enumerate(pool)], *halves


@dataclass(frozen=True, eq=False)
class World:
    """A seed's pool and target, and what is trained once for all selectors that want it."""

    seed: int
    work: Path
    rows: list[dict]
    tested: list[str]
    vocab: object
    n_tokens: np.ndarray
    steps: int
    engine: object

    @classmethod
    def make(cls, data: Path, seed: int) -> "World":
        from tokenry.corpora.embedded import EmbeddedEngine
        from tokenry.corpora.sidecars import read_signals
        from tokenry.tokenization.train import train

        rows, shown, tested = drawn(data, seed)
        work, engine = Path(tempfile.mkdtemp(prefix="selection-")), EmbeddedEngine(workers=1)
        (work / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (work / "target.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in shown))
        vocab = train([row["text"] for row in rows], size=SIZE)
        vocab.backend.save(str(work / "tokenizer.json"))
        count = functools.partial(counted, folder=str(work / "tokenizer.json"))
        engine.map(work / "pool.jsonl", count, work / "tokens", key="n")
        n_tokens = read_signals(work / "tokens").column("tokens.n").to_numpy()
        steps = round(EPOCHS * SHARE * int(n_tokens.sum()) / (BATCH * LENGTH))
        world = cls(seed, work, rows, tested, vocab, n_tokens, steps, engine)
        world.trained(shown).save(work / "reference")
        return world

    @property
    def budget(self) -> float:
        return SHARE * float(self.n_tokens.sum())

    @property
    def kinds(self) -> np.ndarray:
        return np.array([row["kind"] for row in self.rows])

    def trained(self, texts: list[str]) -> object:
        """The small model, trained on texts."""
        from tokenry.models.tiny import trained_tiny

        texts = list(texts)
        random.Random(self.seed).shuffle(texts)
        return trained_tiny(texts, self.vocab, steps=self.steps, length=LENGTH, batch_size=BATCH, rate=RATE,
                            seed=self.seed, **SHAPE)  # fmt: skip

    @functools.cached_property
    def quotas(self) -> dict[str, dict[str, float] | str]:
        """Shares of the sources by each way that sets them."""
        from selection_weights import doge, doremi

        from tokenry.corpora.mixtures import temperature_weights

        sources = np.array([row["source"] for row in self.rows])
        names = sorted(set(sources))
        sizes = np.array([self.n_tokens[sources == name].sum() for name in names])
        texts = {name: [row["text"] for row in self.rows if row["source"] == name] for name in names}
        shown = [json.loads(line)["text"] for line in (self.work / "target.jsonl").open()]
        common = {"steps": self.steps // 2, "length": LENGTH, "rate": RATE, "seed": self.seed, "shape": SHAPE}
        found = {
            "power": temperature_weights(sizes, 0.3),
            "doremi": doremi(texts, self.vocab, **common),
            "doge": doge(texts, shown, self.vocab, **common),
        }
        return {"equal": "equal", **{way: dict(zip(names, map(float, one), strict=True)) for way, one in found.items()}}


def counted(batch: pa.RecordBatch, *, folder: str) -> pa.RecordBatch:
    """Tokens of each document."""
    from tokenry.core.vocab import Vocab

    n = [len(ids) for ids in Vocab.open(folder).encode(batch.column("text").to_pylist())]
    return pa.RecordBatch.from_arrays([batch.column("id"), pa.array(n, pa.int64())], names=["id", "tokens.n"])


def place_of(world: World, name: str) -> Path:
    """Where a selector writes."""
    return world.work / "".join(one if one.isalnum() else "_" for one in name)


def chosen(name: str, world: World) -> tuple[np.ndarray, float]:
    """How often each document is kept, and the processor seconds of measuring and deciding."""
    from tokenry.corpora.select import Choice
    from tokenry.corpora.selectors import Means, select_by
    from tokenry.corpora.sidecars import read_signals

    asked, pool = METHODS[name], world.work / "pool.jsonl"
    started = time.process_time()
    models = {side: str(world.work / asked[side]) for side in ("model", "reference") if side in asked}
    means = Means(targets=(str(world.work / "target.jsonl"),) if asked.get("target") else (), seed=world.seed,
                  encoder=asked.get("encoder"), options=asked.get("options", {}), **models)  # fmt: skip
    own = {field: asked[field] for field in ("rules", "score", "temperature", "per") if field in asked}
    own |= {"quota": world.quotas[asked["quota"]]} if "quota" in asked else {}
    own |= {"cap": asked["cap"] * world.budget} if "cap" in asked else {}
    choice = Choice(budget=world.budget, unit="tokens.n", seed=world.seed + 1000 * asked.get("shift", 0), **own)
    after = [f"{place_of(world, asked['after'])}.utility"] if "after" in asked else []
    if after and not Path(after[0]).is_dir():
        chosen(asked["after"], world)
    made = select_by(pool, place_of(world, name), method=asked.get("method"), choice=choice, means=means, write=False,
                     sidecars=[world.work / "tokens", *after], engine=world.engine)  # fmt: skip
    copies = read_signals(made.decisions.folder, ["select.copies"]).column("select.copies").to_numpy()
    return copies, time.process_time() - started


def in_order() -> list[str]:
    """All runs of a seed: whatever another needs comes first."""
    return ["full", *sorted(METHODS, key=lambda name: "after" in METHODS[name])]


def measured(name: str, world: World, bag: object) -> dict[str, object]:
    """One run: choose, train, test."""
    from tokenry.corpora.dsir import counts_of

    copies, seconds = (np.ones(len(world.rows), np.int64), 0.0) if name == "full" else chosen(name, world)
    kept = [row["text"] for row, n in zip(world.rows, copies, strict=True) for _ in range(n)]
    lm = world.trained(kept)
    if name == "random":
        lm.save(world.work / "random")
    scores = lm.score(world.tested, max_bytes=512)
    tokens = world.n_tokens * copies
    kinds = {kind: world.kinds == kind for kind in (*LABELS, "shuffled", "boilerplate", "copy")}
    shares = {kind: round(float(tokens[mine].sum() / tokens.sum()), 4) for kind, mine in kinds.items()}
    return {
        "method": name, "seed": world.seed, "documents": len(kept), "tokens": int(tokens.sum()),
        "bits_per_byte": float(scores.nats.sum() / np.log(2) / scores.n_bytes.sum()), "seconds": round(seconds, 2),
        "shares": shares, "nats": [round(float(one), 2) for one in scores.nats], "n_bytes": scores.n_bytes.tolist(),
        "counts": counts_of(pa.array(kept), bag),
    }  # fmt: skip


def run(data: Path, *, seeds: int, minutes: float) -> None:
    """Run seed by seed what a record lacks, writing after each run; stop after so many minutes of processor time."""
    from tokenry.corpora.dsir import Bag, counts_of, kl_reduction

    record = {"settings": settings(), "machine": platform.platform(), "cpu_minutes": 0.0, "runs": [], "worlds": []}
    if RESULTS.is_file() and json.loads(RESULTS.read_text()).get("settings") == record["settings"]:
        record = json.loads(RESULTS.read_text())
    before, bag = record["cpu_minutes"], Bag()
    for seed in (one for one in range(seeds) if one not in complete(record)):
        world = World.make(data, seed)
        target, random_counts = counts_of(pa.array(world.tested), bag), None
        record["worlds"] = [one for one in record["worlds"] if one["seed"] != seed]
        record["worlds"].append({
            "seed": seed, "documents": len(world.rows), "tokens": int(world.n_tokens.sum()), "steps": world.steps,
            "tested": len(world.tested), "quotas": world.quotas,
            "kinds": {kind: int(world.n_tokens[world.kinds == kind].sum()) for kind in sorted(set(world.kinds))},
        })  # fmt: skip
        done = {one["method"] for one in record["runs"] if one["seed"] == seed}
        # Others are told against "random", and some read with its model.
        for name in (one for one in in_order() if one not in done or one == "random"):
            if time.process_time() > 60 * minutes:
                print("stopped: out of time", flush=True)
                return
            one = measured(name, world, bag)
            counts = one.pop("counts")
            random_counts = counts if name == "random" else random_counts
            one["kl_reduction"] = None if random_counts is None else kl_reduction(target, counts, random_counts)
            record["runs"] = [old for old in record["runs"] if (old["seed"], old["method"]) != (seed, name)] + [one]
            record |= {"cpu_minutes": round(before + time.process_time() / 60, 2),
                       "when": datetime.now(UTC).isoformat(timespec="seconds")}  # fmt: skip
            RESULTS.parent.mkdir(exist_ok=True)
            part = RESULTS.with_suffix(".part")
            part.write_text(json.dumps(record) + "\n")
            part.replace(RESULTS)
            told = {key: one[key] for key in ("bits_per_byte", "documents", "tokens", "seconds")}
            print(seed, name, told, flush=True)
        shutil.rmtree(world.work)


def settings() -> dict[str, object]:
    """What a record must share to be gone on with."""
    return {
        "share": SHARE, "epochs": EPOCHS, "shape": SHAPE, "length": LENGTH, "batch": BATCH, "rate": RATE, "size": SIZE,
        "bytes": [LABEL_BYTES, NOISE_BYTES, TARGET_BYTES, DOCUMENT_BYTES], "methods": in_order(),
    }  # fmt: skip


def complete(record: dict) -> list[int]:
    """Seeds of which every run is there."""
    want = set(record["settings"]["methods"])
    ran = {}
    for one in record["runs"]:
        ran.setdefault(one["seed"], set()).add(one["method"])
    return sorted(seed for seed, names in ran.items() if names == want)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data" / "mixture")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=75.0, help="stop after so much processor time")
    parser.add_argument("--page", action="store_true", help="write the page from the results that are there")
    given = parser.parse_args()
    if given.page:
        from selection_page import page

        page(RESULTS)
    else:
        run(given.data, seeds=given.seeds, minutes=given.minutes)
