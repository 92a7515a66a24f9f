"""From a plan of a BPE tokenizer and a table of words to the finished vocabulary; `train.py` is the door.

Learning and assembling are two steps, so that one run gives vocabularies of many sizes (`size_families`).

Paper: Neural Machine Translation of Rare Words with Subword Units (arXiv 1508.07909).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from tokenry.core.alphabets import BYTE_TO_CHAR, byte_piece
from tokenry.core.pretokens import Pretokens, count_pretokens, give_back_memory
from tokenry.core.vocab import Vocab
from tokenry.tokenization.ensured import Ensured, Form, MergeList, Pair, ensure, settle
from tokenry.tokenization.plans import Plan

_CHARACTER = 1000
"""Length of a character's first byte where a limit counts characters; its other bytes count 1."""


@dataclass(frozen=True)
class Limits:
    """What a merge must keep to."""

    min_count: int = 2
    """A pair seen less often is not merged."""
    max_length: int = 0
    """Longest entry in characters of the plan's alphabet (bytes for byte-level), inclusive; 0 = any."""
    max_characters: int = 0
    """Longest entry in characters of the text, its space included, inclusive; 0 = any. A piece of a character counts
    as one."""
    state: str | Path | None = None
    """Folder that keeps what is learned so far: an interrupted run goes on there, a larger size starts from there."""


@dataclass(frozen=True, eq=False)
class Learned:
    """Merges of a plan, not yet cut to a size."""

    plan: Plan
    entries: tuple[str, ...]
    """Special tokens, byte pieces and alphabet."""
    spelling: dict[str, list[int]]
    """Character -> start symbols."""
    blocked: frozenset[str]
    """Strings no merge may make."""
    first: Ensured = field(default_factory=Ensured)
    """Terms whose merges come before the learned ones."""
    pairs: tuple[Pair, ...] = ()
    """Learned merges in strings, in order."""
    births: tuple[int, ...] = ()
    """Row of the merge that makes each new entry."""

    @cached_property
    def merges(self) -> MergeList:
        """The learned merges after those that come first."""
        start = {c: [self.entries[i] for i in symbols] for c, symbols in self.spelling.items()}
        ahead = len(self.first.pairs)
        return MergeList(start, [*self.entries, *self.first.entries], [*self.first.pairs, *self.pairs],
                         [ahead + row for row in self.births], self.blocked)  # fmt: skip


def by_merges(plan: Plan, source: object, *, size: int | None, min_count: int, max_length: int, reading: dict) -> Vocab:
    """Learn the merges of a BPE plan from text or `Pretokens`; `size` None means none.

    Raises:
        ValueError: when `size` does not hold specials, byte pieces and alphabet.
    """
    return assemble(learn(plan, source, size=size, limits=Limits(min_count, max_length), reading=reading), size=size)[0]


def learn(
    plan: Plan,
    source: object,
    *,
    size: int | None,
    limits: Limits,
    reading: dict,
    prepare: Callable[[Pretokens], Pretokens] | None = None,
    first: Sequence[Form] = (),
    required: str = "",
) -> Learned:
    """Learn merges for a vocabulary of up to `size` entries.

    Args:
        plan: everything but the entries.
        source: text, or `Pretokens`.
        size: entries in all; None for an alphabet without merges.
        limits: counts and lengths a merge must keep to.
        reading: keywords of `core.pretokens.count_pretokens`.
        prepare: changes the table before anything is learned from it (weights, boundaries).
        first: words whose merges come before all others.
        required: characters that get an entry however rare they are.

    Raises:
        ValueError: when `size` does not hold specials, byte pieces and alphabet.
    """
    from tokenry.tokenization.merges import Rules, encode_words, learn_merges, usable_merges
    from tokenry.tokenization.resuming import train_resumable
    from tokenry.tokenization.word_tables import spell

    pretokens = counted(source, plan.spec, reading)
    pretokens = prepare(pretokens) if prepare else pretokens
    words, counts = pretokens.words, pretokens.total
    learned = _start(plan, words, counts, size=size, required=required)
    symbols, offsets = spell(words, learned.spelling)
    del pretokens, words  # large, and not needed while learning
    if first:
        learned = replace(learned, first=ensure(first, "merges", learned.merges, n=0))
        symbols, offsets = encode_words(symbols, offsets, _triples(learned))
    entries = [*learned.entries, *learned.first.entries]
    names, lengths = _names(plan, entries, by_character=limits.max_characters > 0)
    # A merge that spells a special token is no entry; some more make up for it.
    room = 0 if size is None or not plan.merges else max(0, size - len(entries) - len(plan.last))
    room += min(len(plan.first), 16) if room else 0
    most = _CHARACTER * (limits.max_characters + 1) - 1 if limits.max_characters else limits.max_length
    rules = Rules(names, room, min_count=limits.min_count, max_length=most, lengths=lengths)
    table = [symbols]
    del symbols
    give_back_memory()
    if limits.state is not None and room:
        made = train_resumable(table.pop(), offsets, counts, rules=rules, folder=limits.state)
    else:
        made = learn_merges(table, offsets, counts, rules=rules)
    rows, new = usable_merges(made, entries, learned.blocked)
    strings = [*entries, *new]
    pairs = tuple((strings[left], strings[right]) for left, right, _ in rows.tolist())
    _, births = np.unique(rows[:, 2], return_index=True)
    births = births[len(births) - len(new) :] if len(new) else births[:0]
    return replace(learned, pairs=pairs, births=tuple(births.tolist()))


