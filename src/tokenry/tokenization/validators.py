"""Say of a string whether it is a word of a language, and of which morphemes: word lists, analysers, treebanks.

A validator is any object with a `name` and two methods: `is_word(text)` and `analyses(text)`, which gives the ways to
cut the text into morphemes. A text with an analysis of one part is a morpheme itself: a root, or a bare affix.

Papers: Tokenization Standards for Linguistic Integrity: Turkish as a Benchmark (arXiv 2502.07057).
"""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from tokenry.core.choosing import resolve, suggest

Segmentation = tuple[str, ...]

_DOTLESS = ("tr", "az", "crh", "gag", "kaz_latn")
"""Languages that write I and ı, İ and i as pairs."""
_LONGEST_LINE = 2_000
_MOST_LINES = 20_000_000
_LONGEST_COMPOSED, _MOST_ANALYSES = 48, 32
FORMATS = ("lexicon", "hunspell", "unimorph", "sigmorphon", "conllu", "zeyrek")


class Validator(Protocol):
    """Knows the words of a language. Laws: see `check_validator`."""

    name: str

    def is_word(self, text: str) -> bool:
        """Whether the text, as it stands, is a word (inflected or not) or a bare affix."""
        ...

    def analyses(self, text: str) -> list[Segmentation]:
        """Ways to cut the text into morphemes; joined, each gives the text up to case. Empty when none is known."""
        ...


def check_validator(validator: Validator, texts: Iterable[str]) -> None:
    """The laws of a validator: analyses spell the text up to case, and what has one is a word."""
    for text in texts:
        found = validator.analyses(text)
        assert all(part for cut in found for part in cut)
        assert all(len("".join(cut)) == len(text) for cut in found)
        assert not found or validator.is_word(text)


def lower(text: str, lang: str = "") -> str:
    """Lower case in NFC; in Turkish, Azerbaijani and their like I becomes ı and İ becomes i.

    Args:
        text: any text.
        lang: language code ("tr", "tr_TR", "tur_Latn"); "" for all others.
    """
    text = unicodedata.normalize("NFC", text)
    if is_dotless(lang):
        return text.replace("İ", "i").replace("I", "ı").lower()
    # Python writes İ as i and a combining dot, which is one character more; outside Turkish it is a plain i.
    return text.replace("İ", "i").lower()


def is_dotless(lang: str) -> bool:
    """Whether the language writes dotless and dotted i as two letters."""
    code = lang.lower().replace("-", "_")
    return code in _DOTLESS or code.split("_")[0] in ("tr", "tur", "az", "aze", "azj", "crh", "gag")


def is_morpheme(validator: Validator, text: str) -> bool:
    """Whether the text is a root or a bare affix: one of its analyses has one part."""
    return any(len(cut) == 1 for cut in validator.analyses(text))


