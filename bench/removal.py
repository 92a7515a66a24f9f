"""What each filter of the pipeline removes, alone and together, on the real text at hand: documents and characters.

    python bench/removal.py       # ../shared/data/mixture and finance-edgar; writes docs/results/removal.md

None of it is a crawl of the web: documentation and source code of mixture (packages of Debian, PyPI, npm) and annual
reports. The published shares are of Common Crawl.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.runs import set_quiet
from tokenry.core.tables import read, write
from tokenry.corpora.dedup import Settings, dedup
from tokenry.corpora.dedup_paragraphs import dedup_paragraphs
from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.expressions import parse
from tokenry.corpora.presets import preset
from tokenry.corpora.sidecars import read_signals
from tokenry.corpora.signals import score_corpus

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
PAGE = ROOT / "docs" / "results" / "removal.md"
PRESETS = ("gopher-quality", "gopher-repetition", "c4", "fineweb", "dolma-v1.5")
FAMILIES = ("gopher", "repetition", "c4", "fineweb", "dolma.gopher", "dolma.c4", "pii")
GROUPS = {"English documentation": lambda name: name == "en", "25 other languages": lambda name: len(name) == 2,
          "code": lambda name: name.startswith("code"), "EDGAR": lambda name: name == "edgar"}  # fmt: skip


def documents(folder: Path) -> tuple[Path, list[str], np.ndarray]:
    """All text in one file, with the group of each document and its characters."""
    tables = []
    for path in [*sorted((SHARED / "mixture").glob("*.jsonl.xz")), SHARED / "finance-edgar" / "filings.jsonl.xz"]:
        name = "edgar" if path.parent.name == "finance-edgar" else path.name.partition(".")[0]
        group = next(group for group, fits in GROUPS.items() if fits(name))
        texts = read(path, columns=()).column("text")
        ids = [f"{name}:{n}" for n in range(len(texts))]
        tables.append(pa.table({"id": ids, "text": texts, "source": [group] * len(texts)}))
    whole = pa.concat_tables(tables)
    write(whole, folder / "docs.parquet")
    lengths = np.array([len(text or "") for text in whole.column("text").to_pylist()])
    return folder / "docs.parquet", whole.column("source").to_pylist(), lengths


def cut_characters(spans: pa.ChunkedArray) -> np.ndarray:
    """Characters in the spans of each document."""
    return np.array([sum(one["end"] - one["start"] for one in each or ()) for each in spans.to_pylist()], float)


def removed(folder: Path, docs: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Filter -> whether it drops a document; filter -> characters that it cuts out of one."""
    engine = EmbeddedEngine(workers=1)
    score_corpus(docs, FAMILIES, folder / "signals", engine=engine)
    signals = read_signals(folder / "signals")
    drops, cuts = {}, {}
    for name in PRESETS:
        holds = [np.asarray(parse(rule).holds(signals)) for rule in preset(name).rules.values()]
        drops[name] = ~np.logical_and.reduce(holds)
    cuts["c4: lines"] = cut_characters(signals.column("c4.dropped"))
    cuts["dolma: lines without an end (NoPunc)"] = cut_characters(
        signals.column("dolma.c4.lines_with_no_ending_punctuation")
    )
    for method in ("exact", "minhash"):
        dedup(docs, folder / method, settings=Settings(method=method), engine=engine)
        drops[f"dedup {method}"] = np.asarray(
            read_signals(folder / method).column(f"dedup.{method}.duplicate_of").is_valid()
        )
    dedup_paragraphs(docs, folder / "paragraphs", engine=engine)
    spans = read_signals(folder / "paragraphs").column("dedup.paragraphs.spans")
    cuts["dedup paragraphs"] = cut_characters(spans)
    return drops, cuts


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def page(groups: list[str], lengths_D: np.ndarray, drops: dict, cuts: dict) -> str:
    group_D = np.array(groups)
    masks = {name: group_D == name for name in GROUPS}
    head = [
        "filter",
        *(f"{name} ({mask.sum():,}; {lengths_D[mask].sum() / 1e6:.1f} M)" for name, mask in masks.items()),
    ]
    rows = []
    for name, drop_D in drops.items():
        gone_D = lengths_D * drop_D
        shares = [(drop_D[mask].mean(), gone_D[mask].sum() / lengths_D[mask].sum()) for mask in masks.values()]
        rows.append([name, *(f"{documents:.1%} / {characters:.1%}" for documents, characters in shares)])
    for name, cut_D in cuts.items():
        rows.append([name, *(f"- / {cut_D[mask].sum() / lengths_D[mask].sum():.1%}" for mask in masks.values())])
    pairs = []
    for one, other in itertools.combinations(drops, 2):
        mask = masks["English documentation"]
        both, either = (drops[one] & drops[other])[mask].sum(), (drops[one] | drops[other])[mask].sum()
        alone = (drops[one] & ~drops[other])[mask].sum(), (drops[other] & ~drops[one])[mask].sum()
        if both:
            pairs.append((both / either, [one, other, f"{both:,}", f"{alone[0]:,}", f"{alone[1]:,}",
                                          f"{both / either:.2f}"]))  # fmt: skip
    pairs = [row for _, row in sorted(pairs, key=lambda pair: -pair[0])]
    return PAGE_TEXT.format(
        table=table(head, rows), overlap=table(["one", "other", "both", "one alone", "other alone", "Jaccard"], pairs)
    )


PAGE_TEXT = """# What each filter removes

`python bench/removal.py`

No web crawl was at hand (none lies in `../shared/data`), so these are not to be held against the published shares of
Common Crawl (Dolma: Gopher rules 15.23 % of characters, NoPunc 22.73 %, paragraph deduplication 18.7 %). This is edited
text: documentation and source code (`mixture`) and annual reports (`finance-edgar`).

Documents / characters that a filter removes alone (in brackets: documents, million characters). Line and paragraph
filters cut, they drop no document.

{table}

Most documents of `mixture` are single paragraphs, so 50 words or 5 sentences are much to ask of them. Stop words,
letters and line ends are those of English prose: the presets are for English web pages, and other languages and code
show what happens elsewhere. `mixture` was made without exact duplicates.

Overlap of the filters that drop documents, English documentation only (documents; Jaccard = both / either):

{overlap}
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args()
    set_quiet(True)
    with tempfile.TemporaryDirectory() as held:
        docs, groups, lengths_D = documents(Path(held))
        drops, cuts = removed(Path(held), docs)
    arguments.out.write_text(page(groups, lengths_D, drops, cuts), encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
