"""Extend a trained BPE tokenizer by tokens learned from your text: continued BPE.

The text is cut into the tokens of the old vocabulary and training goes on from there. So, by construction:

- old ids and old merges stay as they are, and decoding an old encoding does not change;
- the new cut of any text joins neighbours of the old cut and never cuts anew, so no text gets longer;
- every new token is one fixed sequence of old tokens, which is what its embedding can be started from;
- every new token is reachable, as the merges it needs are in the list.

A vocabulary with byte pieces gets the characters it had to spell in bytes first: each becomes an entry made of its
bytes, and only then can merges learn words of that script.

Appending the pieces of a second tokenizer, as Cabrita does, has none of the last three.

Papers: Cabrita: closing the gap for foreign languages (arXiv 2308.11878); Teaching Old Tokenizers New Words
(arXiv 2512.03989).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokenry.core.alphabets import byte_piece
from tokenry.core.hf_json import added_tokens, model_type
from tokenry.core.pretokens import Pretokens
from tokenry.core.report import Report
from tokenry.core.vocab import Kind, Vocab
from tokenry.tokenization.extension_report import extension_report
from tokenry.tokenization.merges import train_merges, usable_merges
from tokenry.tokenization.training import counted
from tokenry.tokenization.word_tables import (
    WordTable,
    character_counts,
    encode_table,
    model_spelling,
    never_merged,
)

PROTECT_RATE = 1e-5
"""A merge may join this share of the protected text's tokens."""
MAX_BYTES = 32
"""Longest new token by default; longer ones are mostly boilerplate of the text."""
_ALPHABET = 1000
"""Room for the characters of a second tokenizer, besides its pieces."""


@dataclass(frozen=True, eq=False)
class Extension:
    """An extended vocabulary and how its new tokens are made of old ones."""

    vocab: Vocab
    """Ids below the old size are the old vocabulary's."""
    pieces: list[list[int]]
    """For each new id in order the old ids it is made of; empty for a reserved token."""
    report: Report
    """What the extension does to the text it was learned from (and to the protected text)."""


def extend(
    vocab: Vocab,
    source: object,
    *,
    size: int | None = None,
    add: int | None = None,
    min_count: int = 2,
    max_bytes: int = MAX_BYTES,
    protect: object | None = None,
    protect_rate: float = PROTECT_RATE,
    pad_to: int | None = None,
    **reading: object,
) -> Extension:
    """Learn new tokens from text on top of a byte-level or metaspace BPE vocabulary.

    In metaspace spelling a line end or a digit is joined with something only where the vocabulary itself holds such an
    entry (in byte-level spelling the pre-tokeniser decides); byte pieces and special tokens are never joined.

    Args:
        vocab: the vocabulary; not changed.
        source: what `core.tables.stream` takes, or `Pretokens` counted for this vocabulary.
        size: entries afterwards; or
        add: new entries. One of the two. Fewer are made where the text has no more pairs.
        min_count: a pair must occur so often in the text.
        max_bytes: longest new token in bytes.
        protect: text whose cut should change as little as possible, as `source`.
        protect_rate: a merge that would join more than this share of the protected text's tokens is not learned.
        pad_to: round the size up to a multiple of this: with learned tokens, then with reserved special tokens
            `<|reserved_0|>` ... where the text has no more pairs.
        reading: `text`, `limit`, `skip_bad`, `cache`, `workers` of `core.pretokens.count_pretokens`.

    Raises:
        ValueError: the vocabulary is not BPE of a form that merges can be appended to, or neither or both of size
            and add are given, or they add nothing.

    Papers: Cabrita (arXiv 2308.11878), by continued BPE; Teaching Old Tokenizers New Words (arXiv 2512.03989).
    """
    _check_extendable(vocab)
    target = _target(vocab, size, add, pad_to)
    texts = {"text": counted(source, vocab.spec, reading)}
    if protect is not None:
        texts["protected"] = counted(protect, vocab.spec, reading)
    before = {name: encode_table(vocab, found.words, found.total) for name, found in texts.items()}
    limit = None if protect is None else int(protect_rate * before["protected"].n_tokens)
    characters = _new_characters(vocab, texts, room=target - vocab.size, min_count=min_count, limit=limit)
    wider, start = vocab, before
    if characters:
        wider = _with_characters(vocab, characters)
        start = {name: encode_table(wider, found.words, found.total) for name, found in texts.items()}
    table = start["text"] if limit is None else _joined(start["text"], start["protected"])
    merges, strings = _learn(wider, table, target - wider.size, min_count=min_count, max_bytes=max_bytes, limit=limit,
                             n_words=len(before["text"].counts))  # fmt: skip
    n_reserved = -(wider.size + len(strings)) % pad_to if pad_to else 0
    extended = _extended(wider, merges, strings, n_reserved, name=f"{vocab.name}+")
    spelled = list(model_spelling(vocab, "".join(characters)).values())
    pieces = spelled + _pieces(wider, merges, len(strings), vocab.size, spelled) + [[] for _ in range(n_reserved)]
    report = extension_report(vocab, extended, pieces, {name: (texts[name], before[name]) for name in texts})
    return Extension(extended, pieces, report)


