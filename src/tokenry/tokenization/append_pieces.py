"""Extend a tokenizer by the pieces of a second one, as Cabrita and Chinese-LLaMA do, to compare and to match theirs.

The pieces the old vocabulary lacks are appended, in the second one's order, and every way to make a piece of two others
becomes a merge (as converting a SentencePiece file does). Where these merges stand among the old ones is the method:

- `append`: each piece has the rank its own tokenizer gave it, so new merges stand between old ones (Cabrita);
- `append-zero`: all new pieces come before every old one (Chinese-LLaMA's score 0);
- `append-below`: all come after the old ones.

None of them keeps the promises of continued BPE (`extend.py`): the first two cut old words anew, and in all three some
pieces can never be reached, because a piece they are made of was not appended.

Papers: Cabrita: closing the gap for foreign languages (arXiv 2308.11878); Efficient and Effective Text Encoding for
Chinese LLaMA and Alpaca (arXiv 2304.08177).
"""

import numpy as np

from tokenry.core.vocab import Kind, Vocab

ORDERS = ("append", "append-zero", "append-below")


def append_pieces(vocab: Vocab, other: Vocab, n: int, *, order: str = "append") -> Vocab:
    """A vocabulary with the first `n` pieces of another one that it lacks.

    Args:
        vocab: BPE, byte-level or metaspace.
        other: BPE in the same spelling, usually trained on text of the new language.
        n: pieces to append; fewer where `other` has no more.
        order: where the new merges stand; see above.

    Returns:
        The larger vocabulary. Old ids stay; old merges stay in their order, with new ones before, between or after.

    Raises:
        ValueError: an unknown order, another kind of tokenizer, or two spellings that do not match.

    Paper: Cabrita (arXiv 2308.11878), section 3.
    """
    _check(vocab, other, n, order)
    model = vocab.spec["model"]
    entries = {**model["vocab"], **{token["content"]: token["id"] for token in vocab.spec["added_tokens"]}}
    fresh = [
        other.literal(i) for i in np.flatnonzero(other.kinds == Kind.NORMAL).tolist() if other.literal(i) not in entries
    ][:n]
    entries |= {piece: vocab.size + k for k, piece in enumerate(fresh)}
    old = [_pair(merge) for merge in model["merges"]]
    ranks, own = _ranks(vocab), _ranks(other)
    places = {
        "append": lambda piece: own.get(piece, len(own)),
        "append-zero": lambda piece: -1,
        "append-below": lambda piece: len(ranks),
    }
    order_of_old = np.maximum.accumulate([ranks[left + right] for left, right in old] or [0]).tolist()
    keyed = [(order_of_old[k], 0, k, pair) for k, pair in enumerate(old)]
    listed = {tuple(pair) for pair in old} if vocab.family == "metaspace" else None
    for k, (piece, pair) in enumerate(_new_pairs(fresh, list(ranks), entries, listed)):
        keyed.append((ranks[piece] if piece in ranks else places[order](piece), 1, k, pair))
    merges = [pair for _, _, _, pair in sorted(keyed, key=lambda row: row[:3])]
    if (
        model["merges"]
        and isinstance(model["merges"][0], str)
        and not any(" " in part for pair in merges for part in pair)
    ):
        merges = [" ".join(pair) for pair in merges]
    added = [dict(token) for token in vocab.spec["added_tokens"]]
    spec = {**vocab.spec, "model": {**model, "vocab": entries, "merges": merges}, "added_tokens": added}
    config = {key: value for key, value in vocab.config.items() if key != "piece_scores"}
    return Vocab.from_spec(spec, config, f"{vocab.name}+")


def _ranks(vocab: Vocab) -> dict[str, int]:
    """Piece -> its place among the merged pieces, which is what its score says in a SentencePiece file."""
    ranks: dict[str, int] = {}
    for result in vocab.merges[:, 2].tolist():
        ranks.setdefault(vocab.literal(result), len(ranks))
    return ranks


def _new_pairs(
    fresh: list[str], old: list[str], entries: dict[str, int], listed: set[tuple[str, str]] | None
) -> list[tuple[str, list[str]]]:
    """(piece, pair) for every way to make a new piece of two entries, and an old one: with a new part, or (`listed`,
    for pieces with scores, where any two that spell a piece may join) in any way that is not listed yet."""
    found, new = [], set(fresh)
    for piece in (*fresh, *old):
        pairs = [[piece[:k], piece[k:]] for k in range(1, len(piece)) if piece[:k] in entries and piece[k:] in entries]
        if piece not in new and listed is not None:
            pairs = [pair for pair in pairs if tuple(pair) not in listed]
        elif piece not in new:
            pairs = [pair for pair in pairs if pair[0] in new or pair[1] in new]
        found += [(piece, pair) for pair in sorted(pairs, key=lambda pair: (entries[pair[0]], entries[pair[1]]))]
    return found


def _pair(merge: str | list[str]) -> list[str]:
    return merge.split(" ") if isinstance(merge, str) else list(merge)


def _check(vocab: Vocab, other: Vocab, n: int, order: str) -> None:
    from tokenry.core.choosing import suggest

    if order not in ORDERS:
        raise ValueError(f"order={order!r}; need one of {', '.join(ORDERS)}.{suggest(order, ORDERS)}")
    if n < 1:
        raise ValueError(f"n={n} pieces to append; need at least 1.")
    for one in (vocab, other):
        if one.family not in ("byte-level", "metaspace") or one.spec["model"].get("end_of_word_suffix"):
            raise ValueError(f"{one.name} is a {one.family} tokenizer; pieces are appended to BPE in byte-level or "
                             "metaspace spelling.")  # fmt: skip
    if vocab.family != other.family:
        raise ValueError(
            f"{vocab.name} spells text {vocab.family}, {other.name} {other.family}; pieces can only be appended in one "
            "spelling. Train the second one like the first: tokenry tokenizer train --like."
        )