def assemble(
    learned: Learned, *, size: int | None, terms: Sequence[Form] = (), how: str = "merges"
) -> tuple[Vocab, Ensured]:
    """The vocabulary of a size, from merges learned for this size or a larger one, with terms guaranteed.

    Where the terms leave an entry or two free, the next learned merges fill them, after the terms'.

    Returns:
        The vocabulary, and what became of the terms.

    Raises:
        ValueError: when `size` does not hold special tokens, alphabet and terms.
    """
    plan, merges = learned.plan, learned.merges
    fixed = len(learned.entries) + len(learned.first.entries) + len(plan.last)
    room = len(learned.births) if size is None else size - fixed
    if room < 0:
        raise ValueError(f"size={size} does not hold {fixed} special tokens, characters and terms. Ask for more.")
    n, ensured = min(room, len(learned.births)), learned.first
    if terms:
        n, ensured = settle(room, lambda n: ensure(terms, how, merges, n=n))
        n = min(n, len(learned.births))
    pairs = [*merges.pairs[: merges.n_rows(n)], *ensured.pairs] if terms else merges.pairs[: merges.n_rows(n)]
    entries = dict.fromkeys(entry for entry, row in merges.born.items() if row < merges.n_rows(n))
    if terms:
        entries |= dict.fromkeys(ensured.entries)
        plan = replace(plan, last=[*plan.last, *ensured.added])
        _fill(entries, pairs, merges.pairs[merges.n_rows(n) :], room + fixed - len(plan.last))
    place = {entry: i for i, entry in enumerate(entries)}
    model = {**plan.spec["model"], "vocab": place, "merges": [list(pair) for pair in pairs]}
    if terms and how == "whole-words":
        model["ignore_merges"] = True
    first = {t["content"]: i for i, t in enumerate(plan.first)}
    return finish(plan, model, n_entries=len(entries), place=first), ensured


def _fill(entries: dict[str, None], pairs: list[Pair], more: Sequence[Pair], size: int) -> None:
    """Append learned merges while there are entries to give."""
    held = set(pairs)
    for pair in more:
        if len(entries) >= size:
            return
        if pair[0] in entries and pair[1] in entries and pair not in held:
            pairs.append(pair)
            entries[pair[0] + pair[1]] = None


def _start(plan: Plan, words: Sequence[str], counts: np.ndarray, *, size: int | None, required: str) -> Learned:
    """What there is before any merge."""
    fixed = [token["content"] for token in plan.first]
    fixed += [byte_piece(byte) for byte in range(256)] if plan.bytes_first else []
    room = None if size is None else size - len(fixed) - len(plan.last)
    if room is not None and room < (256 if plan.alphabet == "bytes" else 1):
        raise ValueError(
            f"size={size} does not hold the {len(fixed) + len(plan.last)} special tokens and byte pieces and the "
            f"{'256 bytes' if plan.alphabet == 'bytes' else 'characters of the text'}. Ask for more."
        )
    characters, others = _alphabet(plan, words, counts, room)
    if plan.alphabet != "bytes":
        characters = sorted({*characters, *required} - plan.spelled_by_bytes)
        others = [c for c in others if c not in required]
    entries = fixed + [c for c in characters if c not in fixed]
    place = {entry: i for i, entry in enumerate(entries)}
    spelling = {c: [place[c]] for c in characters} | {c: _fallback(plan, c, place) for c in others}
    blocked = {token["content"] for token in (*plan.first, *plan.last)} | {e for e in fixed if e not in characters}
    return Learned(plan, tuple(entries), spelling, frozenset(blocked))


