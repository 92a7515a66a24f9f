"""Cut a batch with the model's own tokenizer and mark the places where no two tokens may be joined.

Paper: Retrofitting Large Language Models with Dynamic Tokenization (arXiv 2411.18553), boundaries of its merges.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tokenry.core.vocab import Vocab

BOUNDARIES = ("pretokens", "word", "word_hyphen", "sentence")
_PUNCTUATION = frozenset("""!"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~""")


@dataclass(frozen=True, eq=False)
class Segmented:
    """Texts as the model's own tokenizer cuts them, with the places where nothing may be joined.

    Attributes:
        ids: int64 (T,) of each text.
        breaks: bool (T,), True where a token may not be joined with the one before it; always True at the first.
        types: int64 (T,), token types (0 and 1 for the two texts of a pair).
        words: int64 (T,), number of the pre-token (or of the given word) a token belongs to; -1 for special tokens.
    """

    ids: list[np.ndarray]
    breaks: list[np.ndarray]
    types: list[np.ndarray]
    words: list[np.ndarray]


def may_join(left: bytes, right: bytes, *, boundary: str = "pretokens") -> bool:
    """Whether two neighbouring pieces may become one, as far as their bytes decide it.

    The joined bytes must be whole characters, unless the seam itself lies inside a character. In the modes other than
    "pretokens" (whose cuts are places of the text, not properties of a pair) white space joins only into runs of white
    space with at most one line end, or stands once in front of a word.

    Args:
        left, right: bytes of the pieces.
        boundary: "pretokens" or "sentence" add nothing; "word" keeps white space out; "word_hyphen" also joins no
            punctuation to a word, the hyphen excepted.
    """
    if right[:1] and right[0] & 0xC0 == 0x80:
        return True
    try:
        text = (left + right).decode()
    except UnicodeDecodeError:
        return False
    if boundary in ("pretokens", "sentence"):
        return True
    if any(map(str.isspace, text[1:])):
        return text.isspace() and text.count("\n") < 2
    if boundary == "word_hyphen" and not _is_punctuated(left) and _is_punctuated(right):
        return right == b"-"
    return True


def segment(
    vocab: Vocab,
    texts: Sequence[str | tuple[str, str]],
    *,
    boundary: str = "pretokens",
    specials: bool = True,
    first: int | None = None,
) -> Segmented:
    """Cut texts with the model's own tokenizer and mark where nothing may be joined.

    Args:
        vocab: the tokenizer.
        texts: texts, or pairs of texts for tokenizers that have a form for pairs.
        boundary: what bounds a piece: "pretokens" (one piece of the tokenizer's own pre-tokeniser), "word" (white
            space), "word_hyphen" (white space and punctuation, but hyphens join), "sentence".
        specials: add the special tokens of the tokenizer ([CLS] and [SEP], or bos).
        first: an id to put in front of every text.

    Raises:
        ValueError: an unknown boundary, or one string instead of a list.
    """
    if boundary not in BOUNDARIES:
        from tokenry.core.choosing import suggest

        raise ValueError(
            f"boundary {boundary!r} is not known.{suggest(boundary, BOUNDARIES)} Known: {', '.join(BOUNDARIES)}."
        )
    if isinstance(texts, str):
        raise ValueError("segment takes a list of texts, got one string; write [text].")
    head = [] if first is None else [first]
    cut = _cutter(vocab, boundary)
    out = Segmented([], [], [], [])
    for encoding in vocab.backend.encode_batch(list(texts), add_special_tokens=specials):
        ids = np.array([*head, *encoding.ids], np.int64)
        words = np.array([*(-1 for _ in head), *(-1 if w is None else w for w in encoding.word_ids)], np.int64)
        types = np.array([*(0 for _ in head), *encoding.type_ids], np.int64)
        _append(out, vocab, (ids, words, types), cut)
    return out


