"""Words as start symbols of a BPE model: the table the merge engine works on.

Papers: Neural Machine Translation of Rare Words with Subword Units (arXiv 1508.07909).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tokenry.core.pretokens import Words
from tokenry.core.vocab import Kind, Vocab

COVERAGE = 0.9995
"""Share of the text's characters that get an entry of their own where the rest has byte pieces or an unknown token
(SentencePiece's default)."""
_CHUNK = 1 << 20
_ROWS = 1 << 14
"""Words that are Python strings at once."""


@dataclass(frozen=True, eq=False)
class WordTable:
    """Words end to end as symbols, with their counts."""

    symbols: np.ndarray
    """int32 (N,)."""
    offsets: np.ndarray
    """int64 (W+1,), word w is `symbols[offsets[w]:offsets[w+1]]`."""
    counts: np.ndarray
    """int64 (W,)."""

    @property
    def n_tokens(self) -> int:
        """Symbols in the whole text."""
        return int((np.diff(self.offsets) * self.counts).sum())


def spell(words: Sequence[str], spelling: Mapping[str, Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Write words as symbols, character by character.

    Args:
        words: the words.
        spelling: character -> its symbols (several for a character spelled by byte pieces). Every character of the
            words must be there.

    Returns:
        symbols uint16 or int32 (N,), offsets int64 (W+1,).

    Raises:
        KeyError: for a character without spelling.
    """
    ends = np.zeros(len(words) + 1, np.int64)
    np.cumsum(lengths(words), out=ends[1:])
    used = used_points(words)
    parts = [list(spelling[chr(p)]) for p in used.tolist()]
    sizes = np.array([len(part) for part in parts], np.int64)
    highest = max((symbol for part in parts for symbol in part), default=0)
    place = np.zeros(int(used[-1]) + 1 if len(used) else 1, np.uint16 if highest < 2**16 else np.int32)
    if (sizes == 1).all():
        place[used] = [part[0] for part in parts]
        return _looked_up(place, words, ends), ends
    place = place.astype(np.int32)
    place[used] = np.arange(len(used))
    which = _looked_up(place, words, ends)
    flat = np.array([symbol for part in parts for symbol in part], np.int32)
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    reach = np.concatenate([[0], np.cumsum(sizes[which])])
    within = np.arange(reach[-1]) - np.repeat(reach[:-1], sizes[which])
    return flat[np.repeat(starts[which], sizes[which]) + within], reach[ends]


def _looked_up(place: np.ndarray, words: Sequence[str], ends: np.ndarray) -> np.ndarray:
    """`place` at all code points of the words."""
    out = np.empty(ends[-1], place.dtype)
    for start in range(0, len(words), _ROWS):
        stop = min(start + _ROWS, len(words))
        out[ends[start] : ends[stop]] = place[code_points(words[start:stop])]
    return out


def used_points(words: Sequence[str]) -> np.ndarray:
    """The distinct code points of all words, rising."""
    used = np.zeros(0x110000, bool)
    for start in range(0, len(words), _ROWS):
        used[code_points(words[start : start + _ROWS])] = True
    return np.flatnonzero(used)


def character_counts(words: Sequence[str], counts: np.ndarray) -> np.ndarray:
    """int64, how often each code point occurs in the text."""
    points = code_points(words)
    seen = np.zeros(int(points.max()) + 1 if len(points) else 1, np.int64)
    weights = np.repeat(np.asarray(counts, np.int64), lengths(words))
    for start in range(0, len(points), _CHUNK):
        np.add.at(seen, points[start : start + _CHUNK], weights[start : start + _CHUNK])
    return seen


def covering(seen: np.ndarray, share: float = COVERAGE) -> np.ndarray:
    """int64, the most frequent code points that make up a share of all counts, most frequent first; from 1 on all.

    Args:
        seen: counts by code point.
        share: of their sum.
    """
    ranked = np.lexsort((np.arange(len(seen)), -seen))[: np.count_nonzero(seen)]
    if share >= 1 or not len(ranked):
        return ranked
    return ranked[: int(np.searchsorted(np.cumsum(seen[ranked]) / seen.sum(), share)) + 1]


def lengths(words: Sequence[str]) -> np.ndarray:
    """int64 (W,), characters of each word."""
    if isinstance(words, Words):
        return words.lengths()
    return np.fromiter(map(len, words), np.int64, len(words))


def code_points(words: Sequence[str]) -> np.ndarray:
    """The code points of all words end to end: uint16 where all are below 65,536, else uint32."""
    text = words.joined() if isinstance(words, Words) else "".join(words)
    narrow = text.encode("utf-16-le", "surrogatepass")
    if len(narrow) == 2 * len(text):
        return np.frombuffer(narrow, np.uint16)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def model_spelling(vocab: Vocab, characters: str) -> dict[str, list[int]]:
    """How the BPE model of a vocabulary spells single characters before any merge: itself, byte pieces or unknown.

    Raises:
        ValueError: for a character the model silently drops (no byte pieces, no unknown token).
    """
    pieces, model = vocab.spec["model"]["vocab"], vocab.spec["model"]
    unknown = pieces.get(model.get("unk_token"))
    spelling = {}
    for character in characters:
        if character in pieces:
            spelling[character] = [pieces[character]]
            continue
        named = [pieces.get(f"<0x{byte:02X}>") for byte in character.encode("utf-8", "surrogatepass")]
        if model.get("byte_fallback") and None not in named:
            spelling[character] = named
        elif unknown is not None:
            spelling[character] = [unknown]
        else:
            raise ValueError(
                f"{vocab.name}: the character {character!r} has no entry, no byte pieces and no unknown token, so the "
                "model drops it without a trace. Need a tokenizer that can spell the text."
            )
    return spelling


def encode_table(vocab: Vocab, words: Sequence[str], counts: np.ndarray) -> WordTable:
    """Pre-tokens as the ids of a BPE vocabulary, as its own encoder gives them.

    Runs of unknown characters are not fused, where the encoder would fuse them.

    Args:
        words: as `Pretokens.words` for this vocabulary.
        counts: int (W,).
    """
    from tokenry.tokenization.merges import encode_words

    used = used_points(words).tolist()
    symbols, offsets = spell(words, model_spelling(vocab, "".join(map(chr, used))))
    ids, ends = encode_words(symbols, offsets, vocab.merges)
    if vocab.spec["model"].get("ignore_merges"):
        ids, ends = _whole_words(words, vocab.spec["model"]["vocab"], ids, ends)
    return WordTable(ids, ends, np.asarray(counts, np.int64))


def _whole_words(
    words: Sequence[str], pieces: Mapping[str, int], ids: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Replace the ids of every word that is an entry itself by that entry."""
    whole = np.fromiter((pieces.get(word, -1) for word in words), np.int64, len(words))
    found = whole >= 0
    kept = np.ones(len(ids), bool)
    starts = ends[:-1]
    inner = np.repeat(found, np.diff(ends))
    kept[inner] = False
    kept[starts[found & (np.diff(ends) > 0)]] = True
    ids = ids.copy()
    ids[starts[found]] = whole[found]
    lengths = np.where(found, 1, np.diff(ends))
    return ids[kept], np.concatenate([[0], np.cumsum(lengths)])


def never_merged(vocab: Vocab) -> np.ndarray:
    """bool (V,): ids no new merge may touch: byte pieces, special and unused ids.

    SentencePiece keeps line ends and digits apart while training, and the finished tokenizer does not show it: so in
    metaspace spelling they are barred where the vocabulary itself never joins them. In byte-level spelling the
    pre-tokeniser decides.
    """
    barrier = vocab.kinds != Kind.NORMAL
    newline, digit = joins(vocab)
    for i, token in enumerate(vocab.tokens):
        if token is None or barrier[i]:
            continue
        barrier[i] = (not newline and b"\n" in token) or (not digit and _has_digit(token))
    return barrier


def joins(vocab: Vocab) -> tuple[bool, bool]:
    """May a merge join a line end, or a digit, with something else? See `never_merged`."""
    newline = digit = vocab.family == "byte-level"
    for i in np.flatnonzero(vocab.kinds == Kind.NORMAL).tolist():
        token = vocab.tokens[i]
        newline = newline or (b"\n" in token and len(token) > 1)
        digit = digit or sum(48 <= byte < 58 for byte in token) > 1
    return newline, digit


def _has_digit(token: bytes) -> bool:
    return any(48 <= byte < 58 for byte in token)
