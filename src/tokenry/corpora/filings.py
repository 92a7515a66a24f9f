"""Make a dated corpus of clean prose from regulatory filings (EDGAR full-submission files), with where it came from.

Every document of a filing that is prose becomes one row: cleaned text, form, type, filer, the second of its acceptance
(nobody could read it before), its Items as spans. Binary parts, data and tables of numbers are left out and counted.

Paper: BeanCounter: A low-toxicity, large-scale, and open dataset of business-oriented text (arXiv 2409.17827).
"""

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path

import pyarrow as pa

from tokenry.core.hashing import fingerprint
from tokenry.core.report import Figure, Report
from tokenry.corpora.engine import Engine
from tokenry.corpora.filing_container import Part, Submission, part_kind, read_submission
from tokenry.corpora.filing_sections import Section, sections
from tokenry.corpora.filing_text import clean_part
from tokenry.corpora.html_text import UnreadablePage
from tokenry.corpora.raw_files import Converted, Passed, convert, find_raw

__all__ = ["FILINGS", "SUFFIXES", "Wanted", "filings_report", "read_filing", "read_filings"]

VERSION = 1
SUFFIXES = (".txt", ".txt.gz", ".nc", ".nc.gz", ".sgml", ".sgml.gz")
ITEMS = pa.list_(pa.struct([("item", pa.string()), ("start", pa.int64()), ("end", pa.int64())]))
FILINGS = pa.schema(
    [
        ("id", pa.string()), ("text", pa.string()), ("source", pa.string()), ("form", pa.string()),
        ("type", pa.string()), ("item", pa.string()), ("items", ITEMS), ("accession", pa.string()),
        ("sequence", pa.string()), ("filename", pa.string()), ("description", pa.string()), ("company", pa.string()),
        ("cik", pa.string()), ("sic", pa.string()), ("filed", pa.date32()), ("accepted", pa.timestamp("s", tz="UTC")),
        ("period", pa.date32()), ("year", pa.int64()), ("kind", pa.string()), ("is_whole", pa.bool_()),
        ("n_tables", pa.int64()), ("n_furniture", pa.int64()), ("file", pa.string()),
    ]
)  # fmt: skip
"""Columns of the documents; `source` is the form, `kind` "html" or "text", `item` null but where Items are rows."""
MOST_BYTES = 2**30
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True)
class Wanted:
    """Which filings and parts are taken.

    Attributes:
        forms: such as ("10-K", "8-K"), with their amendments (10-K/A) when `amendments`; () takes all.
        first: not filed before this day; None for any.
        last: not after this day.
        amendments: take forms that end in /A too.
        exhibits: take the other documents of a filing too, not only the one of its form.
        by_item: one row for each Item instead of one for each document; those without Items are left out.
        items: with `by_item`, only these, such as ("1A", "7"); () takes all.
        keep_tables: keep tables of numbers.
        shortest: words that a text must have.
    """

    forms: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None
    amendments: bool = False
    exhibits: bool = True
    by_item: bool = False
    items: tuple[str, ...] = ()
    keep_tables: bool = False
    shortest: int = 20

    def __post_init__(self) -> None:
        if self.first and self.last and self.first > self.last:
            raise ValueError(f"from {self.first} to {self.last}: no day lies between. Exchange --from and --to.")
        if self.items and not self.by_item:
            raise ValueError("items are named, but rows are documents. Ask for rows by Item (--by-item) too.")

    def takes(self, filing: Submission) -> str:
        """Why a filing is left out; "" when it is taken."""
        form = filing.form.upper()
        plain = form.removesuffix("/A")
        if self.forms and plain not in [one.upper().removesuffix("/A") for one in self.forms]:
            return "other form"
        if form != plain and not self.amendments and form not in [one.upper() for one in self.forms]:
            return "amendment"
        day = filing.filed or (filing.accepted.date() if filing.accepted else None)
        if (self.first or self.last) and day is None:
            return "no date"
        if (self.first and day < self.first) or (self.last and day > self.last):
            return "other date"
        return ""


