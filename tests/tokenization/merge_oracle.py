"""Counted words through the trainer of the tokenizers library and through ours, in one form."""

import json

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tokenry.tokenization.merges import MergeTable, train_merges

Merges = list[tuple[str, str]]


def library_merges(
    words: dict[str, int],
    size: int,
    *,
    specials: tuple[str, ...] = (),
    min_count: int = 0,
    max_length: int | None = None,
) -> tuple[Merges, dict[str, int]]:
    """Merge list and vocabulary of the library's BpeTrainer; `max_length` is its exclusive cap."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\n", "removed")
    cap = {"max_token_length": max_length} if max_length else {}
    trainer = trainers.BpeTrainer(
        vocab_size=size, show_progress=False, special_tokens=list(specials), min_frequency=min_count, **cap
    )
    tokenizer.train_from_iterator(("\n".join([word] * count) for word, count in words.items()), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return [tuple(merge) for merge in model["merges"]], model["vocab"]


def table_of(words: dict[str, int], names: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Symbols, offsets and counts of words spelled in single characters."""
    place = {name: i for i, name in enumerate(names)}
    symbols = np.array([place[c] for word in words for c in word], np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(word) for word in words])])
    return symbols, offsets, np.array(list(words.values()))


def our_merges(
    words: dict[str, int],
    size: int,
    *,
    specials: tuple[str, ...] = (),
    min_count: int = 0,
    max_length: int | None = None,
) -> tuple[Merges, dict[str, int]]:
    """The same from our engine."""
    names = [*specials, *(c for c in sorted(set("".join(words))) if c not in specials)]
    table = train_merges(
        *table_of(words, names),
        n_symbols=len(names),
        n_merges=max(size - len(names), 0),
        names=names,
        min_count=min_count,
        max_length=max_length - 1 if max_length else 0,
    )
    return named(table, names)


def named(table: MergeTable, names: list[str]) -> tuple[Merges, dict[str, int]]:
    """Merges as strings, and the vocabulary they make."""
    names, merges = list(names), []
    for (left, right), result in zip(table.pairs, table.results, strict=True):
        merges.append((names[left], names[right]))
        if result == len(names):
            names.append(names[left] + names[right])
        assert names[result] == names[left] + names[right]
    return merges, {name: i for i, name in enumerate(names)}
