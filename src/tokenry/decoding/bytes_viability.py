"""Which tokens may come next if the whole text is to be one that the tokenizer itself would write (canonical).

A token sequence is viable when it begins the encoding of some text. Inside a pre-token the pairwise theorem decides,
across pre-tokens the cuts do, and where a pattern looks ahead the possible cuts are all tried (`bytes_cuts`). A text
may so have several viable left encodings; nearly always there is one.

Paper: Exact Byte-Level Probabilities from Tokenized Language Models (arXiv 2410.09303), section 3 and appendix.
"""

# Axes: V ids.

from functools import lru_cache

import numpy as np

from tokenry.core.alphabets import METASPACE, to_byte_level
from tokenry.core.vocab import Kind, Vocab
from tokenry.decoding.bytes_cuts import Cuts, readable
from tokenry.decoding.bytes_pairs import MergePairs, UnigramPairs

LONGEST_TAIL = 96
"""Bytes of a text after which its beginning is dropped at a cut."""

Tail = tuple[int, ...]
"""The last tokens of a context, from a place where the tokenizer cuts whatever follows."""


class Viability:
    """The canonical continuations of one tokenizer.

    Args:
        vocab: byte-level or metaspace BPE, or Unigram.

    Raises:
        ValueError: WordPiece and others, whose encoding cannot be turned back.
    """

    def __init__(self, vocab: Vocab) -> None:
        check_family(vocab)
        self.vocab = vocab
        self.unigram = vocab.family == "unigram"
        self.metaspace = vocab.family != "byte-level" and vocab._alphabet == "metaspace"
        self.pairs = UnigramPairs(vocab) if self.unigram else MergePairs(vocab)
        ordinary = [
            token if kind < Kind.SPECIAL else None for token, kind in zip(vocab.tokens, vocab.kinds, strict=True)
        ]
        self.cuts = Cuts(vocab.backend.pre_tokenizer, ordinary, metaspace=self.metaspace)
        pieces = set(vocab.spec["model"]["vocab"]) if not self.unigram else {p for p, _ in vocab.spec["model"]["vocab"]}
        self._characters = {piece for piece in pieces if len(piece) == 1}
        added = [token["id"] for token in vocab.spec["added_tokens"] if vocab.kinds[token["id"]] < Kind.SPECIAL]
        self._atoms = np.array([i for i in added if vocab.literal(i) not in pieces], np.int64)
        self._bytes_V = vocab.kinds == Kind.BYTE
        self._byte_of = {i: vocab.tokens[i][0] for i in np.flatnonzero(self._bytes_V).tolist()}
        whole_V = self.pairs.whole | self._bytes_V
        self._first_V = whole_V | (vocab.kinds == Kind.NORMAL) if vocab.spec["model"].get("ignore_merges") else whole_V
        self._piece_ids = lru_cache(maxsize=1 << 15)(self._encode_piece)
        self.mask = lru_cache(maxsize=max(64, (1 << 26) // vocab.size))(self._mask)

    def step(self, tail: Tail, token: int) -> Tail:
        """The tail after one more token."""
        if len(self._atoms) and token in self._atoms:
            return ()
        tail = (*tail, token)
        if self.cuts.pre_tokenizer is None and not self.unigram:
            return tail[-4:] if token in self._byte_of else tail[-1:]
        return self._trim(tail)

    def _trim(self, tail: Tail) -> Tail:
        """Drop what stands before the last " x" that follows a non-space, where a cut is certain."""
        data = b"".join(self.vocab.tokens[t] for t in tail)
        place = data.rfind(b" ", 1, len(data) - 1)
        while place > 0 and (data[place - 1 : place].isspace() or data[place + 1 : place + 2].isspace()):
            place = data.rfind(b" ", 1, place)
        if place > 0 and self._certain(data, place):
            return self._from(tail, place) or tail
        if len(data) > LONGEST_TAIL:
            known = readable(data)
            text = known[0] if known else ""
            for cut in self.cuts.cuts(text):
                place = len(text[:cut].encode())
                if len(data) - place <= LONGEST_TAIL // 2 and len(data) - place > 16:
                    return self._from(tail, place) or tail
        return tail

    def _certain(self, data: bytes, place: int) -> bool:
        """Whether this tokenizer does cut here; without a pre-tokenizer no entry crosses such a place."""
        if self.cuts.pre_tokenizer is None:
            return True
        known = readable(data)
        return known is not None and len(data[:place].decode("utf-8", "replace")) in self.cuts.cuts(known[0])

    def _from(self, tail: Tail, place: int) -> Tail | None:
        """The tokens from a byte on; None when no token begins there."""
        for number, token in enumerate(tail):
            if place <= 0:
                return tail[number:] if place == 0 else None
            place -= len(self.vocab.tokens[token])
        return None

    def _mask(self, tail: Tail) -> tuple[np.ndarray, bool]:
        """bool (V,) of the ordinary tokens that may follow, and whether the text may end here."""
        vocab, row_V = self.vocab, np.zeros(self.vocab.size, bool)
        data = b"".join(vocab.tokens[t] for t in tail)
        known = readable(data)
        if known is None:
            return row_V, False
        text, unfinished = known
        ends = not unfinished and self._pieces_fit(tail, text, (*self.cuts.cuts(text), len(text)))
        outcomes, groups = self.cuts.outcomes(text, unfinished)
        for outcome in outcomes:
            if not self._pieces_fit(tail, text, outcome.cuts):
                continue
            fits_V = outcome.groups_G[groups.of_V] & (groups.of_V >= 0)
            start = len(text[: outcome.cuts[-1]].encode()) if outcome.cuts else 0
            if start == len(data):
                row_V |= fits_V & self._first_V
            else:
                row_V |= fits_V & self._inside(self._from(tail, start) or ())
        if self._bytes_V.any():
            row_V = self._with_byte_pieces(row_V, tail, unfinished)
        if ends and len(self._atoms):
            row_V[self._atoms] = True
        return row_V, ends

    def _pieces_fit(self, tail: Tail, text: str, cuts: tuple[int, ...]) -> bool:
        """Whether the tokens between cuts are the encodings of those pre-tokens, and the rest is stable."""
        begin = 0
        rest = tail
        for cut in cuts:
            ids = self._piece_ids(text[begin:cut]) if cut > begin else ()
            if rest[: len(ids)] != ids:
                return False
            rest, begin = rest[len(ids) :], cut
        return self._stable(rest)

    def _stable(self, tokens: Tail) -> bool:
        if not self.unigram or not any(t in self._byte_of for t in tokens):
            return not tokens or self.pairs.all_stable(tokens)
        runs: list[list[int]] = [[]]
        for token in tokens:
            runs = [*runs, []] if token in self._byte_of else [*runs[:-1], [*runs[-1], token]]
        return all(not run or self.pairs.all_stable(tuple(run)) for run in runs)

    def _inside(self, tokens: Tail) -> np.ndarray:
        """bool (V,): what may go on a pre-token that is written so far."""
        if not tokens:
            return self._first_V
        if not self.unigram:
            return self.pairs.row(tokens[-1])
        cut = next((i for i in range(len(tokens), 0, -1) if tokens[i - 1] in self._byte_of), 0)
        return self.pairs.after(tokens[cut:]) | self._bytes_V if tokens[cut:] else self._first_V

    def _with_byte_pieces(self, row_V: np.ndarray, tail: Tail, unfinished: bytes) -> np.ndarray:
        """Byte pieces spell only characters that are no entry, and such a character is spelt to its end."""
        row_V = row_V.copy()
        if unfinished:
            row_V &= self._bytes_V
        for i, byte in self._byte_of.items():
            if row_V[i] and not self._missing(unfinished + bytes((byte,))):
                row_V[i] = False
        return row_V

    def _missing(self, data: bytes) -> bool:
        """Whether these bytes begin, or are, a character that is no entry."""
        known = readable(data)
        if known is None:
            return False
        text, rest = known
        if rest:
            return len(data) > 1 or data[0] >= 0xE0 or any(chr(c) not in self._characters for c in _two_bytes(data[0]))
        return text.replace(" ", METASPACE) not in self._characters

    def _encode_piece(self, piece: str) -> tuple[int, ...]:
        """Ids of one pre-token by the model itself."""
        shown = piece.replace(" ", METASPACE) if self.metaspace else piece
        if self.vocab._alphabet == "byte-level":
            shown = to_byte_level(piece.encode())
        return tuple(token.id for token in self.vocab.backend.model.tokenize(shown))


def check_family(vocab: Vocab) -> None:
    """Refuse a tokenizer whose encoding cannot be turned back into bytes.

    Raises:
        ValueError: WordPiece, word-level, CLIP-like suffixes.
    """
    model = vocab.spec["model"]
    odd = model.get("end_of_word_suffix") or model.get("continuing_subword_prefix")
    if vocab.family not in ("byte-level", "metaspace", "unigram") or odd:
        raise ValueError(
            f"{vocab.name} is a {vocab.family} vocabulary{' with marks of words' if odd else ''}: spaces and unknown "
            "words are lost in it, so bytes cannot be told exactly. Need byte-level or SentencePiece BPE, or Unigram."
        )


def _two_bytes(lead: int) -> range:
    return range((lead & 0x1F) << 6, ((lead & 0x1F) << 6) + 64)
