"""Ways to extend a tokenizer, side by side on the same texts: tokens saved, sentences and words joined or cut anew.

Papers: Cabrita: closing the gap for foreign languages (arXiv 2308.11878).
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from tokenry.core.intervals import wilson_interval
from tokenry.core.pretokens import count_pretokens
from tokenry.core.report import FactValue, Report
from tokenry.core.vocab import Vocab
from tokenry.tokenization.extension_report import changes, unreachable
from tokenry.tokenization.findings import saved_share
from tokenry.tokenization.word_tables import encode_table

_BATCH = 256


def compare_extensions(
    base: Vocab, extended: Mapping[str, Vocab], texts: Mapping[str, object], *, seed: int = 0
) -> Report:
    """What each way to extend a tokenizer does to some texts.

    Args:
        base: the tokenizer before.
        extended: name of the way -> the tokenizer it made. Ids below the base's size must be the base's.
        texts: name -> text as `core.tables.stream` takes it, one document a sentence or paragraph; for instance the
            language the tokenizer was extended for, held out, and one that should not suffer.
        seed: of the bootstrap over documents.

    Returns:
        Report of kind "extension-comparison". Table `methods`: one row a way and text with `tokens`, `saved` (share of
        the base's tokens, `saved_low`, `saved_high`), `documents_changed`, `documents_recut`, `documents_longer`,
        `words_changed`, `words_recut` (shares of word occurrences), `unreachable` (new entries no text leads to). Facts
        `WAY.TEXT.tokens_saved_share` and `WAY.TEXT.documents_recut_share` with intervals, `WAY.n_new`,
        `WAY.n_new_unreachable`.

    Raises:
        ValueError: no text or no tokenizer, or one that does not begin with the base's entries.

    Paper: Cabrita (arXiv 2308.11878).
    """
    if not extended or not texts:
        raise ValueError("nothing to compare; give at least one extended tokenizer and one text.")
    for name, vocab in extended.items():
        if vocab.tokens[: base.size] != base.tokens:
            raise ValueError(
                f"{name} does not begin with the {base.size:,} entries of {base.name}; need an extension of it."
            )
    facts: dict[str, FactValue] = {}
    rows: list[dict] = []
    documents = {name: _documents(source) for name, source in texts.items()}
    for way, vocab in extended.items():
        dead = len(unreachable(vocab, first=base.size))
        facts |= {f"{way}.n_new": vocab.size - base.size, f"{way}.n_new_unreachable": dead}
        for name, held in documents.items():
            row = _row(base, vocab, held, seed)
            facts[f"{way}.{name}.tokens_saved_share"] = row.pop("interval")
            facts[f"{way}.{name}.documents_recut_share"] = wilson_interval(row["documents_recut"], len(held))
            rows.append({"method": way, "text": name, **row, "unreachable": dead})
    base_rows = [_row(base, base, held, seed) for held in documents.values()]
    for row in base_rows:
        del row["interval"]
    rows = [
        {"method": "base", "text": name, **row, "unreachable": 0}
        for name, row in zip(documents, base_rows, strict=True)
    ] + rows
    return Report(
        kind="extension-comparison",
        title=f"{base.name}: {len(extended)} ways to extend it",
        facts=facts,
        tables={"methods": pa.Table.from_pylist(rows)},
        verdict=_verdict(facts, extended, next(iter(documents))),
    )


def _documents(source: object) -> list[str]:
    from tokenry.core.tables import texts

    found = [text for text in texts(source) if text]
    if not found:
        raise ValueError("a text to compare on is empty; need at least one document with something in it.")
    return found


def _row(base: Vocab, vocab: Vocab, documents: list[str], seed: int) -> dict:
    before, after, changed, recut, longer = [], [], 0, 0, 0
    for start in range(0, len(documents), _BATCH):
        part = documents[start : start + _BATCH]
        for old, new in zip(base.encode(part), vocab.encode(part), strict=True):
            before.append(len(old))
            after.append(len(new))
            ends = [set(np.cumsum(v.byte_lengths[ids]).tolist()) for v, ids in ((base, old), (vocab, new))]
            changed += ends[0] != ends[1]
            recut += not ends[1] <= ends[0]
            longer += len(new) > len(old)
    words = count_pretokens(documents, base.spec, by_source=False)
    cut = [(v, encode_table(v, words.words, words.total)) for v in (base, vocab)]
    differs, anew = changes(*cut)
    saved = saved_share(after, before, seed=seed)
    return {
        "interval": saved, "documents": len(documents), "tokens": sum(after), "saved": saved.value,
        "saved_low": saved.low, "saved_high": saved.high, "documents_changed": changed, "documents_recut": recut,
        "documents_longer": longer, "words_changed": float(words.total[differs].sum() / words.total.sum()),
        "words_recut": float(words.total[anew].sum() / words.total.sum()),
    }  # fmt: skip


def _verdict(facts: Mapping[str, FactValue], extended: Mapping[str, Vocab], text: str) -> str:
    parts = [
        f"{way} saves {facts[f'{way}.{text}.tokens_saved_share'].value:.1%} of the tokens on {text}, with "
        f"{facts[f'{way}.n_new_unreachable']:,} of {facts[f'{way}.n_new']:,} new entries out of reach"
        for way in extended
    ]
    return "; ".join(parts) + "."
