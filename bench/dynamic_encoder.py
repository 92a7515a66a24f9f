"""Sequence reduction against accuracy of an encoder: domain of FLORES sentences in several languages.

    OMP_NUM_THREADS=1 python bench/dynamic_encoder.py        # about 3 CPU minutes; writes bench/results/dynamic.json

Task: is a sentence from Wikibooks, Wikinews or Wikivoyage? The sentences are parallel, so the language says nothing
about the label. Documents (by URL) are on one side of the split, in all languages at once; another split a seed.
A small ModernBERT (mean pooling, random weights, or trained as a masked model first: --pretrain) is trained in two
ways: on unmerged batches, and on batches merged to a level drawn uniformly, with rows from pieces. The tokenizer comes
from NTREX news; nothing was trained on the test documents.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import csv
import io
import json
import tarfile
import time
from pathlib import Path

import numpy as np
import torch

from tokenry.core.intervals import bootstrap_interval, ratio_interval
from tokenry.core.splitting import split_documents
from tokenry.core.vocab import Vocab
from tokenry.models.training import FitConfig, fit
from tokenry.transplant.dynamic import draw_reduction, merge_batch
from tokenry.transplant.dynamic_lm import model_inputs, truncated
from tokenry.transplant.dynamic_rows import PieceRows

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
RESULTS = Path(__file__).parent / "results" / "dynamic.json"
LANGUAGES = {"eng_Latn": "src.eng", "deu_Latn": "ref.deu", "tur_Latn": "ref.tur", "swh_Latn": "ref.swa"}
LABELS = ("wikibooks", "wikinews", "wikivoyage")
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
BATCH = 32
WAYS = ("sampled", "unmerged")
MODEL = "ModernBERT d=64, 2 layers, mean pooling, 4,096 byte-level BPE"


def flores() -> tuple[list[str], np.ndarray, np.ndarray, list[str]]:
    """Texts, labels, groups (documents) and languages."""
    with tarfile.open(SHARED / "flores200" / "flores200-devtest.tar.xz") as archive:
        names = {Path(m.name).name: m for m in archive.getmembers()}
        read = {n: archive.extractfile(names[n]).read().decode() for n in
                ["metadata_devtest.tsv", *(f"{code}.devtest" for code in LANGUAGES)]}  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(read["metadata_devtest.tsv"]), delimiter="\t", quoting=csv.QUOTE_NONE))
    texts, labels, groups, languages = [], [], [], []
    for code in LANGUAGES:
        for row, text in zip(rows, read[f"{code}.devtest"].splitlines(), strict=True):
            texts.append(text)
            labels.append(LABELS.index(row["domain"]))
            groups.append(row["URL"])
            languages.append(code)
    return texts, np.array(labels), np.array(groups), languages


def news() -> list[str]:
    with tarfile.open(SHARED / "ntrex128" / "ntrex-54-languages.tar.xz") as archive:
        read = [archive.extractfile(f"NTREX-128/newstest2019-{part}.txt").read() for part in LANGUAGES.values()]
    return [line for text in read for line in text.decode().splitlines() if line.strip()]


def tokenizer(texts: list[str], size: int) -> Vocab:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = decoders.ByteLevel()
    specials = ["<pad>", "<cls>", "<sep>", "<mask>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=specials, initial_alphabet=alphabet,
                                  show_progress=False)  # fmt: skip
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<cls> $A <sep>", special_tokens=[("<cls>", 1), ("<sep>", 2)]
    )
    return Vocab.from_spec(json.loads(made.to_str()), {}, "news")


def encoder(vocab: Vocab, seed: int) -> "torch.nn.Module":
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    torch.manual_seed(seed)
    ids = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
    return ModernBertForMaskedLM(
        ModernBertConfig(vocab_size=vocab.size, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
                         intermediate_size=128, max_position_embeddings=1024, classifier_pooling="mean", **ids)
    )  # fmt: skip


def pretrain(vocab: Vocab, texts: list[str], steps: int) -> "torch.nn.Module":
    model = encoder(vocab, 0)

    def batches(k: int) -> dict:
        rng = np.random.default_rng(k)
        chosen = [texts[i][:200] for i in rng.integers(len(texts), size=BATCH)]
        batch = merge_batch(vocab, chosen, max_merges=0)
        ids = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(p) for p in batch.pieces], batch_first=True)
        at = (torch.from_numpy(rng.uniform(size=tuple(ids.shape))) < 0.15) & (ids > 3)
        return {"ids": ids, "at": at}

    def loss(model: "torch.nn.Module", batch: dict) -> tuple:
        ids, at = batch["ids"], batch["at"]
        logits = model(input_ids=ids.masked_fill(at, 3), attention_mask=(ids > 0).long()).logits
        mean = torch.nn.functional.cross_entropy(logits[at], ids[at])
        return mean, {"tokens": int(at.sum())}

    if steps:
        fit(model, batches, loss, steps=steps, config=FitConfig(rate=4e-3, warmup=steps // 10), label="masked model")
    return model


def classifier(masked: "torch.nn.Module", seed: int) -> "torch.nn.Module":
    from transformers import ModernBertForSequenceClassification

    torch.manual_seed(seed)
    config = masked.config
    config.num_labels = len(LABELS)
    model = ModernBertForSequenceClassification(config)
    model.model.load_state_dict(masked.model.state_dict())
    return model


def tune(model, vocab, texts: list[str], labels: np.ndarray, *, steps: int, way: str, seed: int) -> PieceRows:
    rows = PieceRows(model, vocab)

    def batches(k: int) -> dict:
        rng = np.random.default_rng([seed, k])
        chosen = rng.integers(len(texts), size=BATCH)
        level = draw_reduction(rng) if way == "sampled" else 0.0
        return {"merged": merge_batch(vocab, [texts[i] for i in chosen], reduction=level),
                "y": torch.from_numpy(labels[chosen])}  # fmt: skip

    def loss(model, batch: dict) -> tuple:
        logits = model(**model_inputs(batch["merged"], rows)).logits
        return torch.nn.functional.cross_entropy(logits, batch["y"]), {"tokens": len(batch["y"])}

    config = FitConfig(rate=2e-3, warmup=steps // 10, weight_decay=0.01, seed=seed)
    fit(model, batches, loss, steps=steps, config=config, label=f"fine-tuning, {way}")
    return rows


def right(rows: PieceRows, vocab: Vocab, texts: list[str], labels: np.ndarray, level: float, control: str) -> tuple:
    """Per text whether it was classified rightly; share of tokens saved; CPU seconds of merging and of the model."""
    found, before, after, merging, running = [], 0, 0, 0.0, 0.0
    rows.model.eval()
    for start in range(0, len(texts), BATCH):
        chosen = texts[start : start + BATCH]
        rng = np.random.default_rng(start) if control == "random" else None
        clock = time.process_time()
        batch = merge_batch(vocab, chosen, reduction=level, rng=rng)
        merging += time.process_time() - clock
        before, after = before + batch.n_before, after + batch.n_after
        clock = time.process_time()
        with torch.inference_mode():
            logits = rows.model(**model_inputs(truncated(batch) if control == "truncated" else batch, rows)).logits
        running += time.process_time() - clock
        found.append(logits.argmax(1).numpy() == labels[start : start + BATCH])
    return np.concatenate(found), 1 - after / before, merging, running


def shallow(texts: list[str], labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    seen = TfidfVectorizer(min_df=2, sublinear_tf=True)
    x = seen.fit_transform([texts[i] for i in train])
    model = LogisticRegression(max_iter=200, C=10.0).fit(x, labels[train])
    return model.predict(seen.transform([texts[i] for i in test])) == labels[test]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--pretrain", type=int, default=0, help="steps as a masked model first")
    parser.add_argument("--test", type=int, default=600, help="sentences of the held-out documents scored")
    chosen = parser.parse_args()
    began = time.process_time()
    texts, labels, groups, languages = flores()
    vocab = tokenizer(news(), 4096)
    masked = pretrain(vocab, news(), chosen.pretrain)
    runs: dict[tuple, list] = {}
    for seed in range(chosen.seeds):
        parts = split_documents(groups.tolist(), parts={"train": 0.75, "test": 0.25}, seed=seed)
        train, test = parts["train"], np.random.default_rng(seed).permutation(parts["test"])[: chosen.test]
        x, y = [texts[i] for i in test], labels[test]
        owner = groups[test]
        base = np.bincount(labels[train]).argmax()
        runs.setdefault(("majority", 0.0, ""), []).append((y == base, owner, 0.0, 0.0, 0.0))
        runs.setdefault(("words and logistic regression", 0.0, ""), []).append(
            (shallow(texts, labels, train, test), owner, 0.0, 0.0, 0.0)
        )
        for way in ("unmerged", "sampled"):
            model = classifier(masked, seed)
            rows = tune(model, vocab, [texts[i] for i in train], labels[train], steps=chosen.steps, way=way, seed=seed)
            for control in ("", "truncated", "random"):
                for level in LEVELS if not control else (0.5, 1.0):
                    hit, saved, merging, running = right(rows, vocab, x, y, level, control)
                    runs.setdefault((way, level, control), []).append((hit, owner, saved, merging, running))
            print(seed, way, [round(float(runs[way, r, ""][-1][0].mean()), 3) for r in LEVELS], flush=True)
            keep(summary(runs, chosen, time.process_time() - began, len(set(languages))))


def by_document(hit: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _, place = np.unique(owner, return_inverse=True)
    return np.bincount(place, weights=hit), np.bincount(place).astype(float)


def summary(
    runs: dict, chosen: argparse.Namespace, seconds: float, n_languages: int, *, model: str = MODEL, ways: tuple = WAYS
) -> dict:
    out = []
    for (way, level, control), found in runs.items():
        plain = runs.get((way, 0.0, ""))
        hits = [by_document(hit, owner) for hit, owner, *_ in found]
        accuracy = ratio_interval(np.concatenate([h for h, _ in hits]), np.concatenate([n for _, n in hits]))
        row = {
            "fine_tuned": way, "reduction": level, "control": control,
            "accuracy": [round(v, 4) for v in (accuracy.value, accuracy.low, accuracy.high)],
            "by_seed": [round(float(hit.mean()), 4) for hit, *_ in found],
            "shorter_by": round(float(np.mean([f[2] for f in found])), 4),
            "cpu_seconds_merging": round(float(np.mean([f[3] for f in found])), 3),
            "cpu_seconds_model": round(float(np.mean([f[4] for f in found])), 3),
        }  # fmt: skip
        if plain is not None and len(plain) == len(found) and (level or control):
            moved = [by_document(a[0].astype(float) - b[0], a[1]) for a, b in zip(found, plain, strict=True)]
            change = ratio_interval(np.concatenate([h for h, _ in moved]), np.concatenate([n for _, n in moved]))
            row["change"] = [round(v, 4) for v in (change.value, change.low, change.high)]
        out.append(row)
    gains = {}
    for level in LEVELS:
        a, b = (runs.get((way, level, ""), []) for way in ways)
        if len(a) == len(b) >= 2:
            difference = bootstrap_interval([x[0].mean() - y[0].mean() for x, y in zip(a, b, strict=True)])
            gains[str(level)] = [round(v, 4) for v in (difference.value, difference.low, difference.high)]
    return {
        "what": f"FLORES domain (3 classes), {n_languages} languages, split by document; intervals over documents "
                "(all seeds), change paired with reduction 0 of the same fine-tuning",
        "settings": {**vars(chosen), "batch": BATCH, "n_test": [len(f[0]) for f in runs["majority", 0.0, ""]],
                     "model": model,
                     "cpu_seconds": round(seconds)},
        "rows": out,
        "sampled_minus_unmerged_over_seeds": gains,
    }  # fmt: skip


def keep(result: dict, key: str = "encoder") -> None:
    whole = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    whole[key] = result
    RESULTS.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
