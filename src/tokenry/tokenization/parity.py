"""What a language pays: tokens of the same text in each language, as a premium over one of them (parity).

Papers: Language Model Tokenizers Introduce Unfairness Between Languages (arXiv 2305.15425).
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tokenry.core.places import split_suffix
from tokenry.core.report import Figure
from tokenry.core.tables import read
from tokenry.core.vocab import Vocab
from tokenry.tokenization.counting import Counts, count
from tokenry.tokenization.findings import Findings, ratio, rows_as_columns

# Axes: L languages, D lines.

_PIVOTS = ("eng_Latn", "eng", "en", "english", "eng-us", "eng-gb")
_MOST_BARS = 16
_MOST_BYTES = 2 * 2**30
_LANGUAGE_COLUMNS, _LINE_COLUMNS = ("language", "lang", "source"), ("line", "sentence", "number")


@dataclass(frozen=True, eq=False)
class Parallel:
    """The same lines in several languages.

    Attributes:
        names: (L,) languages.
        lines: (L,) lists of D lines each.
        is_aligned: whether all have the same number of lines, so that line i is the same sentence everywhere.
    """

    names: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    is_aligned: bool = True

    def pivot(self, name: str | None = None) -> int:
        """The language to compare with: the named one, else English, else the first.

        Raises:
            ValueError: if the name is none of them.
        """
        if name is None:
            folded = {own.casefold(): i for i, own in reversed(list(enumerate(self.names)))}
            return next((folded[key.casefold()] for key in _PIVOTS if key.casefold() in folded), 0)
        if name not in self.names:
            shown = ", ".join(self.names[:12])
            more = " ..." if len(self.names) > 12 else ""
            raise ValueError(f"the language to compare with is {name!r}; the text has {shown}{more}.")
        return self.names.index(name)


def read_parallel(source: object) -> Parallel:
    """Line-aligned texts.

    Args:
        source: a `Parallel`; a folder with one plain text file for each language (any suffix; the language is the
            file's name, less what all names share); or a table (a file `core.tables.read` takes, or Arrow) with the
            columns `language`, `line` and `text`.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: the languages do not have the same lines, or there are fewer than two.
    """
    if isinstance(source, Parallel):
        return source
    if isinstance(source, str | os.PathLike) and Path(source).is_dir():
        found = read_line_folder(source)
        if found is None or len(found.names) < 2:
            raise ValueError(
                f"{source} holds no two plain text files; need one file a language, the same line by line."
            )
        if not found.is_aligned:
            sizes = ", ".join(f"{n} {len(own):,}" for n, own in list(zip(found.names, found.lines, strict=True))[:6])
            raise ValueError(
                f"the files of {source} have different numbers of lines ({sizes}); line i must be the same sentence in "
                "each. Give parallel text, such as FLORES, NTREX or a Bible by verses."
            )
        return found
    return _of_table(source)


def _of_table(source: object) -> Parallel:
    table = read(source)
    language = next((name for name in _LANGUAGE_COLUMNS if name in table.column_names), None)
    line = next((name for name in _LINE_COLUMNS if name in table.column_names), None)
    if language is None or line is None:
        raise ValueError(
            f"parallel text has the columns {', '.join(table.column_names)}; need language, line and text. "
            "Or give a folder with one file for each language."
        )
    found: dict[str, dict] = {}
    columns = (table.column(name).to_pylist() for name in (language, line, "text"))
    for name, number, text in zip(*columns, strict=True):
        own = found.setdefault(str(name), {})
        if number in own:
            raise ValueError(f"line {number!r} of {name!r} stands twice in the parallel text; need each line once.")
        own[number] = text or ""
    numbers = list(next(iter(found.values())))
    odd = next((name for name, own in found.items() if set(own) != set(numbers)), None)
    if odd is not None or len(found) < 2:
        what = "there is one language only" if odd is None else f"{odd!r} has other lines than {next(iter(found))!r}"
        raise ValueError(f"{what}; parallel text needs the same lines in two languages or more.")
    return Parallel(tuple(found), tuple(tuple(own[n] for n in numbers) for own in found.values()))


def read_line_folder(folder: str | os.PathLike, *, limit: int | None = None) -> Parallel | None:
    """The plain text files of a folder, a document a line; None where it holds documents of another kind, or folders.

    Where there are `.txt` files, other unknown files beside them are left out. Empty lines at the end are dropped.
    `limit` keeps so many lines of each.
    """
    found = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
    paths = [path for path in found if path.is_file()]
    if len(paths) < len(found):
        return None
    forms = [split_suffix(path.name)[1:] for path in paths]
    if not paths or any(form not in (None, "txt") or packed for form, packed in forms):
        return None
    paths = [path for path in paths if path.suffix.lower() == ".txt"] or paths
    if sum(path.stat().st_size for path in paths) > _MOST_BYTES:
        raise ValueError(f"{folder} holds over 2 GB of plain text; give .jsonl or .parquet, which are streamed.")
    lines = []
    for path in paths:
        try:
            text = path.read_text("utf-8-sig").rstrip("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no UTF-8 text ({error.reason} at byte {error.start:,}).") from None
        lines.append(tuple(text.split("\n"))[:limit])
    is_aligned = len({len(own) for own in lines}) == 1 and len(lines) > 1 and len(lines[0]) > 1
    return Parallel(tuple(_language_names([path.name for path in paths])), tuple(lines), is_aligned)


def _language_names(names: list[str]) -> list[str]:
    """File names less the parts, between points, that all of them share: "newstest.deu.txt" is "deu"."""
    parts = [name.split(".") for name in names]
    if len(names) > 1 and len({len(own) for own in parts}) == 1:
        kept = [i for i in range(len(parts[0])) if len({own[i] for own in parts}) > 1]
        parts = [[own[i] for i in kept] for own in parts]
    else:
        parts = [own[:-1] or own for own in parts]
    return [".".join(own) for own in parts]


def line_tokens(vocab: Vocab, parallel: Parallel) -> np.ndarray:
    """Tokens of every line in every language, (L, D); each line is encoded alone."""
    documents = ((line, name) for name, own in zip(parallel.names, parallel.lines, strict=True) for line in own)
    tokens_D = count(vocab, documents, words=False, round_trip=False).tokens_D
    return tokens_D.reshape(len(parallel.names), -1)


def premiums(tokens_LD: np.ndarray, names: tuple[str, ...], *, pivot: int, seed: int = 0) -> list[dict]:
    """One row for each language, dearest first: its tokens over the pivot's, with an interval over lines.

    Lines are resampled with their translations (paired), so what makes a sentence long does not count.
    """
    rows = []
    for name, tokens_D in zip(names, tokens_LD, strict=True):
        premium = ratio(tokens_D, tokens_LD[pivot], seed=seed)
        if premium is None:
            raise ValueError(f"{names[pivot]!r} has no token in all its lines, so nothing can be compared with it.")
        row = {"language": name, "tokens": int(tokens_D.sum()), "premium": premium.value}
        rows.append(row | {"low": premium.low, "high": premium.high, "lines": len(tokens_D)})
    return sorted(rows, key=lambda row: -row["premium"])


def parity(counts: Counts, *, seed: int = 0, parallel: object, pivot: str | None = None) -> Findings:
    """What each language pays for the same text, as a ratio of tokens to the pivot's.

    Args:
        parallel: see `read_parallel`.
        pivot: the language to compare with; None takes English, or the first.
    """
    given = read_parallel(parallel)
    against = given.pivot(pivot)
    rows = premiums(line_tokens(counts.vocab, given), given.names, pivot=against, seed=seed)
    others = [row for row in rows if row["language"] != given.names[against]]
    dearest, cheapest = others[0], others[-1]
    found = Findings(
        facts={
            "parity.pivot": given.names[against],
            "parity.languages": len(rows),
            "parity.lines": rows[0]["lines"],
            "parity.highest": dearest["premium"],
            "parity.highest.language": dearest["language"],
            "parity.median": float(np.median([row["premium"] for row in others])),
            "parity.lowest": cheapest["premium"],
        },
        tables={"parity": rows_as_columns(rows)},
        notes=[
            f"Premium: tokens of a language over tokens of {given.names[against]} on the same lines, each line encoded "
            "alone; intervals over lines with their translations, 95 %."
        ],
    )
    points = [(row["language"], row["premium"], row["low"], row["high"]) for row in rows[:_MOST_BARS]]
    title = f"Tokens compared with {given.names[against]}"
    found.figures.append(Figure("interval", title, "language", "premium", {"premium": points}))
    return found
