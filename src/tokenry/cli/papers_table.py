"""The papers behind the toolkit, read from papers.toml: as rows, as a Report, and as the table of docs/PAPERS.md.

python -m tokenry.cli.papers_table > docs/PAPERS.md
python -m tokenry.cli.papers_table --update README.md
"""

import argparse
import sys
import tomllib
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenry.core.report import Report

STATES = ("planned", "part", "built")
BEGIN, END = "<!-- papers: begin -->", "<!-- papers: end -->"


@dataclass(frozen=True)
class Paper:
    """One row of papers.toml.

    Attributes:
        nn: two-digit number, "01" to "58".
        name: short name.
        title: title of the paper.
        arxiv: arXiv identifier.
        function: where it lives, "package.module:name".
        verb: what a user types after `tokenry`.
        test: test that holds it, "tests/file.py" or "tests/file.py::name".
        published: one figure of the paper, with its setting.
        ours: what this code measured; "" where nothing was.
        state: "planned", "part" (see `missing`) or "built".
        also: further functions.
        missing: what a row of state "part" does not do yet.
    """

    nn: str
    name: str
    title: str
    arxiv: str
    function: str
    verb: str
    test: str
    published: str
    ours: str
    state: str
    also: tuple[str, ...] = ()
    missing: str = ""

    @property
    def functions(self) -> tuple[str, ...]:
        """`function` and all of `also`."""
        return (self.function, *self.also)


def load() -> list[Paper]:
    """All rows of papers.toml, in its order.

    Raises:
        ValueError: if a row lacks a field, has an unknown one, or an unknown state.
    """
    rows = tomllib.loads(files("tokenry").joinpath("papers.toml").read_text(encoding="utf-8"))["paper"]
    known = {field.name for field in fields(Paper)}
    papers = []
    for row in rows:
        if unknown := sorted(set(row) - known):
            raise ValueError(
                f"papers.toml, row {row.get('nn')}: unknown field {unknown[0]}; known are {sorted(known)}."
            )
        if missing := sorted(known - set(row) - {"also", "missing"}):
            raise ValueError(f"papers.toml, row {row.get('nn')}: no field {missing[0]}; add it.")
        if row["state"] not in STATES:
            raise ValueError(f"papers.toml, row {row['nn']}: state {row['state']!r}; need one of {', '.join(STATES)}.")
        papers.append(Paper(**{**row, "also": tuple(row.get("also", ()))}))
    return papers


def find(number: str) -> Paper:
    """The row of a number ("26", "8", "08") or of a short name.

    Raises:
        ValueError: if there is none.
    """
    papers = load()
    for paper in papers:
        if paper.name == number or (number.isdecimal() and int(paper.nn) == int(number)):
            return paper
    from tokenry.core.choosing import suggest

    hint = suggest(number, [paper.name for paper in papers])
    raise ValueError(f"no paper {number!r}; need a number from 1 to {len(papers)} or a short name.{hint}")


def report(number: str | None = None) -> "Report":
    """One paper in full, or all of them as a table.

    Raises:
        ValueError: if `number` names no paper.
    """
    import pyarrow as pa

    from tokenry.core.report import Report

    if number is not None:
        paper = find(number)
        facts = {
            "paper": f"{paper.title} (arXiv {paper.arxiv})",
            "state": paper.state,
            "verb": f"tokenry {paper.verb}",
            "function": ", ".join(paper.functions),
            "test": paper.test,
            "published": paper.published,
            "ours": paper.ours or "not measured yet",
        }
        if paper.missing:
            facts["missing"] = paper.missing
        return Report(kind="paper", title=f"{paper.nn} {paper.name}", facts=facts)
    papers = load()
    counts = {f"n_{state}": sum(paper.state == state for paper in papers) for state in STATES}
    table = pa.table(
        {name: [getattr(paper, name) for paper in papers] for name in ("nn", "name", "state", "verb", "title")}
    )
    return Report(
        kind="papers",
        title="The papers behind tokenry",
        facts={"n_papers": len(papers), **counts},
        tables={"papers": table},
        notes=["tokenry papers NN shows one of them: function, test, published figure and ours."],
    )


def markdown(*, short: bool = False) -> str:
    """The page docs/PAPERS.md; with `short` only the table for the README, without test and planned figures."""
    papers = load()
    counts = ", ".join(f"{sum(paper.state == state for paper in papers)} {state}" for state in reversed(STATES))
    if short:
        lines = [f"{len(papers)} papers: {counts}.", "", "| | paper | state | verb |", "|---|---|---|---|"]
        lines += [f"| {p.nn} | {_linked(p)} | {p.state} | `tokenry {p.verb}` |" for p in papers]
        return "\n".join(lines) + "\n"
    lines = [
        "# The papers behind tokenry",
        "",
        "Generated from `src/tokenry/papers.toml` by `python -m tokenry.cli.papers_table > docs/PAPERS.md`; "
        "a test keeps it so.",
        "",
        f"{len(papers)} papers: {counts}. *Planned* rows name where the method will live; nothing of it works yet. "
        "*Part* rows say what is missing. Published figures are quoted; *ours* is what this code measured.",
        "",
        "| | paper | state | verb | function | published | ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for paper in papers:
        state = f"part: {paper.missing}" if paper.state == "part" else paper.state
        where = "<br>".join(f"`{name.removeprefix('tokenry.')}`" for name in paper.functions)
        cells = [paper.nn, _linked(paper), state, f"`{paper.verb}`", where, paper.published, paper.ours]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def update(page: str) -> str:
    """`page` with the text between its two marks replaced by the short table.

    Raises:
        ValueError: if the marks are missing.
    """
    if BEGIN not in page or END not in page.split(BEGIN, 1)[1]:
        raise ValueError(f"the page has no marks {BEGIN} ... {END}; put them where the papers table should stand.")
    before, rest = page.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{markdown(short=True)}{END}{rest.split(END, 1)[1]}"


def _linked(paper: Paper) -> str:
    return f"[{paper.title}](https://arxiv.org/abs/{paper.arxiv})"


def main(arguments: list[str] | None = None) -> None:
    """Print docs/PAPERS.md, or bring the table inside a page up to date."""
    parser = argparse.ArgumentParser(prog="python -m tokenry.cli.papers_table", description=main.__doc__)
    parser.add_argument("--update", type=Path, metavar="PAGE", help=f"replace what stands between {BEGIN} and {END}")
    chosen = parser.parse_args(arguments)
    if chosen.update is None:
        sys.stdout.write(markdown())
    else:
        chosen.update.write_text(update(chosen.update.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