def extend_by_pieces(
    vocab: Vocab, source: object, *, method: str = "append", size: int | None = None, add: int | None = None,
    min_count: int = 2, other: Vocab | None = None, protect: object | None = None, **reading: object,
) -> Extension:  # fmt: skip
    """Append the pieces of a second tokenizer, as Cabrita does; `extend` is what we advise instead.

    Args:
        vocab: the vocabulary; not changed.
        source: text, as `extend` takes it.
        method: "append", "append-zero" or "append-below"; see `append_pieces`.
        size, add: entries afterwards, or new entries; one of the two.
        min_count: a pair must occur so often to become a piece of the second tokenizer.
        other: the second tokenizer. Trained here like the first when not given, with twice as many entries as are added
            (the paper: 40,000 for 20,000).
        protect: text to report on too; it is not protected, as this method has no way to do so.
        reading: as for `extend`.

    Raises:
        ValueError: as `extend`, and for an unknown method.

    Paper: Cabrita (arXiv 2308.11878), section 3.
    """
    from tokenry.tokenization.append_pieces import append_pieces
    from tokenry.tokenization.train import train

    _check_extendable(vocab)
    n_new = _target(vocab, size, add, None) - vocab.size
    pretokens = counted(source, vocab.spec, reading)
    if other is None:
        fixed = int((vocab.kinds != Kind.NORMAL).sum()) + _ALPHABET
        other = train(pretokens, size=2 * n_new + fixed, like=vocab, min_count=min_count)
    longer = append_pieces(vocab, other, n_new, order=method)
    texts = {"text": pretokens}
    if protect is not None:
        texts["protected"] = counted(protect, vocab.spec, reading)
    pieces = [vocab.decompose(longer.tokens[i] or b"") for i in range(vocab.size, longer.size)]
    before = {name: encode_table(vocab, found.words, found.total) for name, found in texts.items()}
    report = extension_report(vocab, longer, pieces, {name: (texts[name], before[name]) for name in texts})
    return Extension(longer, pieces, report)


def _check_extendable(vocab: Vocab) -> None:
    kind, model = model_type(vocab.spec), vocab.spec["model"]
    if kind == "Unigram":
        raise ValueError(
            f"{vocab.name} is a Unigram tokenizer, which has no merges to continue: a new piece changes how every text "
            "is cut. Train a new one like it instead (tokenry tokenizer train --like, or adapt --replace)."
        )
    if kind != "BPE":
        raise ValueError(
            f"{vocab.name} is a {kind} tokenizer, which has no merges to continue. Train a new one like it instead "
            "(tokenry tokenizer train --like, or adapt --replace)."
        )
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise ValueError(
            f"{vocab.name} marks word ends or continuing pieces; such BPE is not extended. Train a new one on your "
            "text."
        )


def _target(vocab: Vocab, size: int | None, add: int | None, pad_to: int | None) -> int:
    if (size is None) == (add is None):
        raise ValueError(f"size={size} and add={add}; need one of them: the entries in all (--size), or "
                         "the new ones (--add 8000).")  # fmt: skip
    target = vocab.size + add if size is None else size
    if target < vocab.size or (target == vocab.size and not pad_to):
        raise ValueError(
            f"{f'size={size}' if add is None else f'add={add}'} adds nothing to the {vocab.size:,} entries of "
            f"{vocab.name}; extending keeps them all. Ask for more than that, or train a "
            "smaller tokenizer (tokenry tokenizer train)."
        )
    if pad_to is not None and pad_to < 1:
        raise ValueError(f"pad_to={pad_to}; need a positive number, e.g. 64.")
    return -(-target // pad_to) * pad_to if pad_to else target


def _joined(first: WordTable, second: WordTable) -> WordTable:
    """Both tables, one after the other."""
    return WordTable(
        np.concatenate([first.symbols, second.symbols]),
        np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]]),
        np.concatenate([first.counts, second.counts]),
    )


def _new_characters(
    vocab: Vocab, texts: dict[str, Pretokens], *, room: int, min_count: int, limit: int | None
) -> list[str]:
    """Characters of the text that the vocabulary spells in byte pieces, the most frequent first."""
    if not (vocab.kinds == Kind.BYTE).any():
        return []
    seen = {name: character_counts(found.words, found.total) for name, found in texts.items()}
    frequent = np.flatnonzero(seen["text"] >= max(1, min_count))
    order = frequent[np.argsort(-seen["text"][frequent], kind="stable")]
    points = [chr(p) for p in order.tolist()]
    spelling = model_spelling(vocab, "".join(points))
    # A line end or a tab is one byte piece: it has a row of its own already.
    found = [c for c in points if len(spelling[c]) > 1 and all(vocab.kinds[i] == Kind.BYTE for i in spelling[c])]
    if limit is not None:
        guard = seen["protected"]
        found = [c for c in found if ord(c) >= len(guard) or guard[ord(c)] <= limit]
    return found[:room]


