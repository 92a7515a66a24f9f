"""Few-shot classification of real text: grammar augmentation against EDA with WordNet, on parses of a real parser.

    python bench/augment_text.py --parse --reviews movieReviewSnippets_GroundTruth.txt --spacy en_core_web_sm
    python bench/augment_text.py --wordnet DIR --encoder MINILM      # writes bench/results/augment_text.json

The first command needs spaCy with an English pipeline and writes parses to ~/.cache/tokenry-bench/augment. Two sets:

- reviews: sentences of film reviews with the mean rating of 15 people (PyPI vaderSentiment 3.3.2, sdist,
  additional_resources/hutto_ICWSM_2014.tar.gz); positive from 1, negative to -1, the rest left out.
- notes: clinical notes by section (../shared/data/clinical-mts-dialog, training set), the eight largest sections.

WordNet is that of Debian's wordnet-base (usr/share/wordnet). Every arm but "none" has PER_CLASS texts a class. EDA is
Wei and Zou's (arXiv 1901.11196): synonyms, insertion, swap, deletion, a tenth of the words. Classifiers: the house's
linear one on words and pairs; for reviews also logistic regression on a frozen sentence encoder (all-MiniLM-L6-v2).
Nothing was tuned. Test sets are drawn once.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import argparse
import csv
import io
import itertools
import json
import re
import tarfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from scipy import stats

from tokenry.corpora.augment import Constraints, Parsed, SubtreePool, augment
from tokenry.corpora.dependency_trees import Skipped, read_conllu
from tokenry.corpora.linear import LinearClassifier

PER_CLASS, EPOCHS = 40, 10
CACHE = Path("~/.cache/tokenry-bench/augment").expanduser()
NOTES = Path(__file__).parents[2] / "shared" / "data" / "clinical-mts-dialog" / "mts-dialog.tar.xz"
TESTED = {"reviews": 200, "notes": 40}  # texts of a class
ARMS = {"grammar": Constraints(), "grammar, words too": Constraints(fill=0.2)}


def parse(reviews: Path, model: str) -> None:
    """Write both sets with their parses."""
    import spacy

    from tokenry.corpora.parsers import conllu_of

    pipeline = spacy.load(model)
    rows = [line.split("\t") for line in reviews.read_text(encoding="utf-8", errors="replace").splitlines()]
    rated = [
        (text, "positive" if float(score) > 0 else "negative") for _, score, text in rows if abs(float(score)) >= 1
    ]
    with tarfile.open(NOTES) as archive:
        table = archive.extractfile("Main-Dataset/MTS-Dialog-TrainingSet.csv").read().decode()
    notes = [(row["section_text"], row["section_header"]) for row in csv.DictReader(io.StringIO(table))]
    CACHE.mkdir(parents=True, exist_ok=True)
    for name, labelled in (("reviews", rated), ("notes", notes)):
        with (CACHE / f"{name}.jsonl").open("w") as out:
            parsed = pipeline.pipe(text for text, _ in labelled)
            for (text, label), document in zip(labelled, parsed, strict=True):
                out.write(json.dumps({"text": text, "label": label, "conllu": conllu_of(document.sents)}) + "\n")


def loaded(name: str) -> tuple[list[dict], Skipped]:
    """Rows with trees, of classes with enough of them."""
    skipped, rows = Skipped(), []
    for line in (CACHE / f"{name}.jsonl").read_text().splitlines():
        row = json.loads(line)
        row["trees"] = tuple(one.tree for one in read_conllu(row.pop("conllu"), skipped=skipped))
        if row["trees"]:
            rows.append(row)
    sizes = Counter(row["label"] for row in rows)
    kept = {label for label, n in sizes.items() if n >= TESTED[name] + 10}
    return [row for row in rows if row["label"] in kept], skipped


def synonyms_of(folder: Path) -> dict[str, list[str]]:
    """Word -> the other words of all its synsets, as EDA takes them."""
    found: dict[str, set[str]] = defaultdict(set)
    for kind in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{kind}").read_text(encoding="latin-1").splitlines():
            if line.startswith("  "):
                continue
            parts = line.split(" ")
            names = [re.sub(r"\(.*\)", "", one).replace("_", " ").lower() for one in parts[4::2][: int(parts[3], 16)]]
            for one in names:
                found[one].update(set(names) - {one})
    return {word: sorted(others) for word, others in found.items() if others}


def eda(text: str, synonyms: dict[str, list[str]], rng: np.random.Generator, kinds: tuple[int, ...]) -> str:
    """One of EDA's operations: 0 synonyms, 1 insertion of a synonym, 2 swap, 3 deletion."""
    words = re.findall(r"[\w'-]+|[^\w\s]", text.lower())
    n, kind = max(1, int(0.1 * len(words))), kinds[int(rng.integers(len(kinds)))]
    known = [word for word in sorted(set(words)) if word in synonyms]
    if kind == 3:
        kept = [word for word in words if rng.random() > 0.1]
        return " ".join(kept or words[:1])
    for _ in range(n):
        if kind == 2:
            a, b = rng.integers(len(words), size=2)
            words[a], words[b] = words[b], words[a]
        elif known:
            word = known[int(rng.integers(len(known)))]
            new = synonyms[word][int(rng.integers(len(synonyms[word])))]
            if kind == 0:
                words = [new if one == word else one for one in words]
            else:
                words.insert(int(rng.integers(len(words) + 1)), new)
    return " ".join(words)


