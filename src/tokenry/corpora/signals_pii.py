"""Personal data, secrets, words of a list and listed domains as signals, with the places they stand at.

Papers: Dolma: an Open Corpus of Three Trillion Tokens for Language Model Pretraining Research (arXiv 2402.00159);
RedPajama: an Open Dataset for Training Large Language Models (arXiv 2411.12372).
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from tokenry.corpora.families import FLOAT, SPANS, STRING, WHOLE, Family, Material, need_column, spans_column
from tokenry.corpora.pii import KINDS, find
from tokenry.corpora.prepared import Prepared, Spans, is_among, share
from tokenry.corpora.word_lists import host_of

__all__ = ["DOMAINS", "PII", "STOP_WORDS", "TOXICITY"]

_DIGITS = 7  # fewer digits and no @ or colon: neither phone number nor address can be there


def _pii(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    found = [find(text) for text in prepared.strings]
    made: dict[str, object] = {}
    for kind in KINDS:
        rows = [[{"start": a, "end": b, "score": 1.0} for a, b in one[kind]] for one in found]
        made[kind] = pa.array(rows, SPANS)
    made["pii.count"] = np.array([sum(map(len, one.values())) for one in found], np.int64)
    covered = [sum(b - a for spans in one.values() for a, b in spans) for one in found]
    made["pii.share"] = share(np.array(covered, np.int64), prepared.lengths, empty=0.0)
    return made


def _toxicity(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    words = prepared.folded
    at, sizes, offsets = material.bad_phrases.find(words)
    spans = Spans(words.begins[at], words.ends[at + sizes - 1], offsets)
    return {
        "toxicity.words": spans.counts,
        "toxicity.share": share(spans.counts, words.counts),
        "toxicity.spans": spans_column(prepared, spans, 1.0),
    }


def _stop_words(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    words = prepared.folded
    among = is_among(words.hashes, material.stop_words)
    first = words.firsts[0] == np.arange(len(words.hashes))
    return {
        "stop_words.share": prepared.shares(words, among),
        "stop_words.different": words.sums(among & first),
    }


def _domains(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    addresses = need_column(batch, material.settings.url, "domains").to_pylist()
    found = material.domains.found(addresses)
    return {
        "domain.host": pa.array([host_of(address) for address in addresses], STRING),
        "domain.categories": pa.array([",".join(names) for names in found], STRING),
        "domain.n_categories": np.array(list(map(len, found)), np.int64),
    }


PII = Family(
    "pii",
    1,
    {**dict.fromkeys(KINDS, SPANS), "pii.count": WHOLE, "pii.share": FLOAT},
    _pii,
    "e-mail addresses, phone numbers, IP addresses, keys: where, how many, share of the characters",
)

TOXICITY = Family(
    "toxicity",
    1,
    {"toxicity.words": WHOLE, "toxicity.share": FLOAT, "toxicity.spans": SPANS},
    _toxicity,
    "words and phrases of a list: how many, per word of the text, and where",
    needs=("bad_words",),
)

STOP_WORDS = Family(
    "stop_words",
    1,
    {"stop_words.share": FLOAT, "stop_words.different": WHOLE},
    _stop_words,
    "share of normalised words that are stop words, and how many different ones",
)

DOMAINS = Family(
    "domain",
    1,
    {"domain.host": STRING, "domain.categories": STRING, "domain.n_categories": WHOLE},
    _domains,
    "the domain of each document and the listed categories it is in",
    needs=("domains",),
)
