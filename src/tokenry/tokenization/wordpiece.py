"""Train a WordPiece tokenizer by merges, as the tokenizers library does, but the same on every run.

The library numbers the start symbols in the order of a hash table with a random seed, which decides ties; here they are
numbered by code point.

Paper: Google's Neural Machine Translation System (WordPiece, arXiv 1609.08144).
"""

import numpy as np

from tokenry.core.pretokens import give_back_memory
from tokenry.core.vocab import Vocab
from tokenry.tokenization.merges import train_merges
from tokenry.tokenization.training import COVERAGE, Plan, counted, finish
from tokenry.tokenization.word_tables import character_counts, spell

_INSIDE = "\0"
"""Stands before a character inside a word while merging, so that "a" + "b" and "a" + "##b" are different strings."""


def train_wordpiece(plan: Plan, source: object, *, size: int, min_count: int, reading: dict) -> Vocab:
    """Learn the entries of a WordPiece plan.

    Args:
        plan: everything but the entries.
        source: text, or `Pretokens`.
        size: entries in all: special tokens, characters at the start and inside of words, and what is merged.
        min_count: a pair must occur so often to be merged.
        reading: keywords of `core.pretokens.count_pretokens`.

    Raises:
        ValueError: when `size` does not hold the special tokens and the frequent characters.
    """
    prefix = plan.spec["model"]["continuing_subword_prefix"]
    fixed = [token["content"] for token in plan.first]
    pretokens = counted(source, plan.spec, reading)
    words, counts = pretokens.words, pretokens.total
    starts, insides = _characters(words, counts)
    names = [None] * len(fixed) + starts + [_INSIDE + character for character in insides]
    room = size - len(names) - len(plan.last)
    if room < 0:
        raise ValueError(
            f"size={size} does not hold the {len(fixed) + len(plan.last)} special tokens and the text's {len(starts)} "
            f"characters at the start and {len(insides)} inside of words. Ask for more."
        )
    unk = fixed.index(plan.spec["model"]["unk_token"])
    table, offsets = _table(words, names, unk)
    del pretokens, words
    give_back_memory()
    learned = train_merges(
        table, offsets, counts, n_symbols=len(names), n_merges=room, names=names, min_count=min_count
    )
    for (left, right), result in zip(learned.pairs.tolist(), learned.results.tolist(), strict=True):
        if result == len(names):
            names.append(names[left] + names[right])
    entries = dict.fromkeys(fixed + [_stored(name, prefix) for name in names[len(fixed) :]])
    place = {entry: i for i, entry in enumerate(entries)}
    model = {**plan.spec["model"], "vocab": place}
    return finish(plan, model, n_entries=len(place), place={token: place[token] for token in fixed})


def _characters(words: object, counts: np.ndarray) -> tuple[list[str], list[str]]:
    """Frequent characters at the start of words, and inside of words; the rest is spelled by the unknown token."""
    firsts = character_counts([word[:1] for word in words], counts)
    alls = character_counts(words, counts)
    alls[: len(firsts)] -= firsts
    found = []
    for seen in (firsts, alls):
        ranked = np.lexsort((np.arange(len(seen)), -seen))[: np.count_nonzero(seen)]
        if len(ranked):
            reached = np.cumsum(seen[ranked]) / seen.sum()
            ranked = ranked[: int(np.searchsorted(reached, COVERAGE)) + 1]
        found.append([chr(point) for point in np.sort(ranked).tolist()])
    return found[0], found[1]


def _table(words: object, names: list[str | None], unk: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The words' symbols (alone in a list, to be given away) and offsets."""
    place = {name: i for i, name in enumerate(names) if name is not None}
    used = {character for word in words for character in word}
    inside, offsets = spell(words, {c: [place.get(_INSIDE + c, unk)] for c in used})
    start, _ = spell([word[:1] for word in words], {c: [place.get(c, unk)] for c in used})
    symbols = inside.astype(np.int32)
    symbols[offsets[:-1]] = start
    return [symbols], offsets


def _stored(name: str, prefix: str) -> str:
    plain = name.replace(_INSIDE, "")
    return prefix + plain if name.startswith(_INSIDE) else plain