def _with_characters(vocab: Vocab, characters: list[str]) -> Vocab:
    """The vocabulary with an entry for each character; no merge is needed, the model starts from characters."""
    model = vocab.spec["model"]
    entries = {**model["vocab"], **{token["content"]: token["id"] for token in vocab.spec["added_tokens"]}}
    entries |= {character: vocab.size + i for i, character in enumerate(characters)}
    return _with_model(vocab, {**model, "vocab": entries}, {}, vocab.name)


def _learn(
    vocab: Vocab, table: WordTable, n_new: int, *, min_count: int, max_bytes: int, limit: int | None, n_words: int
) -> tuple[np.ndarray, list[str]]:
    """New merges (M, 3) and the strings of the new entries; words from `n_words` on are the protected text."""
    barred = never_merged(vocab)
    literals = [vocab.literal(i) or None for i in range(vocab.size)]
    names = [None if bar else literal for literal, bar in zip(literals, barred.tolist(), strict=True)]
    counts, guard = table.counts, None
    if limit is not None:
        is_text = np.arange(len(counts)) < n_words
        guard = (np.where(is_text, 0, counts), limit)
        counts = np.where(is_text, counts, 0)
    learned = train_merges(
        table.symbols, table.offsets, counts,
        n_symbols=vocab.size, n_merges=n_new, names=names, min_count=min_count,
        max_length=max_bytes, lengths=vocab.byte_lengths, guard=guard,
    )  # fmt: skip
    blocked = {literals[i] for i in np.flatnonzero(vocab.kinds != Kind.NORMAL).tolist() if literals[i]}
    blocked |= {byte_piece(byte) for byte in range(256)}
    return usable_merges(learned, literals, blocked)


def _extended(vocab: Vocab, merges: np.ndarray, strings: Sequence[str], n_reserved: int, *, name: str) -> Vocab:
    """The vocabulary with merges and entries appended.

    All added tokens are entered into the model's vocabulary too: the library would number those it does not find there
    after the entries, which have become more.
    """
    spec, model = vocab.spec, vocab.spec["model"]
    entries = {**model["vocab"], **{token["content"]: token["id"] for token in spec["added_tokens"]}}
    entries |= {string: vocab.size + i for i, string in enumerate(strings)}
    first = vocab.size + len(strings)
    reserved = {first + i: name for i, name in enumerate(_reserved_names(entries, n_reserved))}
    entries |= {name: i for i, name in reserved.items()}
    literals = [vocab.literal(i) for i in range(vocab.size)] + list(strings)
    rows = [[literals[left], literals[right]] for left, right, _ in merges.tolist()]
    if model["merges"] and isinstance(model["merges"][0], str) and not any(" " in part for row in rows for part in row):
        rows = [f"{left} {right}" for left, right in rows]
    elif model["merges"] and isinstance(model["merges"][0], str):
        rows = [merge.split(" ") for merge in model["merges"]] + rows
        return _with_model(vocab, {**model, "vocab": entries, "merges": rows}, reserved, name)
    return _with_model(vocab, {**model, "vocab": entries, "merges": [*model["merges"], *rows]}, reserved, name)


def _with_model(vocab: Vocab, model: dict, reserved: dict[int, str], name: str) -> Vocab:
    added = [*vocab.spec["added_tokens"], *added_tokens(reserved)]
    config = vocab.config
    if config.get("piece_scores") is not None:
        # SentencePiece takes the highest score first: the new pieces come after all old ones, in order.
        scores = list(config["piece_scores"])
        scores += [0.0] * (vocab.size - len(scores))
        least = min(scores, default=0.0)
        n_new = len(model["vocab"]) and max(model["vocab"].values()) + 1 - vocab.size
        config = {**config, "piece_scores": scores + [least - 1.0 - i for i in range(n_new)]}
    return Vocab.from_spec({**vocab.spec, "model": model, "added_tokens": added}, config, name)


def _reserved_names(entries: dict[str, int], n: int) -> list[str]:
    names, k = [], 0
    while len(names) < n:
        if (name := f"<|reserved_{k}|>") not in entries:
            names.append(name)
        k += 1
    return names


def _pieces(vocab: Vocab, merges: np.ndarray, n_new: int, n_old: int, spelled: list[list[int]]) -> list[list[int]]:
    """The old ids (below `n_old`) each merged entry is made of; entries from `n_old` to the vocabulary's size are
    `spelled`."""
    pieces: list[list[int]] = [*spelled, *([] for _ in range(n_new))]
    for left, right, result in merges.tolist():
        if result >= vocab.size and not pieces[result - n_old]:
            pieces[result - n_old] = [
                old for part in (left, right) for old in ([part] if part < n_old else pieces[part - n_old])
            ]
    return pieces[len(spelled) :]