def segment_words(vocab: Vocab, sentences: Sequence[Sequence[str]], *, specials: bool = True) -> Segmented:
    """Cut sentences that are given as words (token classification): no piece crosses the border of a word.

    Each word stands after a space, as it would inside a text.

    Args:
        vocab: the tokenizer.
        sentences: lists of words; empty words are refused.
        specials: put the tokenizer's own special tokens around each sentence.

    Raises:
        ValueError: an empty word.
    """
    out = Segmented([], [], [], [])
    front, back = _around(vocab) if specials else ([], [])
    for row, sentence in enumerate(sentences):
        if not all(sentence):
            raise ValueError(f"sentence {row} holds an empty word; need words with text. Leave the empty ones out.")
        cut = [vocab.decompose(f" {word}".encode()) or vocab.encode([word])[0].tolist() for word in sentence]
        ids = np.array([*front, *(i for word in cut for i in word), *back], np.int64)
        inside = [number for number, word in enumerate(cut) for _ in word]
        words = np.array([*(-1 for _ in front), *inside, *(-1 for _ in back)], np.int64)
        _append(out, vocab, (ids, words, np.zeros(len(ids), np.int64)), lambda ids, words: words != _shifted(words))
    return out


def _append(out: Segmented, vocab: Vocab, parts: tuple[np.ndarray, ...], cut: Callable) -> None:
    ids, words, types = parts
    breaks = np.asarray(cut(ids, words)) | (types != _shifted(types))
    # Special tokens and unknown ones have no bytes: nothing joins them, from either side.
    alone = np.array([vocab.tokens[i] is None for i in ids.tolist()], bool) | (words < 0)
    breaks |= alone | _left_of(alone)
    breaks[:1] = True
    out.ids.append(ids)
    out.breaks.append(breaks)
    out.types.append(types)
    out.words.append(words)


@lru_cache(maxsize=8)
def _cutter(vocab: Vocab, boundary: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The function that marks the breaks of one text from its ids and the numbers of its pre-tokens."""
    if boundary == "sentence":
        return lambda ids, words: _sentence_starts(vocab, ids)
    if boundary != "pretokens":
        return lambda ids, words: np.zeros(len(ids), bool)
    from tokenry.core.cutters import Cutter

    if not Cutter(vocab.spec).cuts_at_spaces:
        return lambda ids, words: words != _shifted(words)
    # SentencePiece has no pre-tokeniser: a run of spaces after something else begins a word.
    opens = np.array([bool(token) and token.startswith(b" ") for token in vocab.tokens], bool)
    closes = np.array([bool(token) and token.endswith(b" ") for token in vocab.tokens], bool)
    return lambda ids, words: (words != _shifted(words)) | (opens[ids] & ~_left_of(closes[ids]))


def _sentence_starts(vocab: Vocab, ids: np.ndarray) -> np.ndarray:
    """True at the first token that begins at or behind the start of a sentence."""
    from tokenry.core.splitting import sentences

    sizes = vocab.byte_lengths[ids]
    begins = np.cumsum(sizes) - sizes
    text = vocab.decode_bytes(ids).decode("utf-8", "surrogateescape")
    ends = np.cumsum([len(s.encode("utf-8", "surrogateescape")) for s in sentences(text)])[:-1]
    starts = np.zeros(len(ids), bool)
    found = np.searchsorted(begins, ends)
    starts[found[found < len(ids)]] = True
    return starts


def _around(vocab: Vocab) -> tuple[list[int], list[int]]:
    """What the tokenizer puts in front of a text and behind it."""
    probe = vocab.backend.encode("a", add_special_tokens=True)
    inside = [place for place, word in enumerate(probe.word_ids) if word is not None]
    if not inside:
        return probe.ids, []
    return probe.ids[: inside[0]], probe.ids[inside[-1] + 1 :]


def _shifted(values: np.ndarray) -> np.ndarray:
    """Each value's left neighbour; -2 before the first."""
    return np.append(-2, values[:-1])[: len(values)]


def _left_of(flags: np.ndarray) -> np.ndarray:
    """Each flag's left neighbour; False before the first."""
    return np.append(False, flags[:-1])[: len(flags)]


def _is_punctuated(data: bytes) -> bool:
    text = data.decode("utf-8", "replace")
    return any(c in _PUNCTUATION for c in text) and not any(map(str.isdigit, text))
