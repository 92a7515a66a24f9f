"""One pass over a text with one tokenizer: exact token counts by document, by token and by script.

A text is cut as the tokenizer's own pre-tokeniser cuts it and each distinct piece is encoded once; a document's tokens
are the sum over its pieces. Documents that hold the literal of an added token go through the library whole.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tokenry.core.hf_json import parts
from tokenry.core.splitting import spaced_words
from tokenry.core.vocab import Vocab
from tokenry.tokenization.pieces import Encoded, PieceTable, Sequences, sums

# Axes: D documents, V vocabulary ids, S sources, C distinct chunks between spaces, W distinct words, N in order.

_FLUSH_AT = 2_000_000
"""Pieces gathered before their sums are taken."""
_FLUSH_CHARACTERS = 32_000_000
_FORGET_AT = 2_000_000
"""Distinct words kept; beyond, the table starts anew."""
_BATCH = 1024
_ANCHOR = "\n"
"""Words are encoded behind a line break: there a leading space is an ordinary one, and no dummy space is added."""

_MOST_LOSSES = 10

SAME, NORMALISED, BROKEN = 0, 1, 2
"""What decoding the encoding of a document gives: the text; the text as its normaliser leaves it; something else."""


@dataclass(frozen=True, eq=False)
class Counts:
    """What was counted. Word columns are 0 and round trips `SAME` where these were not asked for.

    Attributes:
        vocab: the tokenizer.
        sources: (S,) names, in order of first appearance.
        source_D: int64, index into `sources`.
        bytes_D: int64, UTF-8 bytes of each document as it was read.
        characters_D: int64, code points.
        tokens_D: int64, tokens without bos or the like.
        words_D: int64, words by `core.splitting.words`.
        word_tokens_D: int64, tokens of those words, each encoded with the space before it.
        whole_words_D: int64, words that are one token.
        round_trip_D: int64, `SAME`, `NORMALISED` or `BROKEN`.
        whole_D: bool, documents that went through the library whole; they are missing from the two script tables.
        tokens_V: int64, how often each id occurs.
        script_bytes: bytes by script of the piece they stand in; "Common" for digits, punctuation and spaces.
        script_tokens: tokens by script of their piece.
        losses: the first `BROKEN` documents: position, source, text around the first difference, what comes back there.
    """

    vocab: Vocab
    sources: tuple[str, ...]
    source_D: np.ndarray
    bytes_D: np.ndarray
    characters_D: np.ndarray
    tokens_D: np.ndarray
    words_D: np.ndarray
    word_tokens_D: np.ndarray
    whole_words_D: np.ndarray
    round_trip_D: np.ndarray
    whole_D: np.ndarray
    tokens_V: np.ndarray
    script_bytes: dict[str, int]
    script_tokens: dict[str, int]
    losses: list[tuple[int, str, str, str]]

    @property
    def n_documents(self) -> int:
        """Number of documents."""
        return len(self.bytes_D)

    @property
    def n_tokens(self) -> int:
        """Tokens of the whole text."""
        return int(self.tokens_D.sum())

    @property
    def n_bytes(self) -> int:
        """UTF-8 bytes of the whole text."""
        return int(self.bytes_D.sum())


def count(vocab: Vocab, documents: Iterable[tuple[str, str]], *, words: bool = True, round_trip: bool = True) -> Counts:
    """Count the tokens of (text, source) pairs.

    Args:
        vocab: the tokenizer.
        documents: pairs of a text and the name of its source.
        words: count words and their tokens too.
        round_trip: decode every document again and compare.

    Raises:
        ValueError: if there is no document.
    """
    counter = DocumentCounter(vocab, words=words, round_trip=round_trip)
    for text, source in documents:
        counter.add(text, source)
    return counter.finish()


class DocumentCounter:
    """Counts documents one after the other; `finish` gives the `Counts`."""

    def __init__(self, vocab: Vocab, *, words: bool = True, round_trip: bool = True) -> None:
        self.vocab = vocab
        self._with_words, self._with_round_trip = words, round_trip
        self._pieces, self._words = PieceTable(vocab), _WordTable(vocab)
        self._added = AddedLiterals(vocab)
        self._lossless = _cuts_lossless(vocab)
        self._sources: dict[str, int] = {}
        self._columns: list[dict[str, np.ndarray]] = []
        self._texts: list[str] = []
        self._origins: list[int] = []
        self._whole: list[int] = []
        self._n_characters = 0
        self._losses: list[tuple[int, str, str, str]] = []

    def add(self, text: str, source: str = "") -> None:
        """Take in one document."""
        whole = self._added.may_be_in(text)
        if whole:
            self._whole.append(len(self._texts))
        self._pieces.add("" if whole else text)
        if self._with_words:
            self._words.add(text)
        self._texts.append(text)
        self._origins.append(self._sources.setdefault(source, len(self._sources)))
        self._n_characters += len(text)
        if len(self._pieces) >= _FLUSH_AT or self._n_characters >= _FLUSH_CHARACTERS:
            self._flush()

    def finish(self) -> Counts:
        """The counts of all documents taken in.

        Raises:
            ValueError: if there was none.
        """
        if self._texts:
            self._flush()
        if not self._columns:
            raise ValueError("there is no document to count; need at least one. Check the path and the text column.")
        columns = {f"{name}_D": np.concatenate([part[name] for part in self._columns]) for name in self._columns[0]}
        return Counts(
            vocab=self.vocab,
            sources=tuple(self._sources),
            tokens_V=self._pieces.tokens_V,
            script_bytes=dict(self._pieces.script_bytes.most_common()),
            script_tokens=dict(self._pieces.script_tokens),
            losses=self._losses,
            **columns,
        )

    def _flush(self) -> None:
        texts, encoded = self._texts, self._pieces.flush()
        bytes_D = np.array([len(text.encode("utf-8")) for text in texts], np.int64)
        tokens_D = encoded.tokens_D.copy()
        whole_ids = self._encode_whole(tokens_D)
        words_D, word_tokens_D, whole_words_D = self._words.flush(len(texts))
        self._columns.append(
            {
                "source": np.array(self._origins, np.int64),
                "bytes": bytes_D,
                "characters": np.array([len(text) for text in texts], np.int64),
                "tokens": tokens_D,
                "words": words_D,
                "word_tokens": word_tokens_D,
                "whole_words": whole_words_D,
                "round_trip": self._round_trips(encoded, bytes_D, whole_ids),
                "whole": np.isin(np.arange(len(texts)), self._whole),
            }
        )
        self._texts, self._origins, self._whole, self._n_characters = [], [], [], 0

    def _encode_whole(self, tokens_D: np.ndarray) -> dict[int, np.ndarray]:
        """Ids of the documents that go through the library whole, by position; their counts go into the totals."""
        ids = dict(zip(self._whole, self.vocab.encode([self._texts[d] for d in self._whole]), strict=True))
        for document, found in ids.items():
            tokens_D[document] = len(found)
            self._pieces.tokens_V += np.bincount(found, minlength=self.vocab.size)
        return ids

    def _round_trips(self, encoded: Encoded, bytes_D: np.ndarray, whole_ids: dict[int, np.ndarray]) -> np.ndarray:
        """`SAME`, `NORMALISED` or `BROKEN` for each document."""
        outcome_D = np.full(len(bytes_D), SAME, np.int64)
        if not self._with_round_trip:
            return outcome_D
        doubtful_D = np.ones(len(bytes_D), bool)
        normalizer = self.vocab.backend.normalizer
        if self._lossless:
            # Nothing was dropped or added, and bytes spelled one by one decode to themselves.
            doubtful_D = ~encoded.spelled_D | (encoded.bytes_D != bytes_D)
            if normalizer is not None:
                doubtful_D |= np.array([normalizer.normalize_str(text) != text for text in self._texts], bool)
            doubtful_D[self._whole] = True
        doubtful = np.flatnonzero(doubtful_D).tolist()
        for start in range(0, len(doubtful), _BATCH):
            some = doubtful[start : start + _BATCH]
            ids = [whole_ids[d] if d in whole_ids else encoded.ids(d) for d in some]
            decoded = self.vocab.backend.decode_batch([i.tolist() for i in ids], skip_special_tokens=False)
            for document, back in zip(some, decoded, strict=True):
                text = self._texts[document]
                if back != text:
                    same = normalizer is not None and back == self._normalised(text)
                    outcome_D[document] = NORMALISED if same else BROKEN
                    if not same and len(self._losses) < _MOST_LOSSES:
                        self._losses.append(self._loss(document, back))
        return outcome_D

    def _loss(self, document: int, back: str) -> tuple[int, str, str, str]:
        """Where and how a document differs from what comes back."""
        text, before = self._texts[document], sum(len(part["bytes"]) for part in self._columns)
        pairs = enumerate(zip(text, back, strict=False))
        at = next((i for i, (a, b) in pairs if a != b), min(len(text), len(back)))
        source = list(self._sources)[self._origins[document]]
        return before + document, source, *(t[max(0, at - 20) : at + 20] for t in (text, back))

    def _normalised(self, text: str) -> str:
        """The text as its normaliser leaves it, spaces written as spaces and without a dummy one in front."""
        normalised = self.vocab.backend.normalizer.normalize_str(text)
        if self.vocab.family in ("metaspace", "unigram"):
            normalised = normalised.replace("▁", " ").removeprefix(" ")
        return normalised


class AddedLiterals:
    """Finds texts in which the library would match an added token. Never misses one; may name a text too many."""

    def __init__(self, vocab: Vocab) -> None:
        tokens = vocab.spec["added_tokens"]
        self._normalise = vocab.backend.normalizer.normalize_str if vocab.backend.normalizer is not None else None
        self._raw = _Literals([token["content"] for token in tokens])
        normalised = [token["content"] for token in tokens if token.get("normalized") and self._normalise]
        self._normalised = _Literals([self._normalise(content) for content in normalised])

    def may_be_in(self, text: str) -> bool:
        """Whether the literal of an added token stands in `text`."""
        if self._raw.found_in(text):
            return True
        return bool(self._normalised) and self._normalised.found_in(self._normalise(text))


class _Literals:
    """A set of strings to look for; two letters of each are looked for first, which rules most texts out at once."""

    def __init__(self, contents: list[str]) -> None:
        contents = sorted({content for content in contents if content})
        self._heads = sorted({content[:2] for content in contents})
        self._pattern = re.compile("|".join(map(re.escape, contents))) if contents else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def found_in(self, text: str) -> bool:
        return any(head in text for head in self._heads) and self._pattern.search(text) is not None


class _WordTable:
    """Words of documents, found and encoded once for each distinct chunk between spaces."""

    def __init__(self, vocab: Vocab) -> None:
        self._vocab = vocab
        self._start_anew()

    def _start_anew(self) -> None:
        self._chunks, self._forms = Sequences(), Sequences()
        self._lengths_W = np.zeros(0, np.int64)
        self._totals_C3 = np.zeros((0, 3), np.int64)

    def add(self, text: str) -> None:
        """Take in one document. No word holds white space, so words are found chunk by chunk."""
        keys: list[str] = []
        for line in text.split("\n"):
            first, *others = line.split(" ")
            # The line break in front keeps apart a chunk that no space precedes.
            keys.append("\n" + first)
            keys += others
        self._chunks.add(keys)

    def flush(self, n_documents: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Words, tokens of words and one-token words of each document since the last flush, each (D,)."""
        self._learn(self._chunks.keys_from(len(self._totals_C3)))
        order_N, bounds = self._chunks.take()
        if len(bounds) == 1:
            return (np.zeros(n_documents, np.int64),) * 3
        n_words, n_tokens, n_whole = (sums(column_C[order_N], bounds) for column_C in self._totals_C3.T)
        if len(self._totals_C3) > _FORGET_AT:
            self._start_anew()
        return n_words, n_tokens, n_whole

    def _learn(self, chunks: list[str]) -> None:
        for chunk in chunks:
            self._forms.add(spaced_words(chunk if chunk.startswith("\n") else " " + chunk))
        new = encode_words(self._vocab, self._forms.keys_from(len(self._lengths_W)))
        self._lengths_W = np.concatenate([self._lengths_W, np.array(list(map(len, new)), np.int64)])
        order_N, bounds = self._forms.take()
        lengths_N = self._lengths_W[order_N]
        columns = [np.diff(bounds), sums(lengths_N, bounds), sums(lengths_N == 1, bounds)]
        self._totals_C3 = np.concatenate([self._totals_C3, np.stack(columns, axis=1)])


