"""Train a WordPiece tokenizer by merges, as the tokenizers library does, but the same on every run.

The library numbers the start symbols in the order of a hash table with a random seed, which decides ties; here they are
numbered by code point.

Paper: Google's Neural Machine Translation System (WordPiece, arXiv 1609.08144).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tokenry.core.pretokens import Pretokens, give_back_memory
from tokenry.core.vocab import Vocab
from tokenry.tokenization.boundaries import INNER
from tokenry.tokenization.ensured import Ensured, Form, ensure_entries, settle
from tokenry.tokenization.merges import train_merges
from tokenry.tokenization.plans import Plan
from tokenry.tokenization.training import counted, finish
from tokenry.tokenization.word_tables import character_counts, covering, spell

_INSIDE = INNER
"""Stands before a character inside a word while merging, so that "a" + "b" and "a" + "##b" are different strings."""


def train_wordpiece(
    plan: Plan,
    source: object,
    *,
    size: int,
    min_count: int,
    reading: dict,
    prepare: Callable[[Pretokens], Pretokens] | None = None,
    terms: Sequence[Form] = (),
    how: str = "merges",
) -> tuple[Vocab, Ensured]:
    """Learn the entries of a WordPiece plan.

    Args:
        plan: everything but the entries.
        source: text, or `Pretokens`.
        size: entries in all: special tokens, characters at the start and inside of words, and what is merged.
        min_count: a pair must occur so often to be merged.
        reading, prepare: as for `training.learn`; a part that does not begin its word is marked `boundaries.INNER`.
        terms, how: words that shall be entries, and the way; see `ensured`.

    Raises:
        ValueError: when `size` does not hold the special tokens and the frequent characters.
    """
    prefix = plan.spec["model"]["continuing_subword_prefix"]
    fixed = [token["content"] for token in plan.first]
    pretokens = counted(source, plan.spec, reading)
    pretokens = prepare(pretokens) if prepare else pretokens
    words, counts = pretokens.words, pretokens.total
    inner = np.fromiter((prepare is not None and word.startswith(INNER) for word in words), bool, len(words))
    words = [word.removeprefix(INNER) for word in words] if inner.any() else words
    starts, insides = _characters(words, counts, inner)
    names = [None] * len(fixed) + starts + [_INSIDE + character for character in insides]
    room = size - len(names) - len(plan.last)
    if room < 0:
        raise ValueError(
            f"size={size} does not hold the {len(fixed) + len(plan.last)} special tokens and the text's {len(starts)} "
            f"characters at the start and {len(insides)} inside of words. Ask for more."
        )
    table, offsets = _table(words, inner, names, fixed.index(plan.spec["model"]["unk_token"]))
    del pretokens, words
    give_back_memory()
    n_start = len(names)
    learned = train_merges(table, offsets, counts, n_symbols=n_start, n_merges=room, names=names, min_count=min_count)
    for (left, right), result in zip(learned.pairs.tolist(), learned.results.tolist(), strict=True):
        if result == len(names):
            names.append(names[left] + names[right])
    stored = fixed + [_stored(name, prefix) for name in names[len(fixed) :]]
    ensured, kept = Ensured(), len(names) - n_start
    if terms:
        birth = {entry: i for i, entry in reversed(list(enumerate(stored, -n_start)))}
        longest = plan.spec["model"]["max_input_chars_per_word"]
        kept, ensured = settle(
            room, lambda n: ensure_entries(terms, how, known=lambda word: birth.get(word, n) < n, longest=longest)
        )
        plan = replace(plan, last=[*plan.last, *ensured.added])
    entries = dict.fromkeys([*stored[: n_start + kept], *ensured.entries])
    place = {entry: i for i, entry in enumerate(entries)}
    model = {**plan.spec["model"], "vocab": place}
    return finish(plan, model, n_entries=len(place), place={token: place[token] for token in fixed}), ensured


def _characters(words: object, counts: np.ndarray, inner: np.ndarray) -> tuple[list[str], list[str]]:
    """Frequent characters at the start of words, and inside of words; the rest is spelled by the unknown token."""
    firsts = character_counts([word[:1] for word in words], np.where(inner, 0, counts))
    alls = character_counts(words, counts)
    alls[: len(firsts)] -= firsts
    starts, insides = ([chr(point) for point in np.sort(covering(seen)).tolist()] for seen in (firsts, alls))
    return starts, insides


def _table(words: object, inner: np.ndarray, names: list[str | None], unk: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The words' symbols (alone in a list, to be given away) and offsets."""
    place = {name: i for i, name in enumerate(names) if name is not None}
    used = {character for word in words for character in word}
    inside, offsets = spell(words, {c: [place.get(_INSIDE + c, unk)] for c in used})
    start, _ = spell([word[:1] for word in words], {c: [place.get(c, unk)] for c in used})
    symbols = inside.astype(np.int32)
    symbols[offsets[:-1][~inner]] = start[~inner]
    return [symbols], offsets


def _stored(name: str, prefix: str) -> str:
    plain = name.replace(_INSIDE, "")
    return prefix + plain if name.startswith(_INSIDE) else plain
