"""A batch of texts cut once into lines and words over flat arrays: what all families of signals share.

Everything is made when it is first asked for, so a family that counts lines pays for lines alone.

Papers: RedPajama: an Open Dataset for Training Large Language Models (arXiv 2411.12372), for its raw and normalised
words and its lines.
"""

import functools
import string
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tokenry.corpora import repeat_kernels, text_kernels, word_kernels
from tokenry.corpora.characters import classes, folds

__all__ = ["Prepared", "Spans", "Words", "hashed", "is_among", "share"]

# Axes: D documents, S spans (lines or words).

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SLOTS = {"#": 1, "…": 2, "{": 3, "}": 4, "\n": 5, "@": 6}


@dataclass(frozen=True)
class Spans:
    """Pieces of all texts, in order.

    Attributes:
        begins: int64 (S,), first character, counted over the whole batch.
        ends: int64 (S,), the one after the last.
        offsets: int64 (D + 1,), the spans of document d are `offsets[d]` to `offsets[d + 1]`.
    """

    begins: np.ndarray
    ends: np.ndarray
    offsets: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Characters of each."""
        return self.ends - self.begins

    @property
    def counts(self) -> np.ndarray:
        """Spans of each document."""
        return np.diff(self.offsets)

    def sums(self, values_S: np.ndarray) -> np.ndarray:
        """Sum of `values_S` (whole numbers or booleans) over each document."""
        totals = np.zeros(len(values_S) + 1, np.int64)
        np.cumsum(values_S, out=totals[1:])
        return totals[self.offsets[1:]] - totals[self.offsets[:-1]]


@dataclass(frozen=True)
class Words(Spans):
    """Words with what is known of each.

    Attributes:
        hashes: uint64 (S,), equal for equal words.
        sizes: int64 (S,), characters of the word (a normalised word may be longer than its span).
        numeric: int64 (S,), characters that are numbers; only of normalised words.
        tags: uint8 (S,), `word_kernels.ENDS_LOREM` and `BEGINS_IPSUM`; only of normalised words.
    """

    hashes: np.ndarray
    sizes: np.ndarray
    numeric: np.ndarray | None = None
    tags: np.ndarray | None = None

    @functools.cached_property
    def firsts(self) -> tuple[np.ndarray, np.ndarray]:
        """For each word the first word of its text that equals it, and how often that one stands there."""
        return repeat_kernels.first_places(self.hashes, self.offsets)

    @functools.cached_property
    def repeats(self) -> np.ndarray:
        """What repeats among runs of 2 to 10 words: (D, 11, 5), see `repeat_kernels.run_repeats`."""
        firsts, counts = self.firsts
        return repeat_kernels.run_repeats(firsts, counts, self.sizes, self.offsets, 10)


def share(part: np.ndarray, whole: np.ndarray, *, empty: float = np.nan) -> np.ndarray:
    """part / whole, `empty` where whole is 0."""
    whole = np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(len(whole), empty), where=whole != 0)


def is_among(hashes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which hashes are among the sorted `wanted`."""
    if not len(wanted):
        return np.zeros(len(hashes), bool)
    places = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
    return wanted[places] == hashes


def hashed(texts: list[str]) -> np.ndarray:
    """The hashes of whole strings, as words have them, sorted."""
    prepared = Prepared(pa.array(texts, pa.string()))
    return np.sort(text_kernels.span_hashes(prepared.codes, prepared.starts[:-1], prepared.starts[1:]))


