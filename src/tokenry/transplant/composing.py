"""Compose the new vocabulary of an adaptation: extend the old one, or train another of the same kind.

Paper: Cabrita: closing the gap for foreign languages (arXiv 2308.11878), by continued BPE.
"""

from dataclasses import dataclass
from pathlib import Path

from tokenry.core.vocab import Vocab

MEETINGS = 20
"""A new token is worth its row when healing meets it about this often; used where no size is given."""
MOST_ADDED = 32_768


@dataclass(frozen=True)
class Composed:
    """A new vocabulary and how its tokens are made of old ones."""

    vocab: Vocab
    pieces: list[list[int]] | None
    """old ids of each appended token, in order; None when the vocabulary was replaced."""
    least_count: int
    """a new token was seen at least this often in the compose part."""


def least_count(compose_bytes: int, heal_bytes: float) -> int:
    """How often a token must be seen in the compose part so that healing meets it about MEETINGS times.

    Args:
        compose_bytes: bytes of the part that tokens are learned from.
        heal_bytes: bytes that healing will read.
    """
    if heal_bytes <= 0:
        return MEETINGS
    return max(2, round(MEETINGS * compose_bytes / heal_bytes))


def compose(old: Vocab, source: Path, *, size: int | None, add: int | None, replace: bool, least: int) -> Composed:
    """Learn new tokens from `source`.

    Args:
        old: the vocabulary of the model.
        source: the compose part.
        size: entries of the whole vocabulary afterwards; with `add`, only one may be given. With neither, every
            token seen at least `least` times is added, up to 32,768 (replace: the old size is kept).
        replace: train a new vocabulary like the old one, instead of extending it.
        least: see `least_count`; used when neither size nor add is given.

    Raises:
        ValueError: both size and add given; a size that adds nothing; a vocabulary that cannot be extended.
    """
    if size is not None and add is not None:
        raise ValueError(f"both --size {size} and --add {add} were given; need one of them. Leave one away.")
    if replace:
        from tokenry.tokenization.train import train

        wanted = size or old.size + (add or 0)
        return Composed(train(source, size=wanted, like=old), None, 2)
    from tokenry.tokenization.extend import extend

    if size is not None and size <= old.size:
        raise ValueError(
            f"--size {size} is not above the {old.size} entries the tokenizer has; extending can only add. "
            f"Ask for more, or add --replace to train a smaller vocabulary."
        )
    least = 2 if size or add else least
    wanted = add if add is not None else (size - old.size if size is not None else MOST_ADDED)
    extension = extend(old, source, add=wanted, min_count=least)
    if extension.vocab.size == old.size:
        raise ValueError(
            f"no pair of tokens is seen {least} times in the part of the data that tokens are learned from; nothing to "
            "add. Give more data, more --heal-steps, or --add N."
        )
    return Composed(extension.vocab, extension.pieces, least)
