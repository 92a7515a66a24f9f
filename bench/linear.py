"""The linear classifier against fastText: documents per second of one core, and AUC on held-out documents.

    python bench/linear.py --fasttext /path/to/venv/bin/python    # that venv has fasttext-numpy2-wheel

Tasks are pairs of categories of ../shared/data that share most of their words, in pieces of some 200 characters; a
document's pieces are all in training or all in the test (by a hash of its text). fastText is run with the settings of
the PreSelect release (epoch 3, lr 0.1, wordNgrams 2, dim 100) but bucket 200,000 and one thread; also with lr 0.5 and
25 passes, since these sets are small. The difference of AUC has a paired bootstrap interval over test documents.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from tokenry.core.hashing import stable_hash
from tokenry.core.tables import read
from tokenry.corpora.classifier import auc
from tokenry.corpora.linear import LinearClassifier

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "mixture"
RESULTS = ROOT / "bench" / "results" / "linear.json"
TASKS = {  # the first one was looked at while the defaults were chosen
    "code_c/code_cpp": ("code_c", "code_cpp"),
    "code_javascript/code_typescript": ("code_javascript", "code_typescript"),
    "en: debian-handbook/gnome-user-docs": ("en", None),
    "es/ca": ("es", "ca"),
}
OURS = {
    "3 passes": {},
    "25 passes": {"epochs": 25},
    "3 passes, words of white space as fastText": {"words": "words"},
    "3 passes, characters 3-5": {"characters": (3, 5)},
}
FASTTEXT = {"3 passes, lr 0.1": (3, 0.1), "25 passes, lr 0.5": (25, 0.5)}
PEER = """
import fasttext, json, sys, time
train, test, epoch, rate, out = sys.argv[1:]
start = time.perf_counter()
model = fasttext.train_supervised(train, epoch=int(epoch), lr=float(rate), wordNgrams=2, dim=100, bucket=200000,
                                  thread=1, verbose=0)
trained = time.perf_counter() - start
lines = open(test, encoding="utf-8").read().split("\\n")[:-1]
start = time.perf_counter()
labels, values = model.predict(lines, k=2)
used = time.perf_counter() - start
scores = [dict(zip(one, two))["__label__1"] for one, two in zip(labels, values)]
json.dump({"train_seconds": trained, "use_seconds": used, "scores": [float(one) for one in scores]}, open(out, "w"))
"""


def pieces(text: str, size: int = 200) -> list[str]:
    """Cuts of about `size` characters between words."""
    made, held = [], ""
    for word in text.split():
        held = f"{held} {word}"
        if len(held) >= size:
            made.append(held.strip())
            held = ""
    return made


def task(one: str, other: str | None) -> tuple[list, list]:
    """(text, label, document) of training and test."""
    sides = ([], [])
    for label, name in enumerate((one, other)):
        if name is None:
            continue
        for row in read(DATA / f"{name}.jsonl.xz").to_pylist():
            if other is None:
                label = int(row["source"].startswith("gnome"))
            key = stable_hash(row["text"])
            sides[key % 10 >= 7].extend((piece, label, key) for piece in pieces(row["text"]))
    return sides


def fasttext_run(python: str, train: list, test: list, epochs: int, rate: float) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("train.txt", "test.txt", "out.json", "peer.py")]
        files[0].write_text("".join(f"__label__{label} {text}\n" for text, label, _ in train), encoding="utf-8")
        files[1].write_text("".join(f"{text}\n" for text, _, _ in test), encoding="utf-8")
        files[3].write_text(PEER)
        subprocess.run([python, files[3], files[0], files[1], str(epochs), str(rate), files[2]], check=True)
        return json.loads(files[2].read_text())


def ours_run(train: list, test: list, settings: dict) -> dict:
    texts, labels, _ = zip(*train, strict=True)
    start = time.perf_counter()
    classifier = LinearClassifier.train(texts, labels, **settings)
    trained = time.perf_counter() - start
    texts = [text for text, _, _ in test]
    start = time.perf_counter()
    scores = classifier.probabilities(texts)[:, 1]
    return {"train_seconds": trained, "use_seconds": time.perf_counter() - start, "scores": scores.tolist()}


def difference(ours: list, theirs: list, labels: list, documents: list, *, n: int = 200) -> list[float]:
    """Percentile interval of AUC ours - theirs over resampled test documents."""
    ours, theirs, labels = np.array(ours), np.array(theirs), np.array(labels)
    _, owner = np.unique(documents, return_inverse=True)
    rows = [np.flatnonzero(owner == one) for one in range(owner.max() + 1)]
    rng, made = np.random.default_rng(0), []
    for _ in range(n):
        drawn = np.concatenate([rows[one] for one in rng.integers(0, len(rows), len(rows))])
        if 0 < labels[drawn].sum() < len(drawn):
            made.append(auc(ours[drawn], labels[drawn]).value - auc(theirs[drawn], labels[drawn]).value)
    return np.quantile(made, [0.025, 0.975]).round(5).tolist()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fasttext", help="python of a venv with fasttext")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    LinearClassifier.train(["a b", "c d"], [0, 1], epochs=1).probabilities(["warm up"])
    result = {"command": "python bench/linear.py --fasttext PYTHON", "seed": 0, "tasks": {}}
    for name in arguments.tasks:
        train, test = task(*TASKS[name])
        labels, documents = [label for _, label, _ in test], [key for _, _, key in test]
        n_bytes = sum(len(text.encode()) for text, _, _ in test)
        made = {f"ours: {key}": ours_run(train, test, settings) for key, settings in OURS.items()}
        if arguments.fasttext:
            for key, (epochs, rate) in FASTTEXT.items():
                made[f"fastText: {key}"] = fasttext_run(arguments.fasttext, train, test, epochs, rate)
        rows = {}
        for key, run in made.items():
            found = auc(run["scores"], labels)
            rows[key] = {
                "auc": round(found.value, 5),
                "interval": [round(found.low, 5), round(found.high, 5)],
                "train_seconds": round(run["train_seconds"], 3),
                "use_documents_per_second": round(len(test) / run["use_seconds"]),
                "use_megabytes_per_second": round(n_bytes / run["use_seconds"] / 1e6, 2),
            }
        pairs = {"3 passes": "3 passes", "25 passes": "25 passes", "3 passes, words of white space": "3 passes"}
        for mine, passes in pairs.items():
            theirs = next((run for key, run in made.items() if key.startswith(f"fastText: {passes}")), None)
            ours = next(run for key, run in made.items() if key.startswith(f"ours: {mine}"))
            if theirs:
                rows[f"AUC ours - fastText: {mine}"] = difference(ours["scores"], theirs["scores"], labels, documents)
        result["tasks"][name] = {"train": len(train), "test": len(test), "runs": rows}
        print(json.dumps({name: result["tasks"][name]}, indent=1), flush=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
