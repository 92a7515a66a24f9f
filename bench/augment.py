"""Few-shot classification with grammar augmentation against EDA-style word operations, and the three splits.

    python bench/augment.py            # about a minute; writes bench/results/augment.json

Labelled sentences come from the hand-made grammar of `tokenry.worlds.treebanks` (trees known, so no parser stands
between), 5 or 10 a class; every arm has the same number of training texts but "none", which has the originals alone.
Classifiers: the house's linear one and scikit-learn's logistic regression on counts of words and pairs. Nothing was
tuned: settings are those below for every arm. This is a toy world: it says what the method keeps, not how much it gains
on real text.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np
from scipy import stats

from tokenry.corpora.augment import Constraints, Parsed, SubtreePool, augment
from tokenry.corpora.augment_splits import STRATEGIES, Example, leaks, split
from tokenry.corpora.linear import LinearClassifier
from tokenry.corpora.parse_trees import Tree, detokenise, read_trees
from tokenry.worlds.treebanks import CLASSES, accepts, sentences_of

PER_CLASS, TEST, SEEDS = 100, 300, 20
EPOCHS = 10
ALL = Constraints(margin=None)
ARMS = {"grammar": Constraints(), "grammar, no margin": ALL, "grammar, words too": Constraints(fill=0.2),
        "words of the class": Constraints(swaps=0, fill=0.3, margin=None)}  # fmt: skip


def eda(words: list[str], rng: np.random.Generator, *, share: float = 0.1) -> list[str]:
    """One of three operations on a tenth of the words: swap two, delete, insert one of the text at a random place."""
    made, n = list(words), max(1, round(share * len(words)))
    kind = int(rng.integers(3))
    for _ in range(n):
        a, b = rng.integers(len(made), size=2)
        if kind == 0:
            made[a], made[b] = made[b], made[a]
        elif kind == 1 and len(made) > 2:
            del made[a]
        else:
            made.insert(a, made[b])
    return made


def by_eda(documents: list[Parsed], n: int, rng: np.random.Generator) -> list[str]:
    """`n` different texts from one class's documents."""
    seen, made = {one.text for one in documents}, []
    for _ in range(50 * n):
        if len(made) == n:
            break
        base = documents[int(rng.integers(len(documents)))]
        text = detokenise([Tree("", word=word) for word in eda(base.trees[0].words, rng)])[0]
        if text not in seen:
            seen.add(text)
            made.append(text)
    return made


