"""Rate documents on a rubric, with a model that runs here, an endpoint, or a rater you trained; a sidecar comes out.

Columns: `RUBRIC.criterion` (whole numbers), `RUBRIC.criterion.expected` (sum over k of k * p(k), which hardly ever
ties; null where a rater gives only its answer), `RUBRIC.domain`, `RUBRIC.truncated`, `RUBRIC.error`. They carry the
rater's name and revision and the rubric's hash: scores of different raters are not on one scale.

The document is part of the question. No document can break the form of an answer, but one that praises itself may be
believed.

Paper: DataMan: Data Manager for Pre-training Large Language Models (arXiv 2502.19363).
"""

import functools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from tokenry.core.hashing import fingerprint
from tokenry.core.report import Report
from tokenry.core.runs import atomic_write, write_run
from tokenry.corpora.chat import AnswerCache, Chat, open_chat, said
from tokenry.corpora.engine import Engine, Mapped, open_engine
from tokenry.corpora.rubrics import ParseError, Ratings, Rubric, prepare, rubric, rubric_of
from tokenry.corpora.units import Reading

# Axes: D documents, C criteria.

__all__ = ["ChatRater", "Rated", "Rater", "Rating", "open_rater", "rate", "rate_batch", "rater_columns", "read_record"]

VERSION = 1
RECORD = "rater.json"
"""Beside the weights of a trained rater: the rubric, how it is asked, how it was trained."""
_MOST_RECORD = 1 << 20


@dataclass(frozen=True, eq=False)
class Rated:
    """Ratings of some documents.

    Attributes:
        scores_DC: int64, -1 for none.
        expected_DC: float64, NaN for none.
        domains: the name of each document's domain, None for none.
        truncated_D: whether the rater saw the document without its middle.
        errors: why there is no rating; None where there is one.
    """

    scores_DC: np.ndarray
    expected_DC: np.ndarray
    domains: list[str | None]
    truncated_D: np.ndarray
    errors: list[str | None]

    @classmethod
    def none(cls, n_documents: int, n_criteria: int) -> "Rated":
        """Room for ratings, with none in it."""
        shape = (n_documents, n_criteria)
        return cls(np.full(shape, -1, np.int64), np.full(shape, np.nan), [None] * n_documents,
                   np.zeros(n_documents, bool), [None] * n_documents)  # fmt: skip

    def rows(self) -> list[list]:
        """One plain list a document."""
        return [
            [scores.tolist(), expected.tolist(), domain, bool(cut), error]
            for scores, expected, domain, cut, error in zip(
                self.scores_DC, self.expected_DC, self.domains, self.truncated_D, self.errors, strict=True
            )
        ]

    def fill(self, row: int, values: Sequence) -> None:
        """Put one of `rows` in its place."""
        self.scores_DC[row], self.expected_DC[row], self.domains[row], self.truncated_D[row], self.errors[row] = values


class Rater(Protocol):
    """What rates. `revision` changes whenever a rating might."""

    name: str
    revision: str
    rubric: Rubric

    def rate(self, texts: Sequence[str]) -> Rated:
        """Ratings of texts, in order."""
        ...


class ChatRater:
    """A rater that asks a chat and reads its answers strictly: one that cannot be read is an error, never a score."""

    def __init__(self, chat: Chat, scheme: Rubric) -> None:
        self.chat, self.rubric = chat, scheme
        self.name, self.revision = chat.name, fingerprint("chat", VERSION, chat.revision)

    def rate(self, texts: Sequence[str]) -> Rated:
        """As `Rater.rate`."""
        made = Rated.none(len(texts), len(self.rubric.criteria))
        answers = self.chat.ask([said(self.rubric.prompt(text))] for text in texts)
        for row, (text, answer) in enumerate(zip(texts, answers, strict=True)):
            made.truncated_D[row] = prepare(text, self.rubric.characters)[1]
            found = ParseError(answer.error) if answer.text is None else self.rubric.parse(answer.text)
            if isinstance(found, Ratings):
                made.scores_DC[row] = found.scores
                made.domains[row] = self.rubric.domains.get(found.domain or "")
            else:
                made.errors[row] = found.reason
        return made


