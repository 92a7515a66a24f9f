"""One pass over a text with one tokenizer: exact token counts by document, by token and by script.

A text is cut as the tokenizer's own pre-tokeniser cuts it and each distinct piece is encoded once; a document's tokens
are the sum over its pieces. Documents that hold the literal of an added token go through the library whole.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tokenry.core.hf_json import parts
from tokenry.core.vocab import Vocab
from tokenry.tokenization.pieces import Encoded, PieceTable
from tokenry.tokenization.tallies import Reservoir, SourceTally
from tokenry.tokenization.word_counting import WordTable, encode_words

__all__ = ["BROKEN", "NORMALISED", "SAME", "AddedLiterals", "Counts", "DocumentCounter", "count", "encode_words"]

# Axes: D documents, V vocabulary ids, S sources.

_FLUSH_AT = 2_000_000
"""Pieces gathered before their sums are taken."""
_FLUSH_CHARACTERS = 32_000_000
_BATCH = 1024

_MOST_LOSSES = 10
_LONG_LITERAL = 1_000
_FEW = 64
"""Texts that are looked through one by one."""

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
        by_source: tokens and words of each source, where asked for; None otherwise.
        sample: (source, text) of up to 1,000 documents drawn at random, each cut at 4,000 characters.
        reference: the counts of the tokenizer to compare with on the same documents; None without one.
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
    by_source: SourceTally | None = None
    sample: tuple[tuple[str, str], ...] = ()
    reference: "Counts | None" = None

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


def count(
    vocab: Vocab,
    documents: Iterable[tuple[str, str]],
    *,
    words: bool = True,
    round_trip: bool = True,
    by_source: bool = False,
) -> Counts:
    """Count the tokens of (text, source) pairs.

    Args:
        vocab: the tokenizer.
        documents: pairs of a text and the name of its source.
        words: count words and their tokens too.
        round_trip: decode every document again and compare.
        by_source: count tokens and words of each source apart too.

    Raises:
        ValueError: if there is no document.
    """
    counter = DocumentCounter(vocab, words=words, round_trip=round_trip, by_source=by_source)
    for text, source in documents:
        counter.add(text, source)
    return counter.finish()


class DocumentCounter:
    """Counts documents one after the other; `finish` gives the `Counts`."""

    def __init__(self, vocab: Vocab, *, words: bool = True, round_trip: bool = True, by_source: bool = False) -> None:
        self.vocab = vocab
        self._with_words, self._with_round_trip = words or by_source, round_trip
        self._by_source = SourceTally() if by_source else None
        self._pieces, self._words = PieceTable(vocab, self._by_source), WordTable(vocab, self._by_source)
        self._sample = Reservoir()
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
        self._sample.add(text, source)
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
            by_source=self._by_source,
            sample=tuple(self._sample.kept),
            **columns,
        )

    def _flush(self) -> None:
        texts, source_D = self._texts, np.array(self._origins, np.int64)
        encoded = self._pieces.flush(source_D)
        bytes_D = np.array([len(text.encode("utf-8")) for text in texts], np.int64)
        tokens_D = encoded.tokens_D.copy()
        whole_ids = self._encode_whole(tokens_D)
        words_D, word_tokens_D, whole_words_D = self._words.flush(source_D)
        self._columns.append(
            {
                "source": source_D,
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
            if self._by_source is not None:
                self._by_source.add_tokens(np.full(len(found), self._origins[document]), found.astype(np.int64))
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

    def without(self, texts: Sequence[str]) -> list[str]:
        """The texts of which this is not so, in order."""
        if self._normalised:  # a normaliser may treat the ends of a text apart
            return [text for text in texts if not self.may_be_in(text)]
        if len(texts) < _FEW:
            return [text for text in texts if not self._raw.found_in(text)]
        if not self._raw.found_in("\0".join(texts)):
            return list(texts)
        middle = len(texts) // 2
        return self.without(texts[:middle]) + self.without(texts[middle:])


class _Literals:
    """A set of strings to look for; two letters of each are looked for first, which rules most texts out at once."""

    def __init__(self, contents: list[str]) -> None:
        contents = sorted({content for content in contents if content})
        # Compiling a pattern takes microseconds a character, and a hostile literal may have millions.
        self._long = [content for content in contents if len(content) > _LONG_LITERAL]
        contents = [content for content in contents if len(content) <= _LONG_LITERAL]
        self._heads = sorted({content[:2] for content in contents})
        self._pattern = re.compile("|".join(map(re.escape, contents))) if contents else None

    def __bool__(self) -> bool:
        return self._pattern is not None or bool(self._long)

    def found_in(self, text: str) -> bool:
        if self._long and any(content in text for content in self._long):
            return True
        found = self._pattern is not None and any(head in text for head in self._heads)
        return found and self._pattern.search(text) is not None


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
