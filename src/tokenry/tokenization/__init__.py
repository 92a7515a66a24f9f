"""Tokenizers from documents, and reports on tokenizers: train, extend, audit, compare."""

from tokenry.core.rooms import open_front

METHODS = {
    "bpe": "tokenry.tokenization.train:train",
    "continued-bpe": "tokenry.tokenization.extend:extend",
}
"""Ways to make a vocabulary from text."""

open_front(__name__, {"train": "train", "extend": "extend", "audit": "audit", "compare": "audit"})
