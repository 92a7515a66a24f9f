"""Documents in, better documents out: score, de-duplicate, decontaminate, select, mix, augment, describe.

Signals first, decisions later: whatever is measured stands in columns beside the documents, and a threshold can be
changed without measuring again.
"""

SIGNALS = {
    "ccnet": "tokenry.corpora.signals_language:BASICS",
    "language": "tokenry.corpora.signals_language:LANGUAGE",
    "gopher": "tokenry.corpora.signals_gopher:GOPHER",
    "repetition": "tokenry.corpora.signals_gopher:REPETITION",
    "c4": "tokenry.corpora.signals_c4:C4",
    "fineweb": "tokenry.corpora.signals_c4:FINEWEB",
    "rpv2": "tokenry.corpora.signals_rpv2:RPV2",
    "rpv2.lines": "tokenry.corpora.signals_rpv2:RPV2_LINES",
    "dolma.gopher": "tokenry.corpora.signals_dolma:DOLMA_GOPHER",
    "dolma.gopher_v2": "tokenry.corpora.signals_dolma:DOLMA_GOPHER_V2",
    "dolma.c4": "tokenry.corpora.signals_dolma:DOLMA_C4",
    "dolma.length": "tokenry.corpora.signals_dolma:DOLMA_LENGTH",
    "pii": "tokenry.corpora.signals_pii:PII",
    "stop_words": "tokenry.corpora.signals_pii:STOP_WORDS",
    "toxicity": "tokenry.corpora.signals_pii:TOXICITY",
    "domain": "tokenry.corpora.signals_pii:DOMAINS",
    "code": "tokenry.corpora.signals_code:CODE",
}
"""Families of signals: name -> where it is (`corpora.signals`)."""
