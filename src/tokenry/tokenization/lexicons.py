"""Cuts of words from a file of segmented words: a lexicon of morphemes or compounds as a boundary for any trainer.

Papers: CompoundPiece (arXiv 2305.14214); Tokenization Standards for Linguistic Integrity (arXiv 2502.07057).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tokenry.tokenization.boundaries import CutProvider
from tokenry.tokenization.validators import lines_of


def lexicon_cuts(path: str | Path) -> CutProvider:
    """Cuts looked up in a file of segmented words.

    A word is looked up as it stands, then in lower case; a word the file lacks is not cut.

    Args:
        path: UTF-8 lines `word<TAB>part part ...` or `word<TAB>part|part`, or only `part|part`. The parts, end to
            end, are the word.

    Raises:
        FileNotFoundError: no such file. ValueError: a line that is none of these (with its number), or no word at all.
    """
    file = Path(path).expanduser()
    if not str(path) or not file.is_file():
        raise FileNotFoundError(f"no lexicon at {str(path)!r}; need a file of lines word<TAB>part part ...")
    found = [_lexicon_line(line, f"{path}:{n}") for n, line in enumerate(lines_of(file), 1) if line.strip()]
    known = dict(found)
    if not known:
        raise ValueError(f"{path} holds no word; need lines word<TAB>part part ...")

    def cuts_of(words: Sequence[str]) -> list[tuple[int, ...]]:
        return [known[word] if word in known else _folded(known, word) for word in words]

    return cuts_of


def _lexicon_line(line: str, where: str) -> tuple[str, tuple[int, ...]]:
    word, tab, rest = line.partition("\t")
    rest = (rest.partition("\t")[0] if tab else line).strip()
    parts = rest.split("|") if "|" in rest else rest.split()
    word = word.strip() if tab else "".join(parts)
    if not all(parts) or "".join(parts) != word or " " in word:
        raise ValueError(
            f"{where}: {line[:80]!r} is not a segmented word; need word<TAB>part part ... whose parts, end to end, are "
            "the word (surface parts: keep linking letters in them)."
        )
    return word, tuple(np.cumsum([len(part) for part in parts])[:-1].tolist())


def _folded(known: dict[str, tuple[int, ...]], word: str) -> tuple[int, ...]:
    lower = word.lower()
    return known.get(lower, ()) if len(lower) == len(word) else ()
