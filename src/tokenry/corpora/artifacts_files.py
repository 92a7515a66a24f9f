"""The audit of synthetic data by path: read both sides, pair them where they must be pairs, open what was named.

Columns: labels `labels` (whole numbers, -1 missing); preferences `a`, `b`, `choice` (a or b, or a share for a) and
perhaps `reference`; instructions `text`, `prompt`, perhaps `reference` and `task`; dialogues `messages` and perhaps
`success`; text `text`. Labels and preferences are of the same items: rows are paired by `id`.

Paper: Under the Surface: Tracking the Artifactuality of LLM-Generated Data (arXiv 2401.14698).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tokenry.core import tables
from tokenry.core.choosing import resolve
from tokenry.core.report import Report
from tokenry.corpora.artifacts import KINDS, artifact_battery

__all__ = ["Tools", "audit_files", "bits_per_byte_of", "train_files"]


@dataclass(frozen=True)
class Tools:
    """What an audit may use.

    Attributes:
        styles: NAME=PATH of attribution lists (preferences).
        lm: a language model by path, for bits per byte (instructions, text).
        encoder: a sentence encoder by path (instructions).
        entailment: pkg.module:function of (sentences, reference) to probabilities (preferences).
        scorers: NAME=pkg.module:function of texts to numbers (text).
        flips: NAME=pkg.module:function of texts to probabilities, for versions of the same contents (text).
        graphs: where the trees of a text are: see `parsers.open_parser`, or edges:NAME for a column of lists of
            {from, to, label} (text).
        signals: families of signals, with commas (text).
        domain: column of the domain (text) or the task (instructions).
        reference: human texts that novelty is measured against (text).
        rules: JSON file with fields of `artifacts_dialogues.Rules` (dialogues).
    """

    styles: Sequence[str] = ()
    lm: str | None = None
    encoder: str | None = None
    entailment: str | None = None
    scorers: Sequence[str] = ()
    flips: Sequence[str] = ()
    graphs: str | None = None
    signals: str = ""
    domain: str | None = None
    reference: Sequence[object] = field(default=())
    rules: str | None = None


def audit_files(
    kind: str,
    human: object,
    synthetic: object,
    *,
    tools: Tools = Tools(),
    limit: int | None = None,
    text: str | None = None,
    train: bool = False,
    seed: int = 0,
) -> Report:
    """Audit two sources of documents.

    Args:
        kind: one of `artifacts.KINDS`.
        human: documents, see `core.tables.stream`.
        synthetic: documents.
        tools: what to use.
        limit: documents of a side at most.
        text: the column with the text; by kind when not given (`a` of preferences, `id` of labels and dialogues).
        train: the second order of labels (which then need `text`) and preferences: see `artifacts_answers`.
        seed: of everything random.

    Raises:
        ValueError: an unknown kind, a missing column, sides that cannot be paired. FileNotFoundError: no such file.
    """
    if kind not in KINDS:
        from tokenry.core.choosing import suggest

        raise ValueError(f"kind {kind!r}.{suggest(kind, KINDS)} Known: {', '.join(KINDS)}.")
    if train and kind not in ("labels", "preferences"):
        raise ValueError(f"nothing to train on {kind} here; for text give human text held out (--train-test).")
    own = {"labels": "text" if train else "id", "dialogues": "id", "preferences": "a"}
    column = text or own.get(kind, "text")
    rows = [tables.read(source, text=column, limit=limit).to_pylist() for source in (human, synthetic)]
    arguments = {"labels": _labels, "preferences": _preferences, "instructions": _instructions,
                 "dialogues": _dialogues, "text": _text}[kind](rows, tools, seed)  # fmt: skip
    first, second, options = arguments
    if train:
        from tokenry.corpora.artifacts_answers import train_on_labels, train_on_preferences

        if kind == "labels":
            return train_on_labels(first, second, texts=[row["text"] for row in _paired(rows)[0]], seed=seed)
        return train_on_preferences(first, second, pairs=options["pairs"], seed=seed)
    return artifact_battery(kind, first, second, **options)


def train_files(
    human: object,
    synthetic: object,
    test: object,
    *,
    limit: int | None = None,
    text: str | None = None,
    seed: int = 0,
) -> Report:
    """Train on both sides and on mixtures, and measure on human text held out; see `artifacts_training`.

    Args:
        human: documents to train on.
        synthetic: the same.
        test: human documents that are in neither.
        limit: documents of a source at most.
        text: the column with the text.
        seed: of the draws.
    """
    from tokenry.corpora.artifacts_training import second_order

    sides = [[one for one in tables.texts(source, text=text or "text", limit=limit) if one]
             for source in (human, synthetic, test)]  # fmt: skip
    return second_order(*sides, seed=seed)


def _paired(rows: list[list[dict]]) -> list[list[dict]]:
    """The rows of both sides with one id, in the order of the human side."""
    by_id = {str(row["id"]): row for row in rows[1]}
    if len(by_id) < len(rows[1]) or len({str(row["id"]) for row in rows[0]}) < len(rows[0]):
        raise ValueError("an id stands on one side twice; labels and preferences need one row an item.")
    both = [(row, by_id[str(row["id"])]) for row in rows[0] if str(row["id"]) in by_id]
    if not both:
        raise ValueError("no id stands on both sides; labels and preferences must be of the same items, with an id.")
    if len(both) < max(map(len, rows)):
        import warnings

        warnings.warn(f"{len(both)} items stand on both sides, of {len(rows[0])} and {len(rows[1])}; only they are "
                      "compared.", stacklevel=3)  # fmt: skip
    return [list(side) for side in zip(*both, strict=True)]


def _column(rows: Sequence[Mapping], name: str) -> list:
    if any(row.get(name) is None for row in rows):
        from tokenry.core.choosing import suggest

        raise ValueError(f"a row without {name!r}.{suggest(name, rows[0])} Columns: {', '.join(rows[0])}.")
    return [row[name] for row in rows]


def _labels(rows: list[list[dict]], tools: Tools, seed: int) -> tuple:
    made = []
    for side in _paired(rows):
        lists = _column(side, "labels")
        if not all(isinstance(one, list) and all(isinstance(label, int) for label in one) for one in lists):
            raise ValueError("labels are no lists of whole numbers; need one list an item, -1 where one is missing.")
        width = max(map(len, lists), default=0)
        made.append(np.array([[*one, *[-1] * (width - len(one))] for one in lists], np.int64))
    return *made, {"seed": seed}


def _preferences(rows: list[list[dict]], tools: Tools, seed: int) -> tuple:
    from tokenry.corpora.artifacts_preferences import read_style

    human, synthetic = _paired(rows)
    # The column read as the text is called text.
    first = [row["a"] if row.get("a") is not None else row["text"] for row in human]
    pairs = list(zip(first, _column(human, "b"), strict=True))
    options: dict = {"pairs": pairs, "seed": seed}
    options["styles"] = {name: read_style(path) for name, path in _named(tools.styles, "--style")}
    if tools.entailment:
        options["entails"] = resolve(tools.entailment, {}, kind="entailment model")
        options["references"] = _column(human, "reference")
    return *([_share(one) for one in _column(side, "choice")] for side in (human, synthetic)), options


def _share(choice: object) -> float:
    if isinstance(choice, str):
        if choice.strip().lower() not in ("a", "b"):
            raise ValueError(f"choice {choice!r}; need a or b, or the share that prefers a.")
        return float(choice.strip().lower() == "a")
    return float(choice)


def _instructions(rows: list[list[dict]], tools: Tools, seed: int) -> tuple:
    options: dict = {"group": tools.domain or "task"}
    if tools.encoder:
        from tokenry.models.encoders import open_encoder

        options["encode"] = open_encoder(tools.encoder)[0]
    if tools.lm:
        options["bits_per_byte"] = bits_per_byte_of(tools.lm)
    return *rows, options


def _dialogues(rows: list[list[dict]], tools: Tools, seed: int) -> tuple:
    from tokenry.corpora.artifacts_dialogues import Rules

    if not tools.rules:
        return *rows, {}
    from pathlib import Path

    path = Path(tools.rules)
    if not path.is_file():
        raise FileNotFoundError(f"no rules at {path}; need a JSON file with fields such as forbidden, expected, ends.")
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return *rows, {"rules": Rules(**said)}
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: {str(error).rstrip('.')}. Need an object with forbidden, expected, ends, digression, first."
        ) from None


def _text(rows: list[list[dict]], tools: Tools, seed: int) -> tuple:
    kept = [[row for row in side if row["text"]] for side in rows]
    texts = [[row["text"] for row in side] for side in kept]
    scorers: dict[str, Callable] = {
        name: resolve(target, {}, kind="scorer") for name, target in _named(tools.scorers, "--scorer")
    }
    if tools.lm:
        scorers["bits_per_byte"] = bits_per_byte_of(tools.lm)
    options: dict = {"scorers": scorers, "seed": seed}
    options["signals"] = [one.strip() for one in tools.signals.split(",") if one.strip()]
    if tools.flips:
        # Versions of the same contents are kept in step: by id.
        if not tools.reference:
            raise ValueError("--flip compares versions of the same contents and needs --reference, more human text.")
        kept = _paired(kept)
        texts = [[row["text"] for row in side] for side in kept]
        options["flips"] = {name: resolve(target, {}, kind="style") for name, target in _named(tools.flips, "--flip")}
    if tools.graphs:
        graph = _graphs_of(tools.graphs)
        options["graphs"] = tuple([graph(row) for row in side] for side in kept)
    if tools.domain:
        options["domains"] = tuple([str(one) for one in _column(side, tools.domain)] for side in kept)
    if tools.reference:
        options["reference"] = list(tables.texts(list(tools.reference)))
    return *texts, options


def _graphs_of(where: str) -> Callable[[Mapping], object]:
    from tokenry.corpora.motifs import Graph, graph_of_trees
    from tokenry.corpora.parsers import open_parser

    kind, _, column = where.partition(":")
    if kind != "edges":
        parse = open_parser(where)
        return lambda row: graph_of_trees(parse(row))

    def read(row: Mapping) -> Graph:
        edges = _column([row], column)[0]
        try:
            made = tuple((int(one["from"]), int(one["to"]), str(one.get("label", ""))) for one in edges)
        except (TypeError, KeyError, ValueError):
            raise ValueError(f"edges of {row['id']!r} are {str(edges)[:60]}; need a list of from, to, label.") from None
        return Graph(max((max(a, b) for a, b, _ in made), default=-1) + 1, made)

    return read


def bits_per_byte_of(model: str, *, max_bytes: int = 512) -> Callable[[list[str]], np.ndarray]:
    """Bits per byte of each text under a language model."""
    from tokenry.models.lm import LM

    lm = LM.open(model)

    def score(texts: list[str]) -> np.ndarray:
        scores = lm.score(texts, max_bytes=max_bytes)
        return np.divide(scores.nats, np.log(2) * scores.n_bytes, out=np.full(len(texts), np.nan),
                         where=scores.n_bytes > 0)  # fmt: skip

    return score


def _named(entries: Sequence[str], option: str) -> list[tuple[str, str]]:
    made = []
    for entry in entries:
        name, equals, target = entry.partition("=")
        if not (name and equals and target):
            raise ValueError(f"{option} {entry!r}; need NAME=WHERE.")
        made.append((name, target))
    return made
