"""Read the text of an audit once, for any number of tokenizers; folders of line-aligned languages are recognised."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenry.core.runs import Progress
from tokenry.core.tables import stream
from tokenry.core.vocab import Vocab
from tokenry.tokenization.counting import Counts, DocumentCounter
from tokenry.tokenization.entries import shown
from tokenry.tokenization.parity import Parallel, read_line_folder

_EXCERPT_CHARACTERS = 160
_LONGEST_LINE = 240
_SHOWN_FIRST = (
    "eng en zho cmn zh hin hi spa es fra fr arb ara ar ben bn rus ru por pt urd ur ind id deu de jpn ja swh sw tur tr "
    "tam ta vie vi kor ko tha th tel te mar mr ita it pol pl ukr uk pes fa amh am ell el heb he kat ka hye hy mya my "
    "khm km shn yor yo"
)
_WELL_KNOWN = {code: place for place, code in enumerate(_SHOWN_FIRST.split(" "))}
"""Languages shown first, where a text has many: widely spoken ones, and scripts of every kind."""


class Reading:
    """The documents of one audit or comparison.

    A folder of plain text files is read a document a line, with the language from the file's name, when its files have
    a suffix `core.tables` does not know (FLORES' `.devtest`), or all have the same number of lines: then they are taken
    as the same text in several languages. Everything else is read by `core.tables.stream`.

    Args:
        source: what `stream` takes, or such a folder.
        options: as `stream`; `limit` counts the lines of each file of such a folder.

    Attributes:
        parallel: the aligned lines; None where the text is none such.
    """

    def __init__(self, source: object, **options: object) -> None:
        self._source, self._options = source, options
        folder = _only_folder(source)
        lines = None
        if folder is not None and options.get("text", "text") == "text":
            lines = read_line_folder(folder, limit=options.get("limit"))
        if lines is not None and not lines.is_aligned and any(p.suffix == ".txt" for p in folder.iterdir()):
            lines = None
        self._lines: Parallel | None = lines
        self.parallel = lines if lines is not None and lines.is_aligned else None

    def documents(self) -> Iterator[list[tuple[str, str]]]:
        """(text, source) pairs, some at a time."""
        if self._lines is not None:
            for name, lines in zip(self._lines.names, self._lines.lines, strict=True):
                yield [(line, name) for line in lines]
            return
        for batch in stream(self._source, **self._options):
            texts, origins = batch.column("text").to_pylist(), batch.column("source").to_pylist()
            yield [(text, origin or "") for text, origin in zip(texts, origins, strict=True) if text is not None]

    def feed(self, counters: Sequence[DocumentCounter], *, label: str, n_excerpts: int = 4) -> list[tuple[str, str]]:
        """Show every document to every counter; returns excerpts (title, text) of different sources."""
        excerpts: dict[str, str] = {}
        with Progress(label) as progress:
            for documents in self.documents():
                for text, origin in documents:
                    for counter in counters:
                        counter.add(text, origin)
                    if origin not in excerpts and text.strip():
                        excerpts[origin] = _excerpt(text)
                progress.add(len(documents))
        if self.parallel is not None:
            excerpts = self._same_line(self.parallel)
        known_first = self.parallel is not None or len(excerpts) > n_excerpts
        chosen = sorted(excerpts, key=_knownness)[:n_excerpts] if known_first else list(excerpts)
        return [(origin or "the first document", excerpts[origin]) for origin in chosen]

    def _same_line(self, parallel: Parallel) -> dict[str, str]:
        """The first line of fair length in the pivot, in every language."""
        pivot = parallel.lines[parallel.pivot()]
        at = next((i for i, line in enumerate(pivot) if 40 <= len(line) <= _EXCERPT_CHARACTERS), 0)
        return {n: own[at][:_LONGEST_LINE] for n, own in zip(parallel.names, parallel.lines, strict=True)}


def _only_folder(source: object) -> Path | None:
    if isinstance(source, list | tuple) and len(source) == 1:
        source = source[0]
    if isinstance(source, str | os.PathLike) and Path(source).is_dir():
        return Path(source)
    return None


def _knownness(name: str) -> tuple[int, str]:
    key = name.casefold().replace("-", "_").split("_")[0]
    return _WELL_KNOWN.get(key, len(_WELL_KNOWN)), name


def _excerpt(text: str) -> str:
    """The beginning of a text, cut at a space where there is one."""
    text = text.strip()
    if len(text) <= _EXCERPT_CHARACTERS:
        return text
    head = text[:_EXCERPT_CHARACTERS]
    return head[: head.rfind(" ")] if " " in head[_EXCERPT_CHARACTERS // 2 :] else head


def cut_shown(vocab: Vocab, text: str) -> list[str]:
    """The tokens of a text as a reader sees them."""
    return [shown(vocab, int(i)) for i in vocab.encode([text])[0]]


def size_of(counts: Counts, parallel: Parallel | None = None) -> str:
    """How much text was read, for a title."""
    if parallel is not None:
        n_lines = len(parallel.lines[0])
        return f"{counts.n_bytes / 1e6:,.2f} MB: {n_lines:,} lines in {len(parallel.names):,} languages"
    return f"{counts.n_bytes / 1e6:,.2f} MB in {counts.n_documents:,} documents"