def read_filings(
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    wanted: Wanted = Wanted(),
    per_part: int = 64,
    engine: str | Engine = "embedded",
) -> Converted:
    """Make documents of the filings in files, folders and globs.

    Args:
        source: full-submission text files, also with .gz; of folders those that end in `SUFFIXES`.
        out: the folder of Parquet parts to make (columns: `FILINGS`); `passed.tsv` in it says what was left out.
        wanted: which filings and parts.
        per_part: files whose documents make one part.
        engine: an engine or its name.

    Raises:
        FileNotFoundError: nothing is there. FileExistsError: `out` is.

    Paper: BeanCounter (arXiv 2409.17827), section 3; the details are ours.
    """
    files = find_raw(source, SUFFIXES)
    settings = asdict(wanted)
    key = fingerprint("filings", VERSION, {name: str(value) for name, value in settings.items()})
    return convert(files, out, read=partial(read_filing, wanted=wanted), schema=FILINGS, key=key, per_part=per_part,
                   engine=engine, label="filings", run={"verb": "corpus filings", **settings})  # fmt: skip


def read_filing(path: Path, passed: Passed, *, wanted: Wanted = Wanted()) -> Iterator[dict[str, object]]:
    """The documents of one file as rows with the columns of `FILINGS`; what is left out goes to `passed`."""
    data, is_whole = _bytes_of(path, passed)
    if data is None:
        return
    try:
        filing = read_submission(data)
    except ValueError:
        passed.n_seen += 1
        passed.add("no filing", path.name)
        return
    if reason := wanted.takes(filing):
        passed.n_seen += 1
        passed.add(reason, filing.accession or path.name)
        return
    if not (filing.is_whole and is_whole):
        passed.add("cut short (what is there is kept)", filing.accession or path.name)
    names: set[str] = set()
    for number, part in enumerate(filing.parts, 1):
        passed.n_seen += 1
        name = f"{filing.accession or path.stem}/{part.filename or part.sequence or number}"
        name = f"{name}#{number}" if name in names else name
        names.add(name)
        for row in _rows(filing, part, name, wanted, passed):
            row["file"] = path.name
            row["is_whole"] = bool(row["is_whole"] and (is_whole or number < len(filing.parts)))
            yield row


def _rows(filing: Submission, part: Part, name: str, wanted: Wanted, passed: Passed) -> Iterator[dict[str, object]]:
    if not wanted.exhibits and part.type.upper() != filing.form.upper():
        kind = part_kind(part)[0]
        passed.add("exhibit" if kind in ("html", "text") else kind, name)
        return
    try:
        cleaned = clean_part(part, keep_tables=wanted.keep_tables)
    except UnreadablePage as error:
        passed.add(error.reason, name)
        return
    if cleaned.kind not in ("html", "text"):
        passed.add(cleaned.kind, name)
        return
    if len(_WORD.findall(cleaned.text, 0)) < wanted.shortest:
        passed.add("nearly empty", name)
        return
    found = sections(cleaned.text, part.type or filing.form)
    day = filing.filed or (filing.accepted.date() if filing.accepted else None)
    row: dict[str, object] = {
        "id": name, "text": cleaned.text, "source": filing.form, "form": filing.form, "type": part.type, "item": None,
        "items": [asdict(one) for one in found], "accession": filing.accession, "sequence": part.sequence,
        "filename": part.filename, "description": part.description, "company": filing.company, "cik": filing.cik,
        "sic": filing.sic, "filed": filing.filed, "accepted": filing.accepted, "period": filing.period,
        "year": day.year if day else None, "kind": cleaned.kind, "is_whole": part.is_whole,
        "n_tables": cleaned.n_tables, "n_furniture": cleaned.n_furniture,
    }  # fmt: skip
    if not wanted.by_item:
        yield row
        return
    if not found:
        passed.add("no Items", name)
    for one in found:
        if not wanted.items or one.item in wanted.items:
            yield _of_item(row, one)


def _of_item(row: dict[str, object], one: Section) -> dict[str, object]:
    text = str(row["text"])[one.start : one.end].strip()
    return {**row, "id": f"{row['id']}#{one.item}", "text": text, "item": one.item, "items": []}


