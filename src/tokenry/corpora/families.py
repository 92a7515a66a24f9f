"""What a family of signals is: a name, a version, typed columns, and the function that fills them for a batch.

Also the outside things families look at (word lists, lists of domains, a language detector), opened once a worker.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import suggest
from tokenry.core.hashing import fingerprint
from tokenry.corpora.prepared import Prepared, Spans
from tokenry.corpora.spans import SPANS

__all__ = ["BOOL", "FLOAT", "SPANS", "STRING", "WHOLE", "Family", "Material", "Settings", "column_of", "spans_column"]

FLOAT, WHOLE, BOOL, STRING = pa.float64(), pa.int64(), pa.bool_(), pa.string()


@dataclass(frozen=True)
class Settings:
    """What a user says about signals besides their names.

    Attributes:
        stop_words: a file of stop words, one a line; None takes our short English list.
        bad_words: a file of words and phrases, one a line (LDNOOBW has this form); None leaves their signals null.
        domains: a folder with a file or folder (holding a file `domains`) for each category, as UT1 has it.
        url: the column of the documents that holds the address, or the domain.
        path: the column that holds the file's name (signals of code).
        detector: of languages: "lid176", "py3langid", "lingua", or your own `module:function`.
        tokenizer: a tokenizer.json whose tokens the signals of code count; None counts words and marks.
    """

    stop_words: str | None = None
    bad_words: str | None = None
    domains: str | None = None
    url: str = "url"
    path: str = "path"
    detector: str = "lid176"
    tokenizer: str | None = None

    def fingerprint(self) -> str:
        """Changes when a setting does, or what stands in a file it names."""
        files = []
        for named in (self.stop_words, self.bad_words, self.domains, self.tokenizer):
            files.append(None if named is None else [_stamp(file) for file in _files(Path(named))])
        return fingerprint(files, self.url, self.path, self.detector)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}. Give a file with one entry a line, or a folder of such lists.")
    return [path]


def _stamp(file: Path) -> list[object]:
    import hashlib

    return [file.name, hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()]


class Material:
    """What families look at besides the documents, opened when it is first needed.

    Args:
        settings: as the user gave them.
    """

    def __init__(self, settings: Settings = Settings()) -> None:
        self.settings = settings

    @functools.cached_property
    def stop_words(self) -> np.ndarray:
        """Hashes of the stop words."""
        from tokenry.corpora.word_lists import ENGLISH_STOP_WORDS, hashes_of, read_list

        named = self.settings.stop_words
        return hashes_of(ENGLISH_STOP_WORDS.split() if named is None else read_list(named))

    @functools.cached_property
    def bad_words(self) -> "object | None":
        """The phrases of the list as it stands there, None without a list."""
        return self._phrases(normalise=False)

    @functools.cached_property
    def bad_phrases(self) -> "object | None":
        """The phrases of the list, normalised as the words of the text are; None without a list."""
        return self._phrases(normalise=True)

    def _phrases(self, *, normalise: bool) -> "object | None":
        from tokenry.corpora.word_lists import Phrases, read_list

        named = self.settings.bad_words
        return None if named is None else Phrases.of(read_list(named), as_written=not normalise)

    @functools.cached_property
    def bad_strings(self) -> tuple[set[str], list[str]]:
        """The single words and the phrases of the list, as strings in lower case."""
        from tokenry.corpora.word_lists import read_list

        named = self.settings.bad_words
        entries = [] if named is None else [entry.lower() for entry in read_list(named)]
        return {entry for entry in entries if " " not in entry}, [entry for entry in entries if " " in entry]

    @functools.cached_property
    def domains(self) -> "object | None":
        """The lists of domains, None without any."""
        from tokenry.corpora.word_lists import Domains

        named = self.settings.domains
        return None if named is None else Domains.read(named)

    @functools.cached_property
    def detector(self) -> Callable[[list[str]], list[tuple[str | None, float | None]]]:
        """Texts to language and score."""
        from tokenry.corpora.signals_language import open_detector

        return open_detector(self.settings.detector)

    @functools.cached_property
    def tokenizer(self) -> "object | None":
        """The tokenizer whose tokens are counted, None when words and marks are."""
        named = self.settings.tokenizer
        if named is None:
            return None
        from tokenizers import Tokenizer

        if not Path(named).is_file():
            raise FileNotFoundError(f"there is no {named}; need a tokenizer.json.")
        return Tokenizer.from_file(str(named))


@dataclass(frozen=True, eq=False)
class Family:
    """Signals that belong together.

    Attributes:
        name: what a user types.
        version: of the definitions (of a trained model its fingerprint); another one means other values under the same
            names.
        columns: name and type of each signal.
        score: fills them: prepared texts, the batch they came from, and the material; every column is an array with
            one value a document, floats with nan where there is none.
        says: what it measures, in a line.
        needs: settings it cannot do without.
    """

    name: str
    version: int | str
    columns: Mapping[str, pa.DataType]
    score: Callable[[Prepared, pa.RecordBatch, Material], Mapping[str, object]]
    says: str
    needs: tuple[str, ...] = field(default=())

    def check(self, settings: Settings) -> None:
        """Refuse to begin without what the family needs.

        Raises:
            ValueError: a setting is missing.
        """
        for name in self.needs:
            if getattr(settings, name) is None:
                option = "--" + name.replace("_", "-")
                raise ValueError(f"the signals {self.name!r} need a list; give its path ({option}).")


def spans_column(prepared: Prepared, spans: Spans, scores: np.ndarray | float) -> pa.ListArray:
    """One list of spans for each document, counted from its own first character."""
    owners = np.repeat(np.arange(len(prepared)), spans.counts)
    base = prepared.starts[:-1][owners]
    scores = np.broadcast_to(np.asarray(scores, np.float64), len(spans.begins))
    values = pa.StructArray.from_arrays(
        [pa.array(spans.begins - base), pa.array(spans.ends - base), pa.array(scores, from_pandas=True)],
        fields=list(SPANS.value_type),
    )
    return pa.ListArray.from_arrays(pa.array(spans.offsets.astype(np.int32)), values).cast(SPANS)


def column_of(values: object, kind: pa.DataType, given: np.ndarray) -> pa.Array:
    """A signal as a column of its type; null where there is no value, and for documents without a text."""
    if isinstance(values, pa.Array):
        array = values
    elif pa.types.is_floating(kind):
        array = pa.array(np.asarray(values, np.float64), kind, from_pandas=True)
    elif isinstance(values, np.ndarray):
        array = pa.array(values).cast(kind)
    else:
        array = pa.array(values, kind)
    if given.all():
        return array
    import pyarrow.compute as pc

    return pc.if_else(pa.array(given), array, pa.nulls(len(array), array.type))


def need_column(batch: pa.RecordBatch, name: str, what: str) -> pa.Array:
    """A column of the documents as strings.

    Raises:
        ValueError: it is not there.
    """
    if name not in batch.schema.names:
        raise ValueError(
            f"{what} are read from the column {name!r}, which the documents lack.{suggest(name, batch.schema.names)} "
            f"They have: {', '.join(batch.schema.names)}."
        )
    return batch.column(name).cast(pa.string())
