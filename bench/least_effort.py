"""Less-is-Better: words found in text without spaces, and tokens and types on text with them.

    python bench/least_effort.py words                  # learning curves on the carried texts, 5 seeds, baselines
    python bench/least_effort.py words --corpus FILE    # the same on gold words of your own
    python bench/least_effort.py spaces --mixture ../shared/data/mixture

The child-directed corpus of the published scores (Bernstein-Ratner / Brent, 9,790 utterances) is in no package we could
find (docs/words.md says where we looked). Who has it gives the file, one utterance a line, words between spaces: its
distinct utterances are read, as in the demonstration, in an order drawn anew for each seed. The stand-in: 3,000
sentences of the carried stories (machine-made child-level English) and 3,000 of the carried novels, lower-case,
punctuation and spaces removed; the words are the gold. As in the published demonstration the text learned from is the
text scored on. Each is learned without frames around a gap and with them ("published", "every").
"""

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results" / "least_effort.json"
SEEDS = (0, 1, 2, 3, 4)
EPOCHS = (0, 100, 1000, 5000)
GAPS = ("off", "published", "every")
SENTENCES = 3000


def gold_words(name: str) -> list[list[str]]:
    """Sentences of a carried text as lower-case words."""
    from tokenry.core.tables import texts
    from tokenry.data import demo_text

    found = [
        re.findall(r"[a-z']+", sentence)
        for text in texts(demo_text(name))
        for sentence in re.split(r"[.!?\n]+", text.lower())
    ]
    return [words for words in found if words][:SENTENCES]


def scores(gold: list[list[str]], units: list[list[str]]) -> dict:
    """Boundary and word F1 in per cent, with and without sentence ends, and what it costs."""
    from tokenry.tokenization.word_boundaries import boundary_scores

    inner, ends = boundary_scores(gold, units), boundary_scores(gold, units, count_ends=True)
    return {
        "boundary_f1": 100 * inner.boundary.f1,
        "boundary_f1_with_ends": 100 * ends.boundary.f1,
        "word_f1": 100 * inner.word.f1,
        "tokens": sum(map(len, units)),
        "types_used": len({unit for sentence in units for unit in sentence}),
    }