class Lexicon:
    """A validator from lists: valid words, morphemes (roots and affixes), known segmentations.

    Args:
        words: valid words in whatever form they may occur.
        morphemes: roots and affixes; they are words too. None means that every word is one.
        affixes: bare affixes; they are words and morphemes too.
        segmentations: word -> its cuts into morphemes; these words are valid too.
        lang: for lower-casing.
        exact: take the case as it is listed. Otherwise a text is known when it is listed as it stands or in lower case.
        compose: take root + affixes for a word, too, where no list has it. Right for languages that pile up suffixes;
            in others it lets "thes" pass.
        name: how to call it in a report.
    """

    def __init__(
        self,
        words: Iterable[str],
        *,
        morphemes: Iterable[str] | None = None,
        affixes: Iterable[str] = (),
        segmentations: Mapping[str, Iterable[Segmentation]] | None = None,
        lang: str = "",
        exact: bool = False,
        compose: bool = False,
        name: str = "lexicon",
    ) -> None:
        self.name, self.lang = name, lang
        self._exact, self._compose = exact, compose
        words = [self._form(word) for word in words if word]
        self._morphemes = set(words) if morphemes is None else {self._form(part) for part in morphemes if part}
        self._affixes = {self._form(affix) for affix in affixes if affix}
        self._roots = self._morphemes - self._affixes
        self._morphemes |= self._affixes
        self._cuts: dict[str, list[Segmentation]] = {}
        for word, cuts in (segmentations or {}).items():
            cuts = [tuple(map(self._form, cut)) for cut in cuts if len("".join(cut)) == len(word)]
            self._cuts.setdefault(self._form(word), []).extend(cuts)
        self._words = set(words) | self._morphemes | set(self._cuts)
        if not self._words:
            raise ValueError(f"{name} holds no word; need a list with at least one. Is it the right file?")

    def __len__(self) -> int:
        return len(self._words)

    @property
    def affixes(self) -> frozenset[str]:
        """The bare affixes of the list."""
        return frozenset(self._affixes)

    def _form(self, text: str) -> str:
        return unicodedata.normalize("NFC", text) if self._exact else lower(text, self.lang)

    def is_word(self, text: str) -> bool:
        """Whether it is listed, or can be composed where that is asked for."""
        form = self._form(text)
        return form in self._words or (self._compose and bool(self._composed(form)))

    def analyses(self, text: str) -> list[Segmentation]:
        """The text itself when it is a morpheme; its listed cuts; its compositions."""
        form = self._form(text)
        found = [(form,)] if form in self._morphemes else []
        found += [cut for cut in self._cuts.get(form, ()) if cut not in found]
        if self._compose:
            found += [cut for cut in self._composed(form) if cut not in found]
        return found

    def _composed(self, form: str) -> list[Segmentation]:
        """Root + affixes, the longest root first; at most 32 ways."""
        found: list[Segmentation] = []
        if len(form) > _LONGEST_COMPOSED or not self._affixes:
            return found
        for end in range(len(form) - 1, 0, -1):
            if form[:end] in self._roots:
                for tail in self._tails(form[end:], {}):
                    found.append((form[:end], *tail))
                    if len(found) >= _MOST_ANALYSES:
                        return found
        return found

    def _tails(self, rest: str, known: dict[str, list[Segmentation]]) -> list[Segmentation]:
        if not rest:
            return [()]
        if rest not in known:
            known[rest] = [
                (rest[:end], *tail)
                for end in range(len(rest), 0, -1)
                if rest[:end] in self._affixes
                for tail in self._tails(rest[end:], known)
            ][:_MOST_ANALYSES]
        return known[rest]


def open_validator(
    *, lexicon: str | Path | None = None, affixes: str | Path | None = None, analyzer: object = None, lang: str = ""
) -> Validator:
    """Open a validator.

    Args:
        lexicon: word list (one word a line; a second column after a tab is not read), or a hunspell `.dic` with its
            `.aff` beside it.
        affixes: list of affixes ("-lar" or "lar"), beside a lexicon.
        analyzer: "zeyrek" (Turkish, PyPI), "hunspell:FILE.dic", "unimorph:FILE", "sigmorphon:FILE", "conllu:FILE",
            "pkg.mod:function" (a function that gives a validator, or a validator), or a validator.
        lang: language code, for lower-casing.

    Raises:
        ValueError: nothing, or two things given; an unknown analyser. FileNotFoundError: no such file.
        ImportError: an analyser whose package is not installed.
    """
    if (lexicon is None) == (analyzer is None):
        given = "neither" if lexicon is None else "both"
        raise ValueError(
            f"{given} of lexicon and analyzer given; need one of them: --lexicon words.txt, or --analyzer zeyrek, "
            "hunspell:FILE.dic, unimorph:FILE, conllu:FILE, pkg.mod:function."
        )
    if lexicon is not None:
        if Path(lexicon).suffix == ".dic":
            from tokenry.tokenization.hunspell import Hunspell

            return Hunspell(lexicon, lang=lang, affixes=read_words(affixes) if affixes else None)
        return Lexicon(
            read_words(lexicon),
            affixes=[affix.strip("-+~") for affix in read_words(affixes)] if affixes else (),
            lang=lang,
            compose=affixes is not None and bool(lang) and is_dotless(lang),
            name=Path(lexicon).name,
        )
    if affixes is not None:
        raise ValueError("affixes go with a lexicon; an analyser knows its own. Drop --affixes.")
    return _analyzer(analyzer, lang)


def _analyzer(analyzer: object, lang: str) -> Validator:
    if not isinstance(analyzer, str):
        return _checked(analyzer)
    kind, _, path = analyzer.partition(":")
    if kind == "zeyrek":
        from tokenry.tokenization.turkish import Zeyrek

        return Zeyrek()
    if kind == "hunspell" and path:
        from tokenry.tokenization.hunspell import Hunspell

        return Hunspell(path, lang=lang)
    if kind in ("unimorph", "sigmorphon", "conllu") and path:
        readers = {"unimorph": _unimorph, "sigmorphon": _sigmorphon, "conllu": _conllu}
        return readers[kind](path, lang)
    if kind == "lexicon" and path:
        return open_validator(lexicon=path, lang=lang)
    if not path:
        raise ValueError(
            f"analyzer {analyzer!r} is not known.{suggest(kind, FORMATS)} Known: zeyrek, and with a file "
            f"{', '.join(f'{name}:FILE' for name in FORMATS if name != 'zeyrek')}; or pkg.mod:function."
        )
    found = resolve(analyzer, {}, kind="analyzer")
    is_maker = isinstance(found, type) or not hasattr(found, "is_word")
    return _checked(found() if callable(found) and is_maker else found)