def encode_words(vocab: Vocab, words: list[str]) -> list[list[int]]:
    """Ids of words as they stand inside a text: " dog" behind a space, "dog" behind anything else.

    Encoded alone, a word would get the dummy space of a sentencepiece tokenizer, or lose its own.
    """
    encode = vocab.backend.encode_batch_fast
    anchor = encode([_ANCHOR], add_special_tokens=False)[0].ids
    n, found = len(anchor), []
    for start in range(0, len(words), _BATCH):
        batch = encode([_ANCHOR + word for word in words[start : start + _BATCH]], add_special_tokens=False)
        found += [encoding.ids for encoding in batch]
    for i, ids in enumerate(found):
        joined = ids[:n] != anchor
        found[i] = encode([words[i]], add_special_tokens=False)[0].ids if joined else ids[n:]
    return found


def _cuts_lossless(vocab: Vocab) -> bool:
    """Whether pieces in the byte-level alphabet, laid end to end, are the normalised text, and decode so."""
    decoder = [part["type"] for part in parts(vocab.spec.get("decoder"))]
    if vocab.family != "byte-level" or decoder != ["ByteLevel"]:
        return False
    for part in parts(vocab.spec.get("pre_tokenizer")):
        dropping = part.get("behavior") == "Removed" or part.get("add_prefix_space", False)
        if dropping or part["type"] not in ("Split", "ByteLevel", "Digits"):
            return False
    return True