def _names(plan: Plan, entries: list[str], *, by_character: bool) -> tuple[list[str | None], np.ndarray | None]:
    """What each start symbol spells (None: never merged), and its length where characters are counted."""
    pieces = {byte_piece(byte) for byte in range(256)} if plan.bytes_first else set()
    never = plan.barred | pieces | {plan.spec["model"].get("unk_token")}
    names = [None if entry in never else entry for entry in entries]
    if not by_character:
        return names, None
    if plan.alphabet != "bytes":
        return names, np.array([_CHARACTER * len(entry) for entry in entries], np.int64)
    inside = [BYTE_TO_CHAR[byte] for byte in range(0x80, 0xC0)]
    lengths = [sum(1 if c in inside else _CHARACTER for c in entry) for entry in entries]
    return names, np.array(lengths, np.int64)


def _triples(learned: Learned) -> np.ndarray:
    """The merges of the terms that come first, as ids."""
    place = {entry: i for i, entry in enumerate([*learned.entries, *learned.first.entries])}
    rows = [(place[a], place[b], place[a + b]) for a, b in learned.first.pairs]
    return np.array(rows, np.int32).reshape(-1, 3)


def counted(source: object, spec: dict, reading: dict) -> Pretokens:
    """The table of the text for a tokenizer, counted here unless it was given.

    Raises:
        ValueError: for a table that was cut by another pre-tokeniser.
    """
    if not isinstance(source, Pretokens):
        return count_pretokens(source, spec, by_source=False, **reading)
    from tokenry.core.cutters import Cutter

    if source.fingerprint != Cutter(spec).fingerprint:
        raise ValueError(
            f"the pre-tokens were cut by another normaliser or pre-tokeniser (fingerprint {source.fingerprint}); "
            "count them for this tokenizer (count_pretokens(source, vocab)), or give the text itself."
        )
    return source


def _alphabet(plan: Plan, words: Sequence[str], counts: np.ndarray, room: int | None) -> tuple[list[str], list[str]]:
    """(characters with an entry, by code point; those without)."""
    if plan.alphabet == "bytes":
        return sorted(BYTE_TO_CHAR), []
    from tokenry.tokenization.word_tables import COVERAGE, character_counts, covering

    seen = character_counts(words, counts)
    all_used = [chr(point) for point in np.flatnonzero(seen).tolist()]
    for character in plan.spelled_by_bytes:
        if ord(character) < len(seen):
            seen[ord(character)] = 0
    ranked = covering(seen, COVERAGE if plan.alphabet == "covered" and plan.merges else 1.0)
    if plan.merges and room is not None and len(ranked) > room:
        raise ValueError(f"the text has {len(ranked)} frequent characters, size leaves room for {room}. Ask for more.")
    kept = sorted(chr(point) for point in ranked[:room].tolist())
    held = set(kept)
    return kept, [c for c in all_used if c not in held]


def _fallback(plan: Plan, character: str, place: dict[str, int]) -> list[int]:
    """Symbols of a character without entry: byte pieces, else the unknown token."""
    if plan.bytes_first:
        return [place[byte_piece(byte)] for byte in character.encode("utf-8", "surrogatepass")]
    return [place[plan.spec["model"]["unk_token"]]]


def finish(plan: Plan, model: dict, *, n_entries: int, place: dict[str, int]) -> Vocab:
    """Give the added tokens their ids and build the vocabulary."""
    place = place | {token["content"]: n_entries + i for i, token in enumerate(plan.last)}
    added = sorted(
        ({**token, "id": place[token["content"]]} for token in (*plan.first, *plan.last)), key=lambda t: t["id"]
    )
    spec = {**plan.spec, "model": model, "added_tokens": added}
    spec["post_processor"] = renumbered(spec.get("post_processor"), place)
    return Vocab.from_spec(spec, plan.config, "trained")


def renumbered(node: object, place: Mapping[str, int]) -> object:
    """A post-processor with the ids of its tokens brought up to date."""
    if isinstance(node, list):
        if len(node) == 2 and isinstance(node[0], str) and isinstance(node[1], int):  # ["[SEP]", 102]
            return [node[0], place.get(node[0], node[1])]
        return [renumbered(child, place) for child in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("tokens"), list) and isinstance(node.get("ids"), list):
        return {**node, "ids": [place.get(t, i) for t, i in zip(node["tokens"], node["ids"], strict=True)]}
    return {key: renumbered(value, place) for key, value in node.items()}
