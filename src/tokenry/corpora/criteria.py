"""Find out by what documents of a corpus should be rated: ask a model why the most and least predictable are so.

For every source the documents of the lowest and of the highest part of a perplexity are shown to a chat model, which
names reasons in short phrases. Batches go on until the reasons named most often stay the same. `rubric_drafts` makes
criteria of them.

Paper: DataMan: Data Manager for Pre-training Large Language Models (arXiv 2502.19363), section 2, "reverse thinking".
Its prompt was not available; ours is our own.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import suggest
from tokenry.core.columns import BadRows
from tokenry.core.hashing import stable_hash
from tokenry.core.report import Report
from tokenry.corpora.phrases import ask_phrases
from tokenry.corpora.rubrics import marks, prepare
from tokenry.corpora.sidecars import columns_of
from tokenry.corpora.units import Reading, cut_units, first_schema, read_unit

__all__ = ["Criteria", "Extreme", "Search", "extremes", "find_criteria"]

# Axes: D documents.

SIDES = ("low", "high")
_WHY = (
    "A language model finds the document below unusually {how} to predict, compared with other documents of its "
    "source. Say why: what is it about the text itself? Name general properties that other documents may have too, not "
    "its topic.\nAnswer with a JSON list of 1 to {most} short noun phrases in English, each of at most {longest} "
    'words, in the form ["a reason", "another reason"], and nothing else. The document stands between the marks.\n'
)
_ECHO = {"a reason", "another reason"}
_HOW = {"low": "easy", "high": "hard"}
_SMALL_WORDS = frozenset(("a", "an", "the", "of", "in", "with", "and", "or", "to", "is", "are", "its", "very", "too"))


@dataclass(frozen=True)
class Search:
    """How reasons are looked for.

    Attributes:
        share: of the documents of a source, at each end of the perplexity.
        most: documents that are asked about, at most; of more, those chosen by a hash of id and seed.
        batch: documents between two looks at the list.
        top: length of the list that must come to rest.
        rests: the search ends when the `top` reasons named most often are the same, in whatever order, after so many
            batches in a row as before them.
        phrases: reasons for one document; an answer with more is refused whole.
        words: of a reason.
        characters: of a document that the model is shown; of a longer one its middle is left out.
        seed: of the order of the documents.
    """

    share: float = 0.02
    most: int = 400
    batch: int = 20
    top: int = 13
    rests: int = 2
    phrases: int = 5
    words: int = 6
    characters: int = 4000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 0.5:
            raise ValueError(f"share={self.share}; need more than 0, and at most 0.5 (then the ends meet).")
        for name, least in (("most", 2), ("batch", 2), ("top", 1), ("rests", 1), ("phrases", 1), ("words", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; need at least {least}.")

    def question(self, one: "Extreme") -> list[dict[str, str]]:
        """What a model is asked about a document."""
        text = prepare(one.text, self.characters)[0]
        begin, end = marks(text)
        asked = _WHY.format(how=_HOW[one.side], most=self.phrases, longest=self.words)
        return [{"role": "user", "content": f"{asked}{begin}{text}{end}"}]


@dataclass(frozen=True)
class Extreme:
    """A document at an end of its source.

    Attributes:
        id, source, text: of the document.
        side: "low" or "high".
        value: of the perplexity.
    """

    id: str
    source: str
    text: str
    side: str
    value: float


@dataclass(frozen=True)
class Criteria:
    """What was found.

    Attributes:
        reasons: the list, most documents first.
        report: counts by side and source, and how the search ended.
    """

    reasons: tuple[str, ...]
    report: Report


def extremes(
    source: object, column: str, *, sidecars: Sequence[str | Path] = (), search: Search = Search(),
    reading: Reading = Reading(),  # noqa: B008 - frozen
) -> list[Extreme]:  # fmt: skip
    """The documents at both ends of every source, sides and sources in turn; at least one document of each side.

    The corpus is read twice, and a number for each document is held. Documents without a value or a text are passed
    over.

    Args:
        source: documents, as `core.tables.stream` reads them.
        column: the perplexity: a signal of the sidecars, or a column of the documents.
        sidecars: folders of signals.
        search: share, most, seed.
        reading: how the documents are read.

    Raises:
        ValueError: no such column, or no source has two documents with different values.
    """
    known = columns_of(sidecars)
    inside = column not in known
    if inside and column not in (own := first_schema(cut_units(source, skip_bad=reading.skip_bad), reading).names):
        raise ValueError(f"no column {column!r} in the signals or the documents.{suggest(column, [*known, *own])} "
                         "Measure it first: tokenry corpus utility DOCS --method ngram.")  # fmt: skip
    folders = () if inside else tuple(map(str, sidecars))
    reading = replace(reading, columns=(column,) if inside else (), sidecars=folders, signals=(column,))
    sources, values_D = _measured(source, column, reading)
    place_D = _places(sources, values_D, search.share)
    chosen = np.flatnonzero(place_D)
    if len(chosen) > search.most:
        order = np.argsort([stable_hash(f"{search.seed} {row}") for row in chosen.tolist()])
        chosen = chosen[_in_turn(order, [(sources[row], place_D[row]) for row in chosen.tolist()])[: search.most]]
    wanted, found, row = set(chosen.tolist()), {}, 0
    for batch in _batches(source, reading):
        mine = [at for at in range(batch.num_rows) if row + at in wanted]
        for at, one in zip(mine, batch.take(pa.array(mine, pa.int64())).to_pylist(), strict=True):
            side = SIDES[int(place_D[row + at]) - 1]
            found[row + at] = Extreme(one["id"], one["source"], one["text"], side, float(one[column]))
        row += batch.num_rows
    rows = sorted(found, key=lambda row: stable_hash(f"{search.seed} {row}"))
    turns = _in_turn(np.arange(len(rows)), [(sources[row], place_D[row]) for row in rows])
    return [found[rows[at]] for at in turns]


def _batches(source: object, reading: Reading) -> Iterator[pa.RecordBatch]:
    for unit in cut_units(source, skip_bad=reading.skip_bad):
        yield from read_unit(unit, reading, BadRows())


def _measured(source: object, column: str, reading: Reading) -> tuple[list[str], np.ndarray]:
    """Source and value of every document; NaN without a text."""
    sources, values = [], []
    for batch in _batches(source, reading):
        value = batch.column(column)
        if not (pa.types.is_floating(value.type) or pa.types.is_integer(value.type)):
            raise ValueError(f"the column {column!r} holds {value.type}; need numbers, a perplexity or bits per byte.")
        made = np.asarray(value.cast(pa.float64()).to_numpy(zero_copy_only=False), float)
        has_text = [bool(text) for text in batch.column("text").to_pylist()]
        values.append(np.where(has_text, made, np.nan))
        sources += batch.column("source").to_pylist()
    return sources, np.concatenate(values) if values else np.empty(0)


def _places(sources: list[str], values_D: np.ndarray, share: float) -> np.ndarray:
    """0 for the middle of a source, 1 for its low end, 2 for its high one."""
    place_D = np.zeros(len(values_D), np.int8)
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row in np.flatnonzero(np.isfinite(values_D)).tolist():
        rows_of[sources[row]].append(row)
    for mine in rows_of.values():
        rows = np.array(mine)[np.argsort(values_D[mine], kind="stable")]
        n = min(max(1, math.ceil(share * len(rows))), len(rows) // 2)
        if n and values_D[rows[0]] < values_D[rows[-1]]:
            place_D[rows[:n]], place_D[rows[-n:]] = 1, 2
    if not place_D.any():
        raise ValueError(
            "no source has two documents with different values, so there are no extremes. Need a source with more "
            "documents, or another --score."
        )
    return place_D


def _in_turn(order: np.ndarray, cells: list[tuple]) -> list[int]:
    """`order` with the cells in turn: first of each, second of each, ..."""
    seen, keyed = Counter(), []
    for rank, at in enumerate(order.tolist()):
        keyed.append((seen[cells[at]], rank, at))
        seen[cells[at]] += 1
    return [at for _, _, at in sorted(keyed)]


def find_criteria(documents: Sequence[Extreme], chat: object, *, search: Search = Search()) -> Criteria:
    """Ask why, batch by batch, until the reasons named most often stay the same.

    Names that differ in small words, order, hyphens or case only are one reason, called as most answers call it. A
    reason counts once for a document.

    Args:
        documents: of `extremes`.
        chat: a `corpora.chat.Chat`, or what `open_chat` opens.
        search: batches, and when they end.

    Raises:
        ValueError: no answer at all could be read.
    """
    named: dict[str, Counter] = defaultdict(Counter)
    where: dict[str, list[Extreme]] = defaultdict(list)
    unread, tops, n_asked = Counter(), [], 0
    for start in range(0, len(documents), search.batch):
        part = documents[start : start + search.batch]
        answers = ask_phrases(chat, [search.question(one) for one in part], most=search.phrases, longest=search.words,
                              what="reasons", label="ask why")  # fmt: skip
        n_asked += len(part)
        for one, answer in zip(part, answers, strict=True):
            phrases = [phrase for phrase in answer.phrases if phrase not in _ECHO]
            unread["" if phrases else answer.reason or "the form of the question"] += 1
            for key, phrase in {_key(phrase): phrase for phrase in phrases}.items():
                named[key][phrase] += 1
                where[key].append(one)
        tops.append(frozenset(_top(where, search.top)))
        if len(tops) > search.rests and tops[-1] and len(set(tops[-1 - search.rests :])) == 1:
            break
    if not where:
        told = ", ".join(f"{reason} ({n})" for reason, n in unread.most_common(3))
        raise ValueError(f"none of {n_asked} answers named a reason: {told or 'no documents'}. Need a model that can "
                         "answer with a JSON list.")  # fmt: skip
    at_rest = len(tops) > search.rests and len(set(tops[-1 - search.rests :])) == 1
    keys = _top(where, search.top)
    names = {key: min(named[key], key=lambda phrase, key=key: (-named[key][phrase], phrase)) for key in where}
    report = _report([documents[at] for at in range(n_asked)], where, names, keys=keys, at_rest=at_rest, unread=unread)
    report.facts |= {"batches": len(tops)}
    return Criteria(tuple(names[key] for key in keys), report)


def _key(phrase: str) -> str:
    """What names of one reason share."""
    words = re.findall(r"[^\W_]+", phrase)
    return " ".join(sorted({word for word in words if word not in _SMALL_WORDS} or set(words)))


def _top(where: dict[str, list[Extreme]], n: int) -> list[str]:
    """The reasons of most documents."""
    return sorted(where, key=lambda key: (-len(where[key]), key))[:n]


def _report(
    asked: list[Extreme], where: dict[str, list[Extreme]], names: dict[str, str], *, keys: list[str], at_rest: bool,
    unread: Counter,
) -> Report:  # fmt: skip
    n_side = Counter(one.side for one in asked)
    rows, by_source = [], []
    for key in _top(where, 3 * len(keys)):
        sides = Counter(one.side for one in where[key])
        rows.append({"reason": names[key], "documents": len(where[key]), **{side: sides[side] for side in SIDES},
                     "share of low": sides["low"] / max(1, n_side["low"]),
                     "share of high": sides["high"] / max(1, n_side["high"]), "example": where[key][0].id})  # fmt: skip
    for key in keys:
        cells = Counter((one.source, one.side) for one in where[key])
        by_source += [
            {"reason": names[key], "source": source, **{side: cells[source, side] for side in SIDES}}
            for source in sorted({source for source, _ in cells})
        ]
    tables = {"reasons": pa.Table.from_pylist(rows), "reasons by source": pa.Table.from_pylist(by_source)}
    bad = [{"why": reason, "answers": n} for reason, n in unread.most_common() if reason]
    if bad:
        tables["answers without a reason"] = pa.Table.from_pylist(bad)
    n_bad = sum(row["answers"] for row in bad)
    warnings = [] if at_rest else [
        f"the list of reasons has not come to rest after {len(asked)} documents. Ask about more of them (--most, "
        "--share), or for a shorter list (--top)."
    ]  # fmt: skip
    if n_bad * 5 > len(asked):
        warnings.append(f"{n_bad} of {len(asked)} answers name no reason: the model may be too small for this.")
    return Report(
        kind="criteria",
        title="Reasons for extreme perplexity",
        facts={"documents asked about": len(asked), "low end": n_side["low"], "high end": n_side["high"],
               "different reasons": len(where), "answers without a reason": n_bad, "at rest": at_rest},
        tables=tables,
        verdict=f"{len(where)} different reasons for {len(asked)} documents; most often: {names[keys[0]]}.",
        warnings=warnings,
        notes=["'low' counts documents at the low end of the perplexity (easy), 'high' those at the high end (hard)."],
    )  # fmt: skip
