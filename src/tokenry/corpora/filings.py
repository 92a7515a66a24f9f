"""Make a dated corpus of clean prose from regulatory filings (EDGAR full-submission files), with where it came from.

Every document of a filing that is prose becomes one row: cleaned text, form, type, filer, the second of its acceptance
(nobody could read it before), its Items as spans. Binary parts, data and tables of numbers are left out and counted.

Paper: BeanCounter: A low-toxicity, large-scale, and open dataset of business-oriented text (arXiv 2409.17827).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path

import pyarrow as pa

from tokenry.core.hashing import fingerprint, stable_hash
from tokenry.core.report import Figure, Report
from tokenry.corpora.engine import Engine
from tokenry.corpora.filing_container import Part, Submission, part_kind, read_submission
from tokenry.corpora.filing_sections import Section, sections
from tokenry.corpora.filing_text import clean_part
from tokenry.corpora.html_text import UnreadablePage
from tokenry.corpora.raw_contents import PACKED, contents
from tokenry.corpora.raw_files import Converted, Passed, convert, find_raw

__all__ = ["FILINGS", "SUFFIXES", "Wanted", "filings_report", "read_filing", "read_filings"]

VERSION = 2
SUFFIXES = (*(f".{kind}{packed}" for kind in ("txt", "nc", "sgml", "tar") for packed in PACKED), ".tgz")
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
_LEFT = ("n_tables", "n_furniture")
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
    again: bool = False,
) -> Converted:
    """Make documents of the filings in files, folders and globs.

    Args:
        source: full-submission text files, or tar archives of them (a day's feed), also packed; of folders those that
            end in `SUFFIXES`.
        out: the folder of Parquet parts to make (columns: `FILINGS`); `passed.tsv` in it says what was left out.
        wanted: which filings and parts.
        per_part: files whose documents make one part.
        engine: an engine or its name.
        again: where `out` was made of the same files with the same settings, take it as it is.

    Raises:
        FileNotFoundError: nothing is there. FileExistsError: `out` is.

    Paper: BeanCounter (arXiv 2409.17827), section 3; the details are ours.
    """
    files = find_raw(source, SUFFIXES)
    settings = asdict(wanted)
    key = fingerprint("filings", VERSION, {name: str(value) for name, value in settings.items()})
    return convert(files, out, read=partial(read_filing, wanted=wanted), schema=FILINGS, key=key, per_part=per_part,
                   engine=engine, label="filings", again=again, run={"verb": "corpus filings", **settings})  # fmt: skip


def read_filing(path: Path, passed: Passed, *, wanted: Wanted = Wanted()) -> Iterator[dict[str, object]]:
    """The documents of one file, or of a tar archive of filings, as rows with the columns of `FILINGS`.

    What is left out goes to `passed`. A tar archive is read member by member; nothing is written to the disk.
    """
    for name, data, is_whole in contents(path, passed, most_bytes=MOST_BYTES):
        yield from _documents(name, data, is_whole, wanted, passed)


def _documents(file: str, data: bytes, is_whole: bool, wanted: Wanted, passed: Passed) -> Iterator[dict[str, object]]:
    try:
        filing = read_submission(data)
    except ValueError:
        passed.n_seen += 1
        passed.add("no filing", file)
        return
    if reason := wanted.takes(filing):
        passed.n_seen += 1
        passed.add(reason, filing.accession or file)
        return
    if not (filing.is_whole and is_whole):
        passed.remark("cut short (what is there is kept)", filing.accession or file)
    names: set[str] = set()
    for number, part in enumerate(filing.parts, 1):
        passed.n_seen += 1
        name = f"{filing.accession or file.partition('.')[0]}/{part.filename or part.sequence or number}"
        name = f"{name}#{number}" if name in names else name
        names.add(name)
        for row in _rows(filing, part, name, wanted, passed):
            row["file"] = file
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
    taken = [one for one in found if not wanted.items or one.item in wanted.items]
    if not taken:
        passed.add("none of the Items that are asked for" if found else "no Items", name)
    yield from (_of_item(row, one) for one in taken)


def _of_item(row: dict[str, object], one: Section) -> dict[str, object]:
    text = str(row["text"])[one.start : one.end].strip()
    return {**row, "id": f"{row['id']}#{one.item}", "text": text, "item": one.item, "items": []}


def filings_report(converted: Converted, *, duplicates: Mapping[str, pa.Table] | None = None) -> Report:
    """How much there is of each form and year, and what was left out.

    Args:
        converted: as `read_filings` gives it.
        duplicates: name of a method -> its sidecar as a table; adds the share of the words that stand in duplicates.
    """
    found = _by_form_and_year(converted, duplicates or {})
    total = {name: sum(row[name] for row in found) for name in ("filings", "documents", "words", "chars", *_LEFT)}
    facts = {
        "documents": total["documents"],
        "filings": total["filings"],
        "characters": total["chars"],
        "words": total["words"],
        "tables_left_out": total["n_tables"],
        "furniture_lines_left_out": total["n_furniture"],
        "parts_seen": converted.passed.n_seen,
        "parts_left_out": converted.passed.n_left_out,
    }
    for row in found:
        row["tables"] = row.pop("n_tables")
        del row["n_furniture"]
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


def _by_form_and_year(converted: Converted, duplicates: Mapping[str, pa.Table]) -> list[dict[str, object]]:
    """Sums of each form and year; memory holds a batch, and a hash of every filing."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    seen: dict[tuple, set[int]] = defaultdict(set)
    sums: dict[tuple, Counter] = defaultdict(Counter)
    start = 0
    for part in converted.documents.parts:
        for batch in pq.ParquetFile(part).iter_batches(batch_size=256, columns=["form", "year", "accession", "text",
                                                                               *_LEFT]):  # fmt: skip
            text = batch.column("text")
            words = pc.count_substring_regex(text, r"\S+").cast(pa.int64())
            chars = pc.utf8_length(text).cast(pa.int64())
            columns = {"documents": pa.array([1] * len(text)), "words": words, "chars": chars}
            columns |= {name: batch.column(name) for name in _LEFT}
            for name, table in duplicates.items():
                column = next(one for one in table.column_names if one.endswith("duplicate_of"))
                is_one = pc.is_valid(table.column(column).slice(start, len(text))).combine_chunks()
                columns[f"{name} duplicates"] = pc.multiply(words, is_one.cast(pa.int64()))
            start += len(text)
            keys = {name: batch.column(name) for name in ("form", "year", "accession")}
            grouped = pa.table({**keys, **columns}).group_by(list(keys)).aggregate([(one, "sum") for one in columns])
            for row in grouped.to_pylist():
                key = row["form"], row["year"]
                seen[key].add(stable_hash(row["accession"]))
                sums[key].update({name: row[f"{name}_sum"] for name in columns})
    rows = []
    for form, year in sorted(sums, key=lambda one: (str(one[0]), one[1] or 0)):
        row = {"form": form, "year": year, "filings": len(seen[form, year]), **sums[form, year]}
        for name in duplicates:
            row[f"{name} duplicates"] /= max(1, row["words"])
        rows.append(row)
    return rows
