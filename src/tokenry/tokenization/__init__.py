"""Tokenizers from documents, and reports on tokenizers: train, extend, audit, compare, infer what one learned from."""

from tokenry.core.rooms import open_front

METHODS = {
    "bpe": "tokenry.tokenization.train:train",
    "continued-bpe": "tokenry.tokenization.extend:extend",
    "family": "tokenry.tokenization.size_families:train_family",
    "hybrid": "tokenry.tokenization.hybrid:train_hybrid",
    "least-effort": "tokenry.tokenization.least_effort:train_least_effort",
    "supertokens": "tokenry.tokenization.supertokens:train_supertokens",
    "unicode": "tokenry.tokenization.unicode_vocabulary:train_unicode",
}
"""Ways to make a vocabulary from text."""

open_front(
    __name__,
    {
        "train": "train",
        "compose": "composing",
        "train_family": "size_families",
        "extend": "extend",
        "audit": "audit",
        "compare": "comparing",
        "families": "families",
        "infer_mixture": "mixture",
    },
)