def _bytes_of(path: Path, passed: Passed) -> tuple[bytes | None, bool]:
    """What can be read of a file, and whether that is all; None where it is left out."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    pieces, size, is_whole = [], 0, True
    try:
        with opener(path, "rb") as file:
            while piece := file.read1(2**20):  # what stands before the damage comes too
                size += len(piece)
                if size > MOST_BYTES:
                    passed.n_seen += 1
                    passed.add("too large", path.name)
                    return None, False
                pieces.append(piece)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        is_whole = False
    except OSError as error:
        passed.n_seen += 1
        passed.add(f"cannot be read ({type(error).__name__})", path.name)
        return None, False
    return b"".join(pieces), is_whole


def filings_report(converted: Converted, *, duplicates: dict[str, pa.Table] | None = None) -> Report:
    """How much there is of each form and year, and what was left out.

    Args:
        converted: as `read_filings` gives it.
        duplicates: name of a method -> its sidecar as a table; adds the share of duplicates by form.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    names = ["form", "year", "accession", "text", "n_tables", "n_furniture", "is_whole"]
    tables = []
    for part in converted.documents.parts:
        for batch in pq.ParquetFile(part).iter_batches(batch_size=256, columns=names):
            texts = batch.column("text")
            words = pc.add(pc.count_substring_regex(texts, r"\S+"), 0)
            made = pa.table({
                "form": batch.column("form"), "year": batch.column("year"), "accession": batch.column("accession"),
                "chars": pc.utf8_length(texts).cast(pa.int64()), "words": words.cast(pa.int64()),
                "n_tables": batch.column("n_tables"), "n_furniture": batch.column("n_furniture"),
            })  # fmt: skip
            tables.append(made)
    every = pa.concat_tables(tables) if tables else _no_rows()
    for name, table in (duplicates or {}).items():
        column = next(one for one in table.column_names if one.endswith("duplicate_of"))
        every = every.append_column(name, pc.is_valid(table.column(column)).cast(pa.int64()))
    found = _by_form_and_year(every, list(duplicates or {}))
    sums = {name: pc.sum(every.column(name)).as_py() or 0 for name in ("chars", "words", "n_tables", "n_furniture")}
    facts = {
        "documents": every.num_rows,
        "filings": pc.count_distinct(every.column("accession")).as_py(),
        "characters": sums["chars"],
        "words": sums["words"],
        "tables_left_out": sums["n_tables"],
        "furniture_lines_left_out": sums["n_furniture"],
        "parts_seen": converted.passed.n_seen,
        "parts_left_out": sum(converted.passed.counts.values()),
    }
    years = sorted({row["year"] for row in found if row["year"]})
    forms = list(dict.fromkeys(row["form"] for row in found))[:6]
    series = {
        form: [(str(year), sum(r["words"] for r in found if (r["form"], r["year"]) == (form, year))) for year in years]
        for form in forms
    }
    return Report(
        kind="filings",
        title="Filings",
        facts=facts,
        tables={"by form and year": pa.Table.from_pylist(found), "left out": converted.passed.table()},
        figures=[Figure("bar", "Words by year", "year", "words", series)] if years and series else [],
        verdict=f"{facts['documents']:,} documents of {facts['filings']:,} filings, {facts['words']:,} words.",
        notes=["A year is that of filing. Words are runs without white space. Tables are those of numbers."],
    )


def _no_rows() -> pa.Table:
    kinds = {"form": pa.string(), "year": pa.int64(), "accession": pa.string()}
    kinds |= dict.fromkeys(("chars", "words", "n_tables", "n_furniture"), pa.int64())
    return pa.table({name: pa.array([], kind) for name, kind in kinds.items()})


def _by_form_and_year(every: pa.Table, duplicates: list[str]) -> list[dict[str, object]]:
    sums = [(name, "sum") for name in ("chars", "words", "n_tables", *duplicates)]
    counts = [("accession", "count_distinct"), ("chars", "count")]
    grouped = every.group_by(["form", "year"]).aggregate([*counts, *sums])
    rows = []
    for row in grouped.to_pylist():
        made = {"form": row["form"], "year": row["year"], "filings": row["accession_count_distinct"],
                "documents": row["chars_count"], "words": row["words_sum"], "chars": row["chars_sum"],
                "tables": row["n_tables_sum"]}  # fmt: skip
        made |= {f"{name} duplicates": row[f"{name}_sum"] / max(1, row["chars_count"]) for name in duplicates}
        rows.append(made)
    return sorted(rows, key=lambda one: (str(one["form"]), one["year"] or 0))