def corpus_words(path: Path) -> list[list[str]]:
    """The distinct utterances of a file, as words."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split() for line in dict.fromkeys(line.strip() for line in lines) if line]


def learned(gold: list[list[str]], seed: int, gaps: str, *, shuffled: bool) -> list[dict]:
    """The learning curve of one seed, for both decodings, entries whole and taken apart."""
    from tokenry.tokenization.least_effort import Learner
    from tokenry.tokenization.least_effort_documents import Documents, Rules

    order = np.random.default_rng(seed).permutation(len(gold)) if shuffled else range(len(gold))
    gold = [gold[i] for i in order]
    sentences = ["".join(words) for words in gold]
    learner, rows = Learner(Documents.of(sentences), rules=Rules(gaps=gaps), seed=seed), []
    for epochs in EPOCHS:
        started = time.process_time()
        learner.run(epochs - learner.epoch)
        lexicon = learner.lexicon()
        for decoding in ("greedy", "fewest"):
            whole = [lexicon.segment(sentence, decoding=decoding) for sentence in sentences]
            apart = [[part for unit in units for part in lexicon.subchunks(unit)] for units in whole]
            for name, units in (("whole", whole), ("subchunks", apart)):
                rows.append(
                    {"gaps": gaps, "seed": seed, "epochs": epochs, "decoding": decoding, "units": name,
                     "entries": len(lexicon), "frames": len(lexicon.frames),
                     "cpu_seconds": round(time.process_time() - started, 2), "head": list(lexicon.entries[:12]),
                     **scores(gold, units)}
                )  # fmt: skip
    return rows


def baselines(gold: list[list[str]], size: int, *, with_morfessor: bool) -> list[dict]:
    """BPE and Unigram of `size` entries without pre-tokeniser, characters, the words themselves, Morfessor if asked."""
    from tokenizers import Tokenizer, models, trainers

    sentences, rows = ["".join(words) for words in gold], []
    for name, model, trainer in (
        ("BPE", models.BPE(), trainers.BpeTrainer(vocab_size=size, show_progress=False)),
        ("Unigram", models.Unigram(), trainers.UnigramTrainer(vocab_size=size, show_progress=False, unk_token="<unk>",
                                                               special_tokens=["<unk>"])),
    ):  # fmt: skip
        tokenizer = Tokenizer(model)
        tokenizer.train_from_iterator(sentences, trainer)
        units = [[s[a:b] for a, b in tokenizer.encode(s).offsets] for s in sentences]
        rows.append({"method": name, "entries": tokenizer.get_vocab_size(), **scores(gold, units)})
    rows.append(
        {"method": "characters", "entries": len(set("".join(sentences))), **scores(gold, [list(s) for s in sentences])}
    )
    rows.append({"method": "gold words", "entries": len({w for words in gold for w in words}), **scores(gold, gold)})
    if not with_morfessor:
        return rows
    import morfessor

    model = morfessor.BaselineModel()
    model.load_data([(1, tuple(sentence)) for sentence in sentences])
    model.train_batch()
    units = [["".join(part) for part in model.viterbi_segment(tuple(sentence))[0]] for sentence in sentences]
    rows.append({"method": "Morfessor baseline", "entries": len({u for s in units for u in s}), **scores(gold, units)})
    return rows


def words(corpus: Path | None, *, with_morfessor: bool) -> dict:
    """Part one."""
    out = {}
    for name in [corpus.name] if corpus else ["stories", "fiction"]:
        gold = corpus_words(corpus) if corpus else gold_words(name)
        rows = [
            row for gaps in GAPS for seed in SEEDS for row in learned(gold, seed, gaps, shuffled=corpus is not None)
        ]
        last = [row for row in rows if row["epochs"] == EPOCHS[-1] and row["gaps"] == "off"]
        size = int(np.median([row["entries"] for row in last]))
        out[name] = {
            "sentences": len(gold), "words": sum(map(len, gold)), "word_types": len({w for s in gold for w in s}),
            "summary": summary(rows), "gain of gaps": gains(rows),
            "baselines": baselines(gold, size, with_morfessor=with_morfessor),
            "head": last[-1]["head"],
        }  # fmt: skip
        print(json.dumps(out[name], indent=1), flush=True)
    return out


def summary(rows: list[dict]) -> list[dict]:
    """Mean and standard deviation over seeds of each point of the curve."""
    names = ("gaps", "epochs", "decoding", "units")
    out = []
    for key in dict.fromkeys(tuple(row[name] for name in names) for row in rows):
        chosen = [row for row in rows if tuple(row[name] for name in names) == key]
        point = dict(zip(names, key, strict=True)) | {"seeds": len(chosen)}
        for name in ("boundary_f1", "boundary_f1_with_ends", "word_f1", "tokens", "entries", "frames", "types_used"):
            values = np.array([row[name] for row in chosen], float)
            point[name], point[f"{name}_sd"] = round(values.mean(), 2), round(values.std(ddof=1), 2)
        out.append(point)
    return out


def gains(rows: list[dict]) -> list[dict]:
    """What frames add at the end of the curve: differences of means over seeds, 95 % intervals (Welch)."""
    from scipy.stats import ttest_ind

    out = []
    for decoding, units in dict.fromkeys((row["decoding"], row["units"]) for row in rows):
        for gaps in GAPS[1:]:
            point = {"gaps": gaps, "decoding": decoding, "units": units, "seeds": len(SEEDS)}
            for name in ("boundary_f1_with_ends", "word_f1"):
                with_, without = (
                    [row[name] for row in rows if (row["gaps"], row["decoding"], row["units"], row["epochs"])
                     == (mode, decoding, units, EPOCHS[-1])]
                    for mode in (gaps, "off")
                )  # fmt: skip
                ends = ttest_ind(with_, without, equal_var=False).confidence_interval(0.95)
                point[name] = [round(float(x), 2) for x in (np.mean(with_) - np.mean(without), ends.low, ends.high)]
            out.append(point)
    return out


def spaces(mixture: Path, size: int, epochs: int) -> dict:
    """Part two: real text with its spaces, a tenth of the documents held out."""
    from tokenry.core.tables import texts
    from tokenry.tokenization.counting import count
    from tokenry.tokenization.effort import effort
    from tokenry.tokenization.least_effort import train_least_effort
    from tokenry.tokenization.train import train

    train_texts, held = [], []
    for label in ("en", "de", "fr", "es", "it", "nl", "sv", "pt"):
        for i, text in enumerate(texts(mixture / f"{label}.jsonl.xz")):
            (held if i % 10 == 0 else train_texts).append(text)
    state = Path(tempfile.mkdtemp()) / "state.npz"
    out: dict = {"train_bytes": sum(len(t.encode()) for t in train_texts), "size": size, "epochs": epochs, "rows": []}
    makers = {
        "BPE": lambda: train(train_texts, size=size),
        "BPE, superwords": lambda: train(train_texts, size=size, boundary="superword:0.75"),
        "Unigram": lambda: train(train_texts, size=size, kind="unigram"),
        # The second one takes over the first one's state: one lexicon, two decodings.
        "Less-is-Better, greedy": lambda: train_least_effort(train_texts, size=size, epochs=epochs, resume=state),
        "Less-is-Better, fewest": lambda: train_least_effort(
            train_texts, size=size, epochs=epochs, resume=state, decoding="fewest"
        ),
    }
    for name, make in makers.items():
        started = time.process_time()
        try:
            vocab = make()
        except (ValueError, ImportError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        seconds = time.process_time() - started
        facts = effort(count(vocab, [(text, "") for text in held], words=False)).facts
        rate = facts["effort.tokens_per_kilobyte"]
        out["rows"].append(
            {"method": name, "entries": vocab.size, "train_cpu_seconds": round(seconds, 1),
             "tokens_per_kilobyte": [rate.value, rate.low, rate.high], "documents": rate.n,
             **{key.removeprefix("effort."): value for key, value in facts.items() if isinstance(value, int | float)}}
        )  # fmt: skip
        print(json.dumps(out["rows"][-1]), flush=True)
    return out


def main() -> None:
    """Run one part and put it into the results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("words", "spaces"))
    parser.add_argument("--mixture", type=Path, default=Path("../shared/data/mixture"))
    parser.add_argument("--corpus", type=Path, help="gold words, one utterance a line; its figures are only printed")
    parser.add_argument("--morfessor", action="store_true", help="also its baseline (PyPI morfessor; many minutes)")
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--epochs", type=int, default=5000)
    arguments = parser.parse_args()
    if arguments.part == "words":
        found = words(arguments.corpus, with_morfessor=arguments.morfessor)
        if arguments.corpus:
            return
    else:
        found = spaces(arguments.mixture, arguments.size, arguments.epochs)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(known | {arguments.part: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