class Remembered:
    """A rater whose ratings are kept on disk, so that a run that was cut off goes on where it stood."""

    def __init__(self, rater: Rater, cache: AnswerCache) -> None:
        self.rater, self.cache = rater, cache
        self.name, self.revision, self.rubric = rater.name, rater.revision, rater.rubric

    def rate(self, texts: Sequence[str]) -> Rated:
        """As `Rater.rate`."""
        made = Rated.none(len(texts), len(self.rubric.criteria))
        keys = [fingerprint("rating", self.revision, self.rubric.hash, text) for text in texts]
        waiting = []
        for row, key in enumerate(keys):
            if (kept := self.cache.get(key)) is None:
                waiting.append(row)
            else:
                made.fill(row, json.loads(kept))
        for start in range(0, len(waiting), 64):
            rows = waiting[start : start + 64]
            for row, values in zip(rows, self.rater.rate([texts[row] for row in rows]).rows(), strict=True):
                made.fill(row, values)
                self.cache.put(keys[row], json.dumps(values))
        return made


def open_rater(
    model: object,
    *,
    scheme: str | Path | Rubric | None = None,
    cache: str | Path | None = None,
    device: str | None = None,
    **endpoint: object,
) -> Rater:
    """Open a rater.

    Args:
        model: a folder of a causal model (any; a rater of `raters_training.train_rater`) or of a distilled linear one;
            the address of an endpoint; a Chat; or a Rater, which is passed through.
        scheme: the rubric: name, TOML file or object. None takes the one the folder was trained on, else "dataman".
        cache: file in which answers or ratings are kept (a linear rater needs none).
        device: where a model runs.
        endpoint: `name`, `limits`, `key_variable` of `chat.open_chat`.

    Raises:
        ValueError, FileNotFoundError: as `chat.open_chat`, `raters_local.LocalRater`, `rubrics.rubric`.
    """
    if hasattr(model, "rate"):
        return model
    asked = None if scheme is None else rubric(scheme)
    if isinstance(model, Chat) or str(model).startswith(("http://", "https://")):
        asked = asked or rubric("dataman")
        room = 32 + 16 * len(asked.criteria)  # an answer with the names of the criteria
        return ChatRater(open_chat(model, max_tokens=room, cache=cache, **endpoint), asked)
    record = read_record(model)
    if record and record.get("kind") == "linear":
        from tokenry.corpora.raters_linear import LinearRater

        made = LinearRater.load(model)
        if asked and asked.hash != made.rubric.hash:
            raise ValueError(f"{model} was trained on another rubric ({made.rubric.name!r}). Leave --rubric out.")
        return made  # quicker than any file of answers
    from tokenry.corpora.raters_local import LocalRater

    made = LocalRater(model, asked, device=device)
    return made if cache is None else Remembered(made, AnswerCache(cache))


def one_model(model: str | None, endpoint: str | None, *, workers: int, engine: str) -> str:
    """The one of a folder and an address that was given.

    Raises:
        ValueError: both or neither; an endpoint with several workers, each of which would have the whole budget.
    """
    if (model is None) == (endpoint is None):
        raise ValueError("need a model folder (--model) or the address of an endpoint (--endpoint), one of the two.")
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        raise ValueError(f"--endpoint {endpoint} is no address; need one such as http://localhost:8000/v1.")
    if endpoint is not None and (workers > 1 or engine != "embedded"):
        raise ValueError("an endpoint is asked from one process, so that the budget holds. Give --concurrency instead.")
    return model or endpoint or ""