class Prepared:
    """A batch of texts.

    Args:
        texts: a null counts as the empty text; see `given`.

    Raises:
        ValueError: a text is no valid UTF-8.
    """

    def __init__(self, texts: pa.StringArray) -> None:
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid as error:
            raise ValueError(f"a text is no valid UTF-8 ({error}). Convert it first, or leave it out.") from error
        self.texts = texts
        self.given = np.asarray(texts.is_valid())
        if texts.null_count:
            texts = texts.fill_null("")
        offsets = np.zeros(1, np.int64)  # an array without texts may have no buffers
        if len(texts):
            offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset :][: len(texts) + 1].astype(np.int64)
        data = texts.buffers()[2]
        self.n_bytes = np.diff(offsets)
        self.codes, self.starts = text_kernels.decode(np.frombuffer(b"" if data is None else data, np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Characters of each text."""
        return np.diff(self.starts)

    @functools.cached_property
    def strings(self) -> list[str]:
        """The texts as Python strings, nulls as empty ones."""
        return [text or "" for text in self.texts.to_pylist()]

    @functools.cached_property
    def _slots(self) -> np.ndarray:
        slots = np.zeros(max(map(ord, _SLOTS)) + 1, np.uint8)
        for character, slot in _SLOTS.items():
            slots[ord(character)] = slot
        return text_kernels.slot_counts(self.codes, self.starts, slots, len(_SLOTS) + 1)

    def count(self, character: str) -> np.ndarray:
        """How often one of the characters `# … { } @` or a newline stands in each text."""
        return self._slots[:, _SLOTS[character]]

    @functools.cached_property
    def dots(self) -> np.ndarray:
        """How often "..." stands in each text."""
        return text_kernels.dot_triples(self.codes, self.starts)

    @functools.cached_property
    def sentences(self) -> np.ndarray:
        r"""Matches of `\b[^.!?]+[.!?]*` in each text."""
        return text_kernels.sentence_counts(self.codes, self.starts, classes().bits)

    @functools.cached_property
    def whole(self) -> Spans:
        """One span for each text."""
        return Spans(self.starts[:-1], self.starts[1:], np.arange(len(self) + 1))

    @functools.cached_property
    def lines(self) -> Spans:
        """Lines with their newline (RedPajama, dolma's paragraphs)."""
        return Spans(*text_kernels.kept_lines(self.codes, self.starts))

    @functools.cached_property
    def split_lines(self) -> Spans:
        """Lines as `text.split("\\n")` gives them."""
        return self._split(1, each=True)

    @functools.cached_property
    def full_lines(self) -> Spans:
        """Lines as `re.split("\\n+", text)` gives them."""
        return self._split(1)

    @functools.cached_property
    def universal_lines(self) -> Spans:
        """Lines as `text.splitlines()` gives them."""
        return Spans(*text_kernels.universal_lines(self.codes, self.starts))

    @functools.cached_property
    def paragraphs(self) -> Spans:
        """Paragraphs as `re.split("\\n{2,}", text.strip())` gives them."""
        bounds = self.strip(self.whole)
        return self._split(2, lows=bounds.begins, highs=bounds.ends)

    def _split(
        self, least: int, *, each: bool = False, lows: np.ndarray | None = None, highs: np.ndarray | None = None
    ) -> Spans:
        lows = self.starts[:-1] if lows is None else lows
        highs = self.starts[1:] if highs is None else highs
        return Spans(*text_kernels.split_at_newlines(self.codes, lows, highs, least, each))

    def strip(self, spans: Spans) -> Spans:
        """The spans without white space at their ends."""
        lows, highs = text_kernels.stripped(self.codes, spans.begins, spans.ends, classes().bits)
        return Spans(lows, highs, spans.offsets)

    def hashes(self, spans: Spans) -> np.ndarray:
        """Hash of each span."""
        return text_kernels.span_hashes(self.codes, spans.begins, spans.ends)

    def bits(self, spans: Spans) -> tuple[np.ndarray, np.ndarray]:
        """The bits (see `characters`) that some character of each span has, and those that all have."""
        return text_kernels.span_bits(self.codes, spans.begins, spans.ends, classes().bits)

    def counted(self, spans: Spans, bits: int) -> np.ndarray:
        """Characters of each span that have one of these bits."""
        return text_kernels.bit_counts(self.codes, spans.begins, spans.ends, classes().bits, np.uint16(bits))

    def ends_with(self, spans: Spans, *endings: str) -> np.ndarray:
        """Which spans end with one of these strings."""
        made = np.zeros(len(spans.begins), bool)
        for ending in endings:
            fits = spans.lengths >= len(ending)
            for back, character in enumerate(reversed(ending), 1):
                fits &= self._at(spans.ends - back) == ord(character)
            made |= fits
        return made

    def first(self, spans: Spans) -> np.ndarray:
        """First character of each span, 0 for an empty one."""
        return np.where(spans.lengths > 0, self._at(spans.begins), 0)

    def last(self, spans: Spans) -> np.ndarray:
        """Last character of each span, 0 for an empty one."""
        return np.where(spans.lengths > 0, self._at(spans.ends - 1), 0)

    def shares(self, spans: Spans, chosen: np.ndarray) -> np.ndarray:
        """Share of each document's spans that are chosen, nan without spans."""
        return share(spans.sums(chosen), spans.counts)

    def _at(self, places: np.ndarray) -> np.ndarray:
        if not len(self.codes):
            return np.zeros(len(places), np.uint32)
        return self.codes[np.clip(places, 0, len(self.codes) - 1)]

    @functools.cached_property
    def words(self) -> Words:
        """Words as `text.split()` gives them (dolma, datatrove with white space)."""
        return self._tokens(classes().blanks)

    @functools.cached_property
    def tokens(self) -> Words:
        """Runs of word characters and runs of others, as NLTK's WordPunct gives them (RedPajama's raw words)."""
        return self._tokens(classes().kinds)

    def _tokens(self, kinds: np.ndarray) -> Words:
        begins, ends, offsets = text_kernels.token_spans(self.codes, self.starts, kinds)
        return Words(
            begins, ends, offsets, hashes=text_kernels.span_hashes(self.codes, begins, ends), sizes=ends - begins
        )

    @functools.cached_property
    def folded(self) -> Words:
        """Normalised words of RedPajama: no ASCII punctuation, lower case, white space cut, decomposed (NFD)."""
        table = folds()
        hashes, sizes, numeric, tags, begins, ends, offsets = word_kernels.folded_words(
            self._with_final_sigmas(), self.starts, classes().bits, table.starts, table.values, table.order
        )
        return Words(begins, ends, offsets, hashes=hashes, sizes=sizes, numeric=numeric, tags=tags)

    def _with_final_sigmas(self) -> np.ndarray:
        """The characters with each capital sigma in the small form that its neighbours give it.

        That form depends on what stands around it once the punctuation is gone, so Python lowers such texts.
        """
        capital = word_kernels.SIGMAS[0]
        places = np.flatnonzero(self.codes == capital)
        if not len(places):
            return self.codes
        codes = self.codes.copy()
        for text in np.unique(np.searchsorted(self.starts, places, side="right") - 1):
            own = codes[self.starts[text] : self.starts[text + 1]]
            lowered = self.strings[text].translate(_NO_PUNCTUATION).lower()
            own[np.isin(own, word_kernels.SIGMAS)] = [ord(one) for one in lowered if one in "σς"]
        return codes

    def within(self, words: Words, spans: Spans) -> Spans:
        """The words of each span: a `Spans` whose documents are `spans` (which must follow without a gap)."""
        offsets = np.append(np.searchsorted(words.begins, spans.begins), len(words.begins))
        return Spans(words.begins, words.ends, offsets)
