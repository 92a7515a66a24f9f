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

LEARNED = {
    "linear": "tokenry.corpora.learned:linear_family",
    "linear.sentences": "tokenry.corpora.learned:sentence_family",
    "dsir": "tokenry.corpora.learned:dsir_family",
    "ngram": "tokenry.corpora.learned:ngram_family",
    "rpv2.doc_ml_wikiref_score": "tokenry.corpora.learned:ml_family",
    "rpv2.doc_ml_palm_score": "tokenry.corpora.learned:ml_family",
    "rpv2.doc_ml_wikipedia_score": "tokenry.corpora.learned:ml_family",
    "rpv2.doc_books_importance": "tokenry.corpora.learned:importance_family",
    "rpv2.doc_openwebtext_importance": "tokenry.corpora.learned:importance_family",
    "rpv2.doc_wikipedia_importance": "tokenry.corpora.learned:importance_family",
}
"""Families that a model by path gives, typed as NAME:DIR (`corpora.learned`)."""

SELECTORS = {
    "random": "tokenry.corpora.selector_methods:RANDOM",
    "dsir": "tokenry.corpora.selector_methods:DSIR",
    "dsir-length": "tokenry.corpora.selector_methods:DSIR_LENGTH",
    "moore-lewis": "tokenry.corpora.selector_methods:MOORE_LEWIS",
    "ngram": "tokenry.corpora.selector_methods:NGRAM",
    "ngram-middle": "tokenry.corpora.selector_methods:NGRAM_MIDDLE",
    "lm": "tokenry.corpora.selector_methods:LM",
    "lm-middle": "tokenry.corpora.selector_methods:LM_MIDDLE",
    "classifier": "tokenry.corpora.selector_methods:CLASSIFIER",
    "classifier-noisy": "tokenry.corpora.selector_methods:CLASSIFIER_NOISY",
    "exact": "tokenry.corpora.selector_methods:EXACT",
    "minhash": "tokenry.corpora.selector_methods:MINHASH",
    "semdedup": "tokenry.corpora.selector_vectors:SEMDEDUP",
    "d4": "tokenry.corpora.selector_vectors:D4",
    "k-center": "tokenry.corpora.selector_vectors:K_CENTER",
    "density": "tokenry.corpora.selector_vectors:DENSITY",
    "density-cap": "tokenry.corpora.selector_vectors:DENSITY_CAP",
    "rho": "tokenry.corpora.selector_methods:RHO",
    "el2n": "tokenry.corpora.selector_methods:EL2N",
}
"""Utilities with their mechanisms (`corpora.selectors`): name -> where it is."""
