"""One id for all forms of a suffix (-lar and -ler, -dı -di -du -dü -tı ...), with exact decoding, over a tokenizer.

Vowel harmony, hardening and softening say which form stands where. Where the text has the form they say, one id is
enough; where it has another one (saat-ler, loanwords, misspellings), a mark before the id tells which. So every text
comes back, and a vocabulary needs one entry for a suffix instead of up to eight.

Papers: Tokenization Standards for Linguistic Integrity: Turkish as a Benchmark (arXiv 2502.07057; the follow-up's
dictionary tokenizer, whose decoding guesses the form and is not exact).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tokenry.core.report import Report
from tokenry.core.runs import atomic_write
from tokenry.core.vocab import Kind, Vocab
from tokenry.tokenization.findings import ratio
from tokenry.tokenization.validators import lower

FILE = "allomorphs.json"
_FORMAT = 1
_MOST_BYTES = 1 << 22
_FRONT, _ROUND, _VOWELS = "eiöü", "oöuü", "aeıioöuü"
_VOICELESS = "fstkçşhp"
_APOSTROPHES = "'’"
_FIRST = {"d": "D", "t": "D", "c": "C", "ç": "C", "g": "G", "k": "G"}
"""First consonants of a suffix that harden behind a voiceless one: D d/t, C c/ç, G g/k."""
_LAST = {"k": "K", "ğ": "K"}
"""The last consonant that softens before a vowel: K k/ğ."""
_HARD, _SOFT = {"D": "t", "C": "ç", "G": "k"}, {"D": "d", "C": "c", "G": "g"}


def skeleton(form: str) -> str:
    """What the forms of a suffix have in common: "lar" and "ler" are lAr, "dığ" and "tük" are DIK.

    A is a or e, I is ı, i, u or ü; D, C and G stand first, K last; all else is as written.
    """
    out = ["A" if char in "ae" else "I" if char in "ıiuü" else char for char in form]
    if form:
        out[0] = _FIRST.get(form[0], out[0])
    if len(form) > 1:
        out[-1] = _LAST.get(form[-1], out[-1])
    return "".join(out)


def resolved(shape: str, last_vowel: str, last_letter: str, *, before_vowel: bool) -> str:
    """The form of a skeleton behind a word that ends so: by vowel harmony, hardening, and softening before a vowel.

    Args:
        shape: see `skeleton`.
        last_vowel, last_letter: of the word before the suffix; "" where there is none, which counts as back, unrounded
            and voiced.
        before_vowel: whether a vowel follows the suffix.
    """
    out = ""
    for char in shape:
        if char == "A":
            char = "e" if last_vowel and last_vowel in _FRONT else "a"
        elif char == "I":
            is_front, is_round = (last_vowel != "" and last_vowel in group for group in (_FRONT, _ROUND))
            char = ("ü" if is_round else "i") if is_front else ("u" if is_round else "ı")
        elif char == "K":
            char = "ğ" if before_vowel else "k"
        elif char in _HARD:
            char = (_HARD if last_letter and last_letter in _VOICELESS else _SOFT)[char]
        if char in _VOWELS:
            last_vowel = char
        out, last_letter = out + char, char
    return out


class _End:
    """How the word read so far ends."""

    def __init__(self) -> None:
        self.vowel = self.letter = ""

    def read(self, text: str) -> None:
        for char in lower(text, "tr"):
            if char in _APOSTROPHES:
                continue  # Ankara'da: the suffix of a name follows the name
            if not char.isalpha():
                self.vowel = self.letter = ""
                continue
            self.letter = char
            self.vowel = char if char in _VOWELS else self.vowel


@dataclass(frozen=True, eq=False)
class Allomorphs:
    """A tokenizer whose suffix forms share ids. Its own ids are another numbering: 0..size-1, marks last.

    The tokenizer below stays as it is and opens everywhere; a model that is to see the shared ids is trained on what
    `encode` (or `fold`, of ids that are there already) gives.
    """

    vocab: Vocab
    """The tokenizer below; each form is an entry of it."""
    classes: tuple[tuple[int, ...], ...]
    """Ids of the tokenizer below that are forms of one suffix, two or more, of one skeleton."""

    @classmethod
    def of(cls, vocab: Vocab, affixes: Iterable[str]) -> "Allomorphs":
        """Group the entries that are suffixes of a list, by their skeletons.

        Args:
            vocab: a tokenizer of morphemes, as `hybrid.train_hybrid` makes it.
            affixes: bare forms, such as the `affixes` of a validator; other entries are left alone.

        Raises:
            ValueError: no two entries are forms of one suffix.
        """
        known, groups = set(affixes), {}
        for i, token in enumerate(_texts(vocab)):
            if token in known and vocab.kinds[i] == Kind.NORMAL:
                groups.setdefault(skeleton(token), []).append(i)
        classes = tuple(tuple(ids) for ids in groups.values() if len(ids) > 1)
        if not classes:
            raise ValueError(
                f"of {len(known):,} affixes no two that are entries are forms of one suffix; need a tokenizer of "
                "morphemes and the affixes of its language. Make one: tokenry tokenizer hybrid."
            )
        return cls(vocab, classes)

    @property
    def size(self) -> int:
        """Entries in all, marks included."""
        return len(self._below) + self.n_marks

    @property
    def n_marks(self) -> int:
        """Marks, one for each place in the largest class."""
        return max(map(len, self.classes))

    @cached_property
    def _text(self) -> list[str]:
        return _texts(self.vocab)

    @cached_property
    def _class_of(self) -> dict[int, int]:
        return {i: c for c, ids in enumerate(self.classes) for i in ids}

    @cached_property
    def _below(self) -> list[int]:
        """Own id -> id of the tokenizer below; the first form stands for its class."""
        dropped = {i for ids in self.classes for i in ids[1:]}
        return [i for i in range(self.vocab.size) if i not in dropped]

    @cached_property
    def _own(self) -> dict[int, int]:
        own = {i: n for n, i in enumerate(self._below)}
        return own | {i: own[ids[0]] for ids in self.classes for i in ids}

    def fold(self, ids: Sequence[int] | np.ndarray) -> list[int]:
        """Own ids of ids of the tokenizer below; `unfold` gives these back, whatever they are."""
        ids, out, end = [int(i) for i in ids], [], _End()
        for at, i in enumerate(ids):
            if (c := self._class_of.get(i)) is not None:
                follows = at + 1 < len(ids) and self._opens(ids[at + 1])
                if self._expected(c, end, follows) != i:
                    out.append(len(self._below) + self.classes[c].index(i))
            out.append(self._own[i])
            end.read(self._text[i])
        return out

    def unfold(self, ids: Sequence[int] | np.ndarray) -> list[int]:
        """Ids of the tokenizer below.

        A mark before an id that has no such form, which only a model can write, is passed over.

        Raises:
            ValueError: an id that is none.
        """
        ids, out, end, n = [int(i) for i in ids], [], _End(), len(self._below)
        if wrong := [i for i in ids if not 0 <= i < self.size]:
            raise ValueError(f"id {wrong[0]} is none of 0..{self.size - 1}. Are they ids of another tokenizer?")
        real = [at for at, i in enumerate(ids) if i < n]
        for place, at in enumerate(real):
            i = self._below[ids[at]]
            if (c := self._class_of.get(i)) is not None:
                mark = ids[at - 1] - n if at and ids[at - 1] >= n else -1
                follows = place + 1 < len(real) and self._opens(self._below[ids[real[place + 1]]])
                told = 0 <= mark < len(self.classes[c])
                i = self.classes[c][mark] if told else self._expected(c, end, follows)
            out.append(i)
            end.read(self._text[i])
        return out

    def encode(self, text: str) -> list[int]:
        """Own ids of a text."""
        return self.fold(self.vocab.encode([text])[0])

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of own ids."""
        return self.vocab.decode(self.unfold(ids))

    def _opens(self, i: int) -> bool:
        """Whether a token begins with a vowel; the forms of a suffix all do, or none."""
        return self._text[i][:1] != "" and lower(self._text[i][0], "tr")[:1] in _VOWELS

    def _expected(self, c: int, end: _End, before_vowel: bool) -> int:
        """The form that the word so far asks for; the first one where the class has no such form."""
        found = resolved(skeleton(self._text[self.classes[c][0]]), end.vowel, end.letter, before_vowel=before_vowel)
        return next((i for i in self.classes[c] if self._text[i] == found), self.classes[c][0])

    def save(self, folder: str | Path) -> None:
        """Write `allomorphs.json` beside the tokenizer that lies in a folder."""
        forms = [[self._text[i] for i in ids] for ids in self.classes]
        card = {"format": _FORMAT, "tokenizer": self.vocab.fingerprint, "classes": self.classes, "forms": forms}
        atomic_write(Path(folder) / FILE, json.dumps(card, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def open(cls, folder: str | Path) -> "Allomorphs":
        """Open a folder with a tokenizer and its `allomorphs.json`.

        Raises:
            FileNotFoundError: no such file. ValueError: it belongs to another tokenizer, or is damaged.
        """
        path = Path(folder).expanduser() / FILE
        if not path.is_file():
            raise FileNotFoundError(f"no {path}; need a folder of tokenry tokenizer hybrid ... --allomorphs.")
        vocab = Vocab.open(path.parent)
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise ValueError(f"{path.stat().st_size:,} bytes")
            card = json.loads(path.read_text(encoding="utf-8"))
            classes = tuple(tuple(ids) for ids in card["classes"])
            sound = card["format"] == _FORMAT and card["tokenizer"] == vocab.fingerprint and _is_sound(vocab, classes)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not what was written beside a tokenizer ({error}); make it again.") from None
        if not sound:
            raise ValueError(f"{path} belongs to another tokenizer than the one beside it; make it again.")
        return cls(vocab, classes)


def _texts(vocab: Vocab) -> list[str]:
    """The text of each entry; "" for special tokens and parts of characters."""
    is_text = (vocab.kinds == Kind.NORMAL) | (vocab.kinds == Kind.BYTE)
    out = []
    for token, fits in zip(vocab.tokens, is_text.tolist(), strict=True):
        try:
            out.append((token or b"").decode("utf-8") if fits else "")
        except UnicodeDecodeError:
            out.append("")
    return out


def _is_sound(vocab: Vocab, classes: Sequence[Sequence[int]]) -> bool:
    """Two or more entries each, no entry twice, the forms of a class of one skeleton."""
    ids, text = [i for own in classes for i in own], _texts(vocab)
    if not ids or len(set(ids)) != len(ids) or not all(type(i) is int and 0 <= i < vocab.size for i in ids):
        return False
    return all(len(own) > 1 and text[own[0]] and len({skeleton(text[i]) for i in own}) == 1 for own in classes)


def allomorph_report(allomorphs: Allomorphs, texts: Iterable[str], *, seed: int = 0) -> Report:
    """What sharing ids saves and costs on a text: entries, tokens, and how often the form is the expected one.

    Args:
        allomorphs: the tokenizer.
        texts: documents.
        seed: of the bootstrap over documents.

    Returns:
        Report of kind "allomorphs": facts `size_below`, `size`, `suffixes`, `forms`, and over documents
        `expected_share` (suffix tokens without a mark) and `extra_tokens` (marks per token).

    Raises:
        ValueError: no text, or none that does not come back, which cannot be.
    """
    tokens, suffixes, marks = [], [], []
    for text in texts:
        ids = allomorphs.vocab.encode([text])[0].tolist()
        folded = allomorphs.fold(ids)
        if allomorphs.unfold(folded) != ids:
            raise ValueError(f"{text[:80]!r} does not come back from its ids; please report this.")
        tokens.append(len(ids))
        suffixes.append(sum(i in allomorphs._class_of for i in ids))
        marks.append(len(folded) - len(ids))
    if not sum(suffixes):
        raise ValueError("the text holds none of the suffixes; need text of their language.")
    report = Report("allomorphs", f"{len(allomorphs.classes)} suffixes share ids")
    report.facts = {
        "size_below": allomorphs.vocab.size,
        "size": allomorphs.size,
        "suffixes": len(allomorphs.classes),
        "forms": sum(map(len, allomorphs.classes)),
        "expected_share": ratio(np.array(suffixes) - np.array(marks), np.array(suffixes), seed=seed),
        "extra_tokens": ratio(np.array(marks), np.array(tokens), seed=seed, unit="marks/token"),
    }
    return report
