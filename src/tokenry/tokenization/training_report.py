"""The account of a training run: compression on held-out text, terms, sources, leaks, and what the normaliser changed.

Papers: KL3M Tokenizers (arXiv 2503.17247); CompoundPiece (leak rate; arXiv 2305.14214).
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.cutters import shell
from tokenry.core.hf_json import parts
from tokenry.core.intervals import Interval, ratio_interval
from tokenry.core.report import Report
from tokenry.core.tables import texts
from tokenry.core.vocab import Vocab
from tokenry.tokenization.composing import Composition, Recipe
from tokenry.tokenization.size_families import train_family

MOST_DOCUMENTS = 5000
"""Documents looked at for compression and for what the normaliser changes."""


def training_report(
    made: Composition, *, source: object, heldout: object = None, reading: dict | None = None
) -> Report:
    """What was made, as facts and tables.

    Args:
        made: from `composing.compose`.
        source: the training text, read again for its first documents; None leaves out what needs it.
        heldout: text the tokenizer was not trained on; compression is measured there, with an interval over documents.
        reading: `text`, `limit`, `skip_bad` of the readers.
    """
    vocab, reading = made.vocab, dict(reading or {})
    reading = {key: value for key, value in reading.items() if key in ("text", "skip_bad", "limit")}
    reading["limit"] = min(reading.get("limit") or MOST_DOCUMENTS, MOST_DOCUMENTS)
    facts: dict = {
        "vocab_size": vocab.size,
        "n_merges": len(vocab.merges),
        "family": vocab.family,
        "fingerprint": vocab.fingerprint,
    }
    report = Report(kind="tokenizer-train", title=f"Tokenizer of {vocab.size:,} entries", facts=facts)
    if made.n_padding:
        facts["padding_entries"] = made.n_padding
        report.warnings.append(f"{made.n_padding:,} padding entries are never trained on: mask them out of sampling.")
    if heldout is not None:
        facts["bytes_per_token.heldout"] = bytes_per_token(vocab, texts(heldout, **reading))
    elif source is not None:
        value = bytes_per_token(vocab, texts(source, **reading)).value
        facts["bytes_per_token.training"] = value
        report.notes.append("bytes per token on the training text flatters; measure on other text with --heldout FILE.")
    if source is not None:
        facts |= changed_by_normalizer(vocab, texts(source, **reading))
    _terms(made, report)
    _sources(made, report)
    if made.leaks is not None:
        facts |= {"boundary.cuts": made.leaks.n_cuts, "boundary.leak_rate": made.leaks.rate}
        rows = made.leaks.words
        report.tables["leaks"] = pa.table({"word": [w for w, _ in rows], "count": [n for _, n in rows]},
                                          pa.schema([("word", pa.string()), ("count", pa.int64())]))  # fmt: skip
        report.notes.append(
            "boundary.leak_rate: cuts of the training words that a token crosses after all, as a share."
        )
    report.verdict = _verdict(report)
    return report


def family_report(
    source: object, sizes: list[int], recipe: Recipe, *, folder: Path, heldout: object, reading: dict
) -> Report:
    """Train a family, write each member to a folder named by its size, and compare them."""
    members = train_family(source, sizes, recipe, **reading)
    plain = {key: value for key, value in reading.items() if key in ("text", "skip_bad")}
    documents = list(texts(source if heldout is None else heldout, **plain, limit=MOST_DOCUMENTS))
    rows = []
    for size, vocab in members.items():
        vocab.to_hf(folder / str(size))
        rows.append((size, vocab.size, len(vocab.merges), bytes_per_token(vocab, documents)))
    table = pa.table(
        {"folder": [str(row[0]) for row in rows], "entries": [row[1] for row in rows],
         "merges": [row[2] for row in rows], "bytes_per_token": [row[3].value for row in rows],
         "low": [row[3].low for row in rows], "high": [row[3].high for row in rows]}
    )  # fmt: skip
    where = "training text" if heldout is None else "held-out text"
    return Report(
        kind="tokenizer-family", title=f"{len(rows)} nested tokenizers", tables={"members": table},
        facts={f"bytes_per_token.{row[0]}": row[3] for row in rows},
        verdict=f"{len(rows)} tokenizers of one run; bytes per token are on {where}.",
    )  # fmt: skip


def bytes_per_token(vocab: Vocab, documents: Iterable[str]) -> Interval:
    """Raw bytes per token, special tokens off, with an interval over documents."""
    kept = [text for text in documents if text]
    n_tokens = np.array([len(ids) for ids in vocab.encode(kept)], np.float64)
    n_bytes = np.array([len(text.encode("utf-8", "surrogatepass")) for text in kept], np.float64)
    return ratio_interval(n_bytes, n_tokens, unit="bytes/token")


def changed_by_normalizer(vocab: Vocab, documents: Iterable[str]) -> dict[str, Interval]:
    """Share of the text, in bytes of white-space words, that Unicode form and lower-casing change; {} without either.

    Returns:
        "text_changed.NFKC" and "text_changed.Lowercase", as far as the tokenizer has them; intervals over documents.
    """
    steps = [leaf for leaf in parts(vocab.spec.get("normalizer")) if leaf["type"] in ("NFC", "NFKC", "Lowercase")]
    if not steps:
        return {}
    kept = [text for text in documents if text]
    found = {}
    for step in steps:
        stage, seen = shell({"normalizer": step}).normalizer, {}
        changed, whole = np.zeros(len(kept)), np.zeros(len(kept))
        for i, text in enumerate(kept):
            for word in text.split():
                if word not in seen:
                    seen[word] = len(word.encode("utf-8", "surrogatepass")), stage.normalize_str(word) != word
                size, differs = seen[word]
                whole[i] += size
                changed[i] += size * differs
        if whole.sum():
            found[f"text_changed.{step['type']}"] = ratio_interval(changed, whole)
    return found


def _terms(made: Composition, report: Report) -> None:
    rows = made.terms.rows
    if not rows:
        return
    report.facts["terms.guaranteed"] = sum(row.outcome != "not ensured" for row in rows)
    report.facts["terms.not_ensured"] = len(made.terms.missed)
    report.facts["terms.entries"] = made.terms.n_new
    report.tables["terms"] = pa.table(
        {"term": [row.text for row in rows], "outcome": [row.outcome for row in rows],
         "entries": [row.n_new for row in rows]}
    )  # fmt: skip
    report.notes.append("a guaranteed term is one token when encoded alone and wherever it is a whole pre-token.")


def _sources(made: Composition, report: Report) -> None:
    weighed = made.weighed
    if weighed is None:
        return
    report.tables["mix"] = pa.table(
        {"source": list(weighed.sources), "bytes": list(weighed.n_bytes), "share": list(weighed.shares),
         "repeats": list(weighed.repeats)}
    )  # fmt: skip
    repeated = [f"{name} {times:.3g} times" for name, times in zip(weighed.sources, weighed.repeats, strict=True)
                if times > 1.0000001]  # fmt: skip
    if repeated:
        report.warnings.append(
            f"at the size of the whole text the mixture repeats {', '.join(repeated[:10])}: rare words of a repeated "
            "source count as frequent ones."
        )


def _verdict(report: Report) -> str:
    facts = report.facts
    said = [f"{facts['vocab_size']:,} entries"]
    if "bytes_per_token.heldout" in facts:
        said.append(f"{facts['bytes_per_token.heldout']} on held-out text")
    elif "bytes_per_token.training" in facts:
        said.append(f"{facts['bytes_per_token.training']:.3f} bytes/token on the text it was trained on")
    if "terms.guaranteed" in facts:
        said.append(f"{facts['terms.guaranteed']:,} forms of terms guaranteed, {facts['terms.not_ensured']:,} not")
    if "boundary.leak_rate" in facts:
        said.append(f"{facts['boundary.leak_rate']:.2%} of cuts crossed")
    return "; ".join(said) + "."
