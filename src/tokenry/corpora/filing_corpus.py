"""From a folder of filings to a corpus without duplicates and boilerplate, and how much there is of each form and year.

Legal boilerplate comes again in every filing and year: BeanCounter found 8.8 % of the tokens of annual and 23 % of
those of current reports to be duplicates. Here that is measured and removed by the duplicate finders of this room.

Paper: BeanCounter: A low-toxicity, large-scale, and open dataset of business-oriented text (arXiv 2409.17827).
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tokenry.core.hashing import fingerprint
from tokenry.core.report import Report
from tokenry.core.runs import write_run
from tokenry.corpora.engine import Engine, Mapped, open_engine, read_mapped
from tokenry.corpora.filing_sections import sections
from tokenry.corpora.filings import FILINGS, Wanted, filings_report, read_filings
from tokenry.corpora.html_text import tidy
from tokenry.corpora.spans import replace_spans
from tokenry.corpora.units import Reading

__all__ = ["day_of", "filing_corpus", "listed", "without_boilerplate"]

_SPANS, _EARLIER = "dedup.paragraphs.spans", "filing.earlier"


def filing_corpus(
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    wanted: Wanted = Wanted(),  # noqa: B008 - frozen
    method: str | None = None,
    boilerplate: bool = False,
    engine: str | Engine = "embedded",
) -> Report:
    """Read filings, take out what is there more than once, and say how much there is.

    Args:
        source: full-submission files or tar archives of them, folders, globs.
        out: the folder of the documents. With a `method` or `boilerplate` the steps before it stay in `OUT.steps`: all
            documents (`clean`), which of them are duplicates of which, the repeated paragraphs. The same call goes on
            from there.
        wanted: which filings and parts.
        method: "exact" or "minhash" for whole documents, None for none. The first accepted is kept.
        boilerplate: cut paragraphs that stood before in a document that is kept, in the order of the files' names.
            Documents of which nothing is left go.
        engine: an engine or its name.

    Raises:
        ValueError: no such method. FileExistsError: an output is there.
    """
    from tokenry.corpora.sidecars import read_signals

    if method not in (None, "exact", "minhash"):
        raise ValueError(f"no way {method!r} to find equal filings; need exact or minhash.")
    engine = open_engine(engine)
    if method is None and not boilerplate:
        return filings_report(read_filings(source, out, wanted=wanted, engine=engine))
    if Path(out).exists():
        raise FileExistsError(f"{out} exists already. Give another folder, or remove it first.")
    steps = Path(f"{out}.steps")
    made = read_filings(source, steps / "clean", wanted=wanted, engine=engine, again=True)
    for step in ("duplicates", "duplicates.index", "order", "kept", "kept.decisions", "paragraphs"):
        shutil.rmtree(steps / step, ignore_errors=True)  # of a call that was cut off: little work, and it may be half
    duplicates = {}
    if method is not None:
        _deduplicated(made.documents, steps, out if not boilerplate else steps / "kept", method=method, engine=engine)
        duplicates[method] = read_signals(steps / "duplicates", [f"dedup.{method}.duplicate_of"])
    report = filings_report(made, duplicates=duplicates)
    if boilerplate:
        _shortened(steps / ("clean" if method is None else "kept"), steps, out, engine=engine, report=report)
    report.facts["documents_kept"] = read_mapped(out).n_out
    return report


def _deduplicated(clean: Mapped, steps: Path, out: str | Path, *, method: str, engine: Engine) -> None:
    """Name the duplicates, of which the first accepted is none, and write the others."""
    import pyarrow.parquet as pq

    from tokenry.corpora.dedup import Settings, dedup
    from tokenry.corpora.select import Choice, select
    from tokenry.corpora.sidecars import write_sidecar

    accepted = pa.concat_tables([pq.read_table(part, columns=["accepted"]) for part in clean.parts]).column(0)
    earlier = {_EARLIER: pc.negate(accepted.cast(pa.int64()))}
    write_sidecar(clean, earlier, steps / "order", key=fingerprint(clean.key, "order"), engine=engine.name)
    reading = Reading(sidecars=(str(steps / "order"),))
    dedup(clean.folder, steps / "duplicates", settings=Settings(method), keep=_EARLIER, reading=reading, engine=engine)
    choice = Choice(rules={"duplicate": f"missing(dedup.{method}.duplicate_of)"})
    select(clean.folder, out, choice=choice, sidecars=[steps / "duplicates"], engine=engine)


def _shortened(docs: Path, steps: Path, out: str | Path, *, engine: Engine, report: Report) -> None:
    """Write the documents without paragraphs that stood before; their counts go into the report."""
    from tokenry.corpora.dedup_paragraphs import dedup_paragraphs

    found = dedup_paragraphs(docs, steps / "paragraphs", engine=engine)
    reading = Reading(sidecars=(str(steps / "paragraphs"),), signals=(_SPANS,))
    key = fingerprint("filings without boilerplate", 1, read_mapped(docs).key)
    kept = engine.map(docs, without_boilerplate, out, key=key, reading=reading, label="cutting boilerplate")
    report.facts |= {"paragraphs": found.report.facts["paragraphs"],
                     "paragraphs_repeated": found.report.facts["repeated"],
                     "documents_of_boilerplate_only": kept.n_in - kept.n_out}  # fmt: skip
    write_run(kept.folder, verb="corpus filings", arguments={"boilerplate": True}, seed=None, inputs=[docs])


def without_boilerplate(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The documents of a batch without their repeated paragraphs, their Items found anew; empty ones go.

    The headings of Items, which every filing has, stay.
    """
    kept = [{one["start"] for one in items or ()} for items in batch.column("items").to_pylist()]
    spans = [
        [span for span in found or () if span["start"] not in starts]
        for found, starts in zip(batch.column(_SPANS).to_pylist(), kept, strict=True)
    ]
    cut = replace_spans(batch.column("text"), [(pa.array(spans, batch.column(_SPANS).type), "")])
    texts = [tidy(text or "") for text in cut.to_pylist()]
    held = zip(texts, batch.column("type").to_pylist(), batch.column("items").to_pylist(), strict=True)
    items = [[asdict(one) for one in sections(text, kind)] if had else [] for text, kind, had in held]
    columns = {name: batch.column(name) for name in batch.schema.names if name != _SPANS}
    columns |= {"text": pa.array(texts, pa.string()), "items": pa.array(items, FILINGS.field("items").type)}
    made = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return made.filter(pa.array([bool(text) for text in texts], pa.bool_()))


def day_of(text: str | None) -> date | None:
    """A day as typed, 2015-01-01.

    Raises:
        ValueError: it is none.
    """
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise ValueError(f"{text!r} is no day ({error}); need one such as 2015-01-01.") from error


def listed(text: str) -> tuple[str, ...]:
    """Names with commas between."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