def read_record(source: object) -> dict | None:
    """What stands beside the weights of a trained rater; None where `source` is none.

    Raises:
        ValueError: the record is damaged.
    """
    if not isinstance(source, (str, Path)) or not (Path(source) / RECORD).is_file():
        return None
    path = Path(source) / RECORD
    try:
        if path.stat().st_size > _MOST_RECORD:
            raise ValueError(f"{path.stat().st_size:,} bytes")
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != VERSION or not isinstance(record["rubric"], dict):
            raise ValueError(f"format {record['format']}, we read {VERSION}")
        rubric_of(record["rubric"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no record of a rater ({error}). Train it again.") from error
    return record


def write_record(folder: Path, kind: str, scheme: Rubric, **more: object) -> None:
    """Write what tells a folder from any other model's."""
    record = {"format": VERSION, "kind": kind, "rubric": asdict(scheme), **more}
    atomic_write(folder / RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def rater_columns(rater: Rater) -> list[pa.Field]:
    """The columns that ratings fill, after `id`."""
    scheme = rater.rubric
    told = {"version": str(scheme.version), "rater": rater.name, "revision": rater.revision, "rubric": scheme.hash}
    kinds: dict[str, pa.DataType] = {}
    for name in scheme.names:
        kinds |= {name: pa.int64(), f"{name}.expected": pa.float64()}
    kinds |= {"domain": pa.string()} if scheme.domains else {}
    kinds |= {"truncated": pa.bool_(), "error": pa.string()}
    return [pa.field(f"{scheme.name}.{name}", kind, metadata=told) for name, kind in kinds.items()]


def rate_batch(batch: pa.RecordBatch, rater: Rater) -> pa.RecordBatch:
    """The ratings of a batch of documents (`id`, `text`), possibly none; a document without a text has an error."""
    made = Rated.none(batch.num_rows, len(rater.rubric.criteria))
    given = [row for row, text in enumerate(batch.column("text").to_pylist()) if text is not None]
    texts = batch.column("text").take(pa.array(given, pa.int64())).to_pylist()
    made.errors[:] = ["no text"] * batch.num_rows
    for row, values in zip(given, rater.rate(texts).rows() if texts else [], strict=True):
        made.fill(row, values)
    arrays: list[pa.Array] = []
    for place in range(len(rater.rubric.criteria)):
        scores_D, expected_D = made.scores_DC[:, place], made.expected_DC[:, place]
        arrays += [pa.array(scores_D, pa.int64(), mask=scores_D < 0),
                   pa.array(expected_D, pa.float64(), mask=np.isnan(expected_D))]  # fmt: skip
    arrays += [pa.array(made.domains, pa.string())] if rater.rubric.domains else []
    arrays += [pa.array(made.truncated_D), pa.array(made.errors, pa.string())]
    fields = [pa.field("id", pa.string()), *rater_columns(rater)]
    return pa.RecordBatch.from_arrays([batch.column("id").cast(pa.string()), *arrays], schema=pa.schema(fields))


@dataclass(frozen=True)
class Rating:
    """What rating a corpus left: the sidecar, and what is told of it."""

    ratings: Mapped
    report: Report


def rate(
    source: object,
    out: str | Path,
    *,
    model: object,
    scheme: str | Path | Rubric | None = None,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
    **opening: object,
) -> Rating:
    """Rate documents; the ratings are a sidecar beside them, nothing is dropped.

    Args:
        source: documents, as `core.tables.stream` reads them.
        out: the folder of the sidecar.
        model, scheme, opening: see `open_rater`. With an endpoint use one worker: its requests run side by side
            anyway, and its budget is that of one process.
        reading: how documents are read.
        engine: an engine or its name.

    Raises:
        chat_budget.EndpointError: the endpoint stopped or the budget is spent; the same call goes on (with `cache`,
            without asking anything twice).
    """
    engine = open_engine(engine)
    setup = functools.partial(_opened, model, scheme, tuple(sorted(opening.items())))
    try:
        rater = setup()
        key = fingerprint("rate", VERSION, rater.revision, rater.rubric.hash, reading.text)
        reading = replace(reading, columns=(), batch_rows=min(reading.batch_rows, 256))
        mapped = engine.map(source, rate_batch, out, key=key, setup=setup, reading=reading, label="rating")
    finally:
        _HELD.clear()  # a model is large, and an endpoint whose budget was spent would stay stopped
    told = {"rater": rater.name, "revision": rater.revision, "rubric": rater.rubric.hash}
    write_run(out, verb="corpus rate", arguments={"scheme": rater.rubric.name, **told}, seed=None, inputs=[source])
    return Rating(mapped, rating_report(mapped, rater))


_HELD: dict[str, tuple[tuple, Rater]] = {}


def _opened(model: object, scheme: object, opening: tuple) -> Rater:
    """The rater of these settings; the last one opened is kept, because a worker in this process opens it again."""
    asked = (model, scheme, opening)
    held = _HELD.get("last")
    if held is None or held[0] != asked:
        _HELD["last"] = held = (asked, open_rater(model, scheme=scheme, **dict(opening)))
    return held[1]


def rating_report(mapped: Mapped, rater: Rater) -> Report:
    """How the ratings fell out: documents, errors by reason, the spread of every criterion, domains, what was used."""
    import pyarrow.compute as pc

    scheme = rater.rubric
    errors = _counted(mapped, f"{scheme.name}.error")
    facts: dict[str, object] = {
        "documents": mapped.n_out, "without a rating": sum(errors.values()), "broken rows": mapped.n_bad,
        "seen without their middle": _counted(mapped, f"{scheme.name}.truncated").get(True, 0),
        "rater": rater.name, "revision": rater.revision, "rubric": f"{scheme.name} ({scheme.hash})",
    }  # fmt: skip
    facts |= _used(rater)
    rows = []
    for name in scheme.names:
        counts = _counted(mapped, f"{scheme.name}.{name}")
        total = sum(counts.values())
        rows.append({
            "criterion": name, **{level: counts.get(int(level), 0) for level in scheme.levels},
            "mean": sum(score * n for score, n in counts.items()) / total if total else None,
            "expected": pc.mean(_column(mapped, f"{scheme.name}.{name}.expected")).as_py(),
        })  # fmt: skip
    tables = {"scores": pa.Table.from_pylist(rows)}
    if scheme.domains:
        common = _counted(mapped, f"{scheme.name}.domain").most_common()
        tables["domains"] = _as_table("domain", common)
    if errors:
        tables["errors"] = _as_table("reason", errors.most_common(20))
    report = Report("corpus rate", f"ratings on the rubric {scheme.name}", facts, tables)
    if errors:
        report.warnings.append(
            "documents without a rating have null scores; a rule on a score drops them. To ask again only those that "
            "got no answer: the same --cache, another --out."
        )
    if flat := [row["criterion"] for row in rows if mapped.n_out > 20 and max(row[level] for level in scheme.levels)
                > 0.99 * sum(row[level] for level in scheme.levels) > 0]:  # fmt: skip
        report.warnings.append(
            f"nearly all documents have one score on {', '.join(flat)}: it tells nothing apart. Look at the expected "
            "score, and compare the rater with ratings you trust (docs/raters.md)."
        )
    return report


def _column(mapped: Mapped, name: str) -> pa.ChunkedArray:
    """One column of the ratings; more is never held."""
    from tokenry.corpora.sidecars import read_signals

    return read_signals(mapped.folder, [name]).column(name).drop_null()


def _counted(mapped: Mapped, name: str) -> Counter:
    return Counter({one["values"]: one["counts"] for one in _column(mapped, name).value_counts().to_pylist()})


def _as_table(name: str, counts: list[tuple[str, int]]) -> pa.Table:
    return pa.table({name: [one for one, _ in counts], "documents": pa.array([n for _, n in counts], pa.int64())})


def _used(rater: Rater) -> Mapping[str, object]:
    usage = getattr(getattr(rater, "chat", None), "usage", None)
    if usage is None:
        return {}
    facts = {"requests": usage.requests, "retries": usage.retries, "answers from the cache": usage.cached,
             "prompt tokens": usage.prompt_tokens, "answer tokens": usage.completion_tokens}  # fmt: skip
    facts |= {"money": usage.money} if usage.money else {}
    facts |= {"requests with an estimated bill": usage.estimated} if usage.estimated else {}
    return facts | ({"requests billed too much": usage.overbilled} if usage.overbilled else {})