def accuracies(texts: list[str], labels: list[str], test: tuple[list[str], list[str]], seed: int) -> dict[str, float]:
    """Test accuracy of both classifiers."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    ours = LinearClassifier.train(texts, labels, epochs=EPOCHS, seed=seed, words="folded", buckets=1 << 14)
    peer = make_pipeline(CountVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=500)).fit(texts, labels)
    return {"linear": float(np.mean(np.array(ours.predict(test[0])) == test[1])),
            "logistic": float(np.mean(peer.predict(test[0]) == np.array(test[1])))}  # fmt: skip


def one_seed(k: int, seed: int) -> dict:
    """All arms on one draw of originals."""
    bank = [Parsed(str(n), label, tuple(read_trees(tree)))
            for n, (label, tree) in enumerate(sentences_of(k, seed=1000 + seed))]  # fmt: skip
    fresh = [(label, detokenise(read_trees(tree)[0].leaves)[0]) for label, tree in sentences_of(TEST, seed=5000 + seed)]
    test = ([text for _, text in fresh], [label for label, _ in fresh])
    texts, labels = [one.text for one in bank], [one.label for one in bank]
    pool, made = SubtreePool.from_trees(bank), {"none": ([], [])}
    for name, rules in ARMS.items():
        rng = np.random.default_rng(seed)
        new = [one for label in CLASSES for one in augment(pool, PER_CLASS - k, rng, label=label, constraints=rules)]
        made[name] = ([one.text for one in new], [one.label for one in new])
    rng = np.random.default_rng(seed)
    drawn = [(label, by_eda([one for one in bank if one.label == label], PER_CLASS - k, rng)) for label in CLASSES]
    made["EDA"] = ([text for _, each in drawn for text in each], [label for label, each in drawn for _ in each])
    rows = {}
    for name, (more, theirs) in made.items():
        rows[name] = accuracies(texts + more, labels + theirs, test, seed)
        rows[name]["accepted"] = float(np.mean([accepts(b, a) for a, b in zip(more, theirs, strict=True)] or [1.0]))
        rows[name]["made"] = len(more)
        words = [word for text in more for word in text.lower().split()]
        pairs = list(itertools.pairwise(words))
        rows[name]["distinct_2"] = len(set(pairs)) / len(pairs) if pairs else float("nan")
    return {"arms": rows, "splits": {name: splits(bank, name, test, seed) for name in STRATEGIES}}


def splits(bank: list[Parsed], strategy: str, test: tuple[list[str], list[str]], seed: int) -> dict[str, float]:
    """Choose the epochs on validation; what validation said and what the test says."""
    by_id = {one.id: one for one in bank}

    def make(chosen: list[Example]) -> list[Example]:
        pool, rng = SubtreePool.from_trees([by_id[one.sources[0]] for one in chosen]), np.random.default_rng(seed)
        return [Example(one.text, label, tuple(one.sources))
                for label in pool.documents for one in augment(pool, PER_CLASS, rng, label=label)]  # fmt: skip

    originals = [Example(one.text, one.label, (one.id,)) for one in bank]
    parts = split(originals, make, strategy=strategy, seed=seed)
    best = (-1.0, None)
    for epochs in (1, 3, 10):
        model = LinearClassifier.train([one.text for one in parts.train], [one.label for one in parts.train],
                                       epochs=epochs, seed=seed, words="folded", buckets=1 << 14)  # fmt: skip
        said = float(np.mean([a == one.label for a, one in
                              zip(model.predict([one.text for one in parts.validation]), parts.validation,
                                  strict=True)]))  # fmt: skip
        if said > best[0]:
            best = (said, model)
    return {"validation": best[0], "test": float(np.mean(np.array(best[1].predict(test[0])) == test[1])),
            "leaks": leaks(parts) / len(parts.validation)}  # fmt: skip


def summary(values: list[float]) -> dict:
    """Mean with a t interval over seeds."""
    values = np.array(values, np.float64)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0
    return {"mean": round(float(values.mean()), 4), "low": round(float(values.mean() - half), 4),
            "high": round(float(values.mean() + half), 4), "n_seeds": len(values)}  # fmt: skip


def main() -> None:
    """Run all seeds and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=SEEDS)
    seeds, began, result = parser.parse_args().seeds, time.process_time(), {}
    for k in (5, 10):
        runs = [one_seed(k, seed) for seed in range(seeds)]
        table = {}
        for name in runs[0]["arms"]:
            table[name] = {metric: summary([run["arms"][name][metric] for run in runs]) for metric in
                           ("linear", "logistic", "accepted", "distinct_2", "made")}  # fmt: skip
            for model in ("linear", "logistic"):
                for other in ("none", "EDA"):
                    table[name][f"{model} less {other}"] = summary(
                        [run["arms"][name][model] - run["arms"][other][model] for run in runs]
                    )
        parts = {name: {metric: summary([run["splits"][name][metric] for run in runs])
                        for metric in ("validation", "test", "leaks")} for name in STRATEGIES}  # fmt: skip
        result[f"{k} a class"] = {"arms": table, "splits": parts}
    result["command"] = f"python bench/augment.py --seeds {seeds}"
    result["settings"] = {"per_class": PER_CLASS, "test_per_class": TEST, "epochs": EPOCHS}
    result["cpu_seconds"] = round(time.process_time() - began, 1)
    path = Path(__file__).parent / "results" / "augment.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    for k, tables in result.items():
        if isinstance(tables, dict) and "arms" in tables:
            print(k)
            for name, row in tables["arms"].items():
                print(f"  {name:20s}", *(f"{m} {row[m]['mean']:.3f} [{row[m]['low']:.3f}, {row[m]['high']:.3f}]"
                                         for m in ("linear", "logistic", "accepted")))  # fmt: skip
                print("   less EDA:", row["linear less EDA"], row["logistic less EDA"])
            for name, row in tables["splits"].items():
                print(f"  {name:20s}", *(f"{m} {row[m]['mean']:.3f}" for m in row))
    print(result["cpu_seconds"], "CPU seconds")


if __name__ == "__main__":
    main()
