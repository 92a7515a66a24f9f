"""Augment labelled documents by path: parse, learn a grammar for each class, make new texts, divide, write.

Papers: ALP: Data Augmentation using Lexicalized PCFGs for Few-Shot Text Classification (arXiv 2112.11916).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core import tables
from tokenry.core.hashing import fingerprint
from tokenry.core.report import Report
from tokenry.core.runs import atomic_folder, atomic_write, write_run
from tokenry.corpora.augment import Augmented, Constraints, Parsed, SubtreePool, augment
from tokenry.corpora.augment_splits import Example, Split, check, leaks, split
from tokenry.corpora.dependency_trees import Skipped
from tokenry.corpora.parsers import NoColumnError, open_parser, open_synonyms

__all__ = ["Wish", "augment_documents"]

_CHANGE = pa.struct([("kind", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("source", pa.string()),
                     ("before", pa.string()), ("after", pa.string())])  # fmt: skip
_SCHEMA = pa.schema([
    ("id", pa.string()), ("text", pa.string()), ("source", pa.string()), ("label", pa.string()),
    ("augment.base", pa.string()), ("augment.sources", pa.list_(pa.string())), ("augment.changes", pa.list_(_CHANGE)),
    ("augment.log_p", pa.float64()), ("augment.margin", pa.float64()), ("augment.distance", pa.float64()),
])  # fmt: skip


@dataclass(frozen=True)
class Wish:
    """What is wanted of an augmentation.

    Attributes:
        parser: see `parsers.open_parser`.
        per_class: texts of each class in the end, originals counted.
        label: the column with the class.
        strategy: see `augment_splits`.
        share: for validation, see `augment_splits.split`.
        heads: head rules.
        synonyms: see `parsers.open_synonyms`.
        constraints: see `augment.Constraints`.
        seed: of everything random.
    """

    parser: str = "column:tree"
    per_class: int = 100
    label: str = "label"
    strategy: str = "augtrain-train"
    share: float = 0.5
    heads: str = "collins"
    synonyms: str | None = None
    constraints: Constraints = field(default_factory=Constraints)
    seed: int = 0


def augment_documents(
    source: object, out: str | Path, wish: Wish = Wish(), *, overwrite: bool = False, reading: dict | None = None
) -> Report:
    """Write OUT/train.jsonl and OUT/validation.jsonl, every new text with what it came from.

    Args:
        source: labelled documents, see `core.tables.stream`.
        out: a new folder.
        wish: what is wanted.
        overwrite: replace what is there.
        reading: options of `core.tables.stream`.

    Raises:
        ValueError: no column with classes, no document with a tree, an unknown strategy or parser.
        FileExistsError: `out` is there.
    """
    check(wish.strategy, wish.share)
    skipped = Skipped()
    synonyms = open_synonyms(wish.synonyms)
    originals, parsed, counts = _read(source, wish, reading or {}, skipped)
    by_id = {one.id: one for one in parsed}
    if not parsed:
        why = "; ".join(f"{n} {reason}" for reason, n in sorted(counts.items()))
        raise ValueError(
            f"none of {len(originals)} documents has a tree ({why}; {skipped.first}); look at what {wish.parser} gives."
        )

    def make(chosen: Sequence[Example]) -> list[Example]:
        held = [by_id[one.sources[0]] for one in chosen if one.sources[0] in by_id]
        pool = SubtreePool.from_trees(held)
        made: list[Example] = []
        for label in pool.documents:
            rng = np.random.default_rng([wish.seed, int(fingerprint(label)[:8], 16)])
            n = max(0, wish.per_class - sum(one.label == label for one in chosen))
            new = augment(pool, n, rng, label=label, constraints=wish.constraints, synonyms=synonyms)
            made += [Example(one.text, label, tuple(one.sources), one) for one in new]
        return made

    parts = split(originals, make, strategy=wish.strategy, share=wish.share, seed=wish.seed)
    with atomic_folder(Path(out), overwrite=overwrite) as folder:
        for name in ("train", "validation"):
            tables.write(_table(getattr(parts, name)), folder / f"{name}.jsonl")
        report = _report(parts, counts, skipped, wish)
        atomic_write(folder / "report.json", report.to_json().encode())
        write_run(folder, verb="corpus augment", arguments=_plain(wish), seed=wish.seed, inputs=[source])
    return report


def _plain(wish: Wish) -> dict:
    from dataclasses import asdict

    said = asdict(wish)
    said["constraints"]["protected"] = sorted(wish.constraints.protected)
    return said


def _read(source: object, wish: Wish, reading: dict, skipped: Skipped) -> tuple[list[Example], list[Parsed], Counter]:
    parse = open_parser(wish.parser, heads=wish.heads, skipped=skipped)
    originals, parsed, counts = [], [], Counter()
    for batch in tables.stream(source, **reading):
        if wish.label not in batch.schema.names:
            from tokenry.core.choosing import suggest

            raise ValueError(
                f"no column {wish.label!r} with the classes.{suggest(wish.label, batch.schema.names)} There are: "
                f"{', '.join(batch.schema.names)}. Name it: --label."
            )
        for row in batch.to_pylist():
            if row[wish.label] is None or not row["text"]:
                counts["without class or text, left out"] += 1
                continue
            label = str(row[wish.label])
            originals.append(Example(row["text"], label, (row["id"],)))
            try:
                trees = parse(row)
            except NoColumnError:
                raise
            except ValueError as error:
                counts["whose tree is not readable"] += 1
                skipped.first = skipped.first or f"{row['id']}: {error}"
                continue
            if trees:
                parsed.append(Parsed(row["id"], label, trees))
                counts["whose trees have other words than the text"] += _letters(parsed[-1].text) != _letters(
                    row["text"]
                )
            else:
                counts["that the parser gives no tree for"] += 1
    return originals, parsed, counts


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _table(examples: Sequence[Example]) -> pa.Table:
    return pa.Table.from_pylist([_row(one) for one in examples], schema=_SCHEMA)


def _row(example: Example) -> dict:
    new: Augmented | None = example.made
    row = {"text": example.text, "label": example.label, "augment.sources": list(example.sources)}
    if new is None:
        return {**row, "id": example.sources[0], "source": "original"}
    changes = [
        {"kind": change.kind, "start": begin, "end": end, "source": change.source,
         "before": " ".join(change.before.words), "after": " ".join(change.after.words)}
        for change, (begin, end) in zip(new.changes, new.spans, strict=True)
    ]  # fmt: skip
    margin = None if np.isnan(new.margin) else new.margin
    return {**row, "id": f"augment-{fingerprint(new.text, new.label)[:16]}", "source": "augmented",
            "augment.base": new.base, "augment.changes": changes, "augment.log_p": new.log_p,
            "augment.margin": margin, "augment.distance": new.distance}  # fmt: skip


def _report(parts: Split, counts: Counter, skipped: Skipped, wish: Wish) -> Report:
    everything = {id(one): one for one in [*parts.train, *parts.validation]}.values()
    labels = sorted({one.label for one in everything})
    originals = Counter(one.label for one in everything if one.made is None)
    made: dict[str, list[Augmented]] = {label: [] for label in labels}
    for one in everything:
        if one.made is not None:
            made[one.label].append(one.made)
    table = pa.table({
        "class": labels,
        "originals": [originals[label] for label in labels],
        "made": [len(made[label]) for label in labels],
        "asked": [max(0, wish.per_class - originals[label]) for label in labels],
        "mean margin": [_mean([one.margin for one in made[label]]) for label in labels],
        "mean distance": [_mean([one.distance for one in made[label]]) for label in labels],
    })  # fmt: skip
    warnings = [f"{n} documents {reason}" for reason, n in sorted(counts.items()) if n]
    warnings += [f"the first that is not readable is {skipped.first}"] if skipped.first else []
    warnings += [f"{n} sentences without a tree: {reason}" for reason, n in sorted(skipped.counts.items())]
    short = [label for label in labels if originals[label] > 0 and len(made[label]) + originals[label] < wish.per_class]
    if short:
        warnings.append(
            f"fewer texts than asked for in {', '.join(short)}: its phrases allow no more that are new and safe. Give "
            "more originals, more --swaps, or --margin none."
        )
    n_made = sum(map(len, made.values()))
    return Report(
        "corpus-augment", "Labelled texts augmented by grammar",
        facts={"strategy": parts.strategy, "train": len(parts.train), "validation": len(parts.validation),
               "made": n_made, "validation.leaks": leaks(parts)},
        tables={"classes": table}, warnings=warnings, notes=[parts.says],
        verdict=f"{n_made} new texts from {sum(originals.values())} originals; {len(parts.train)} to train on, "
                f"{len(parts.validation)} to validate on.",
    )  # fmt: skip


def _mean(values: list[float]) -> float | None:
    kept = [value for value in values if not np.isnan(value)]
    return float(np.mean(kept)) if kept else None