def by_eda(texts: list[str], n: int, rng: np.random.Generator, *more: object) -> list[str]:
    """`n` different texts from one class's."""
    made: dict[str, None] = {}
    for _ in range(50 * n):
        if len(made) == n:
            break
        made[eda(texts[int(rng.integers(len(texts)))], more[0], rng, more[1])] = None
    return list(made)


def one_seed(rows: list[dict], k: int, seed: int, tools: dict) -> dict[str, dict[str, float]]:
    """All arms on one draw of originals; the test set is the same for all draws."""
    rng, fixed, chosen, test = np.random.default_rng(seed), np.random.default_rng(0), {}, []
    classes = sorted({row["label"] for row in rows})
    for label in classes:
        held = [place for place, row in enumerate(rows) if row["label"] == label]
        order = [held[place] for place in fixed.permutation(len(held))]
        test += order[: tools["tested"]]
        rest = order[tools["tested"] :]
        chosen[label] = [rest[place] for place in rng.permutation(len(rest))[:k]]
    originals = [(rows[place]["text"], label) for label in classes for place in chosen[label]]
    pool = SubtreePool.from_trees(
        Parsed(str(place), label, rows[place]["trees"]) for label in classes for place in chosen[label]
    )
    more: dict[str, list[tuple[str, str]]] = {"none": []}
    for name, kinds in (("EDA", (0, 1, 2, 3)), ("synonyms", (0,))):
        draws = np.random.default_rng(seed)
        more[name] = [(text, label) for label in classes
                      for text in by_eda([text for text, one in originals if one == label], PER_CLASS - k, draws,
                                         tools["synonyms"], kinds)]  # fmt: skip
    for name, rules in ARMS.items():
        draws = np.random.default_rng(seed)
        more[name] = [(one.text, label) for label in classes
                      for one in augment(pool, PER_CLASS - k, draws, label=label, constraints=rules)]  # fmt: skip
    asked, answers = [rows[place]["text"] for place in test], np.array([rows[place]["label"] for place in test])
    vectors = None
    if "encode" in tools:
        vectors = tools["vectors"] = tools["encode"](asked) if tools["vectors"] is None else tools["vectors"]
    made = {}
    for name, new in more.items():
        texts, labels = map(list, zip(*originals, *new, strict=True))
        model = LinearClassifier.train(texts, labels, epochs=EPOCHS, seed=seed, words="folded", buckets=1 << 14)
        made[name] = {"linear": float(np.mean(np.array(model.predict(asked)) == answers)), "made": len(new)}
        if vectors is not None:
            peer = tools["peer"]().fit(tools["encode"](texts), labels)
            made[name]["encoder"] = float(np.mean(peer.predict(vectors) == answers))
    return made


def summary(values: list[float]) -> list[float]:
    """Mean and 95 % t interval over seeds."""
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return [round(float(one), 4) for one in (np.mean(values), np.mean(values) - half, np.mean(values) + half)]


def main() -> None:
    """Parse, or run all seeds and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parse", action="store_true")
    parser.add_argument("--reviews", type=Path)
    parser.add_argument("--spacy", default="en_core_web_sm")
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--encoder", default=str(Path("~/.cache/tokenry-bench/minilm").expanduser()))
    parser.add_argument("--seeds", type=int, default=10)
    said = parser.parse_args()
    if said.parse:
        parse(said.reviews, said.spacy)
        return
    from sklearn.linear_model import LogisticRegression

    from tokenry.models.encoders import open_encoder

    began, encode = time.process_time(), open_encoder(said.encoder)[0]
    tools = {"synonyms": synonyms_of(said.wordnet), "peer": lambda: LogisticRegression(max_iter=500)}
    result: dict = {"command": f"python bench/augment_text.py --seeds {said.seeds}",
                    "settings": {"per_class": PER_CLASS, "tested_per_class": TESTED}}  # fmt: skip
    sets = {name: loaded(name) for name in TESTED}
    runs: dict[tuple[str, int], list[dict]] = defaultdict(list)
    own = {name: {**tools, "tested": n} for name, n in TESTED.items()}
    own["reviews"] |= {"encode": encode, "vectors": None}
    for seed in range(said.seeds):
        for name, k in itertools.product(TESTED, (5, 10)):
            rows, skipped = sets[name]
            done = runs[name, k]
            done.append(one_seed(rows, k, seed, own[name]))
            if len(done) > 1:
                result[f"{name}, {k} a class"] = {
                    "arms": compared(done), "seeds": len(done), "classes": dict(Counter(row["label"] for row in rows)),
                    "sentences without a tree": skipped.counts,
                }  # fmt: skip
        result["cpu_seconds"] = round(time.process_time() - began, 1)
        path = Path(__file__).parent / "results" / "augment_text.json"
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(seed, result["cpu_seconds"], "CPU seconds", flush=True)


def compared(runs: list[dict]) -> dict:
    """Every arm, and what it has more than no augmentation and than EDA on the same draw."""
    models = [name for name in ("linear", "encoder") if name in runs[0]["none"]]
    return {
        arm: {name: summary([run[arm][name] for run in runs]) for name in (*models, "made")}
        | {f"{model} less {other}": summary([run[arm][model] - run[other][model] for run in runs])
           for model in models for other in ("none", "EDA")}
        for arm in runs[0]
    }  # fmt: skip


if __name__ == "__main__":
    main()