def _checked(found: object) -> Validator:
    if not (callable(getattr(found, "is_word", None)) and callable(getattr(found, "analyses", None))):
        raise ValueError(
            f"the analyzer is a {type(found).__name__} without is_word and analyses; see tokenry.tokenization."
            "validators.Validator for what a validator needs."
        )
    return found


def read_words(path: str | Path) -> list[str]:
    """The first column of a word list, one word a line; lines that start with # are comments.

    A line that is a word and its capitalised copy end to end ("acakAcak", as in a published list) gives the word.
    """
    words = (line.split("\t")[0].strip() for line in lines_of(path) if not line.startswith("#"))
    return [_uncopied(word) for word in words if word]


def _uncopied(word: str) -> str:
    half, odd = divmod(len(word), 2)
    first, second = word[:half], word[half:]
    if odd or half < 2 or not second[0].isupper() or first[0].isupper():
        return word
    return first if any(lower(second, lang) == lower(first, lang) for lang in ("", "tr")) else word


def lines_of(path: str | Path) -> Iterator[str]:
    """Lines of a UTF-8 text file (.gz and .xz are unpacked on the way), without their ends.

    Raises:
        FileNotFoundError: no such file. ValueError: not UTF-8, or a line no word list has.
    """
    import gzip
    import lzma

    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; need a list in UTF-8. Check the path.")
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opener(path, "rb") as file:
        number = 0
        while line := file.readline(8 * _LONGEST_LINE):
            number += 1
            if len(line) >= 8 * _LONGEST_LINE or number > _MOST_LINES:
                raise ValueError(f"{path} line {number} is too long, or there are too many; need a list of words.")
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                raise ValueError(f"{path} line {number} is not UTF-8. Convert it: iconv -t UTF-8.") from None


def _unimorph(path: str, lang: str) -> Lexicon:
    """Lemma, form, features, and sometimes the form's cut at bars."""
    words, roots, cuts = [], set(), {}
    for line in lines_of(path):
        cells = line.split("\t")
        if len(cells) < 2:
            continue
        lemma, form = cells[:2]
        words.append(form)
        roots.add(lemma)
        if len(cells) > 3 and "|" in cells[3]:
            cuts.setdefault(form, []).append(tuple(part for part in cells[3].split("|") if part))
        elif form.startswith(lemma) and form != lemma:
            cuts.setdefault(form, []).append((lemma, form[len(lemma) :]))
    affixes = {part for found in cuts.values() for cut in found for part in cut[1:]}
    return Lexicon(words, morphemes=roots, affixes=affixes, segmentations=cuts, lang=lang, name=Path(path).name)


def _sigmorphon(path: str, lang: str) -> Lexicon:
    """Gold segmentations; the parts are morphemes, the surface cuts those that can be placed without doubt."""
    from tokenry.tokenization.gold_segmentations import read_gold

    gold = read_gold(path)
    cuts = {word.text: [word.parts] for word in gold}
    morphemes = {part for word in gold for part in (*word.parts, *word.morphemes)}
    return Lexicon(cuts, morphemes=morphemes, segmentations=cuts, lang=lang, name=Path(path).name)


def _conllu(path: str, lang: str) -> Lexicon:
    """Forms and lemmas of a treebank; a form that continues its lemma is cut there."""
    words, roots, cuts = [], set(), {}
    for line in lines_of(path):
        cells = line.split("\t")
        if len(cells) != 10 or not cells[0].isdigit() or not any(char.isalpha() for char in cells[1]):
            continue
        form, lemma = cells[1], cells[2]
        words.append(form)
        if lemma == "_":
            continue
        roots.add(lemma)
        folded = lower(form, lang)
        if folded.startswith(lower(lemma, lang)) and len(form) > len(lemma):
            cuts[form] = [(form[: len(lemma)], form[len(lemma) :])]
    return Lexicon(words, morphemes=roots, segmentations=cuts, lang=lang, name=Path(path).name)
