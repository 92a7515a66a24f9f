"""From a folder of filings to a corpus without duplicates and boilerplate, and how much there is of each form and year.

Legal boilerplate comes again in every filing and year: BeanCounter found 8.8 % of the tokens of annual and 23 % of
those of current reports to be duplicates. Here that is measured and removed by the duplicate finders of this room.

Paper: BeanCounter: A low-toxicity, large-scale, and open dataset of business-oriented text (arXiv 2409.17827).
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from tokenry.core.report import Report
from tokenry.corpora.engine import Engine, open_engine
from tokenry.corpora.filings import Wanted, filings_report, read_filings

__all__ = ["day_of", "filing_corpus", "listed"]


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
        source: full-submission files, folders, globs.
        out: the folder of the documents. With a `method` or `boilerplate` all documents stay in `OUT.clean`, the
            decisions in `OUT.duplicates` and `OUT.paragraphs`, and `out` has what is kept.
        wanted: which filings and parts.
        method: "exact" or "minhash" for whole documents, None for none. The first filed is kept.
        boilerplate: cut paragraphs that stood before, in any filing.
        engine: an engine or its name.

    Raises:
        ValueError: no such method. FileExistsError: an output is there.
    """
    from tokenry.corpora.dedup import Settings, dedup
    from tokenry.corpora.dedup_paragraphs import dedup_paragraphs
    from tokenry.corpora.select import Choice, select
    from tokenry.corpora.sidecars import read_signals

    if method not in (None, "exact", "minhash"):
        raise ValueError(f"no way {method!r} to find equal filings; need exact or minhash.")
    engine = open_engine(engine)
    if method is None and not boilerplate:
        return filings_report(read_filings(source, out, wanted=wanted, engine=engine))
    if Path(out).exists():
        raise FileExistsError(f"{out} exists already. Give another folder, or remove it first.")
    clean = Path(f"{out}.clean")
    made = read_filings(source, clean, wanted=wanted, engine=engine)
    sidecars, rules, cut, duplicates = [], {}, {}, {}
    if method is not None:
        folder = Path(f"{out}.duplicates")
        dedup(clean, folder, settings=Settings(method), engine=engine)
        sidecars.append(folder)
        rules["duplicate"] = f"missing(dedup.{method}.duplicate_of)"
        duplicates[method] = read_signals(folder, [f"dedup.{method}.duplicate_of"])
    if boilerplate:
        folder = Path(f"{out}.paragraphs")
        found = dedup_paragraphs(clean, folder, engine=engine)
        sidecars.append(folder)
        cut["dedup.paragraphs.spans"] = ""
    kept = select(clean, out, choice=Choice(rules=rules), sidecars=sidecars, engine=engine, cut=cut)
    report = filings_report(made, duplicates=duplicates)
    report.facts["documents_kept"] = kept.report.facts.get("kept", kept.report.facts.get("documents_kept"))
    if boilerplate:
        report.facts["paragraphs_repeated"] = found.report.facts["repeated"]
        report.facts["paragraphs"] = found.report.facts["paragraphs"]
        report.notes.append("Items are spans of the text before paragraphs were cut; they belong to OUT.clean.")
    return report


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
