"""Train a rater of your own on documents that a better one has rated, and see how far it agrees with it.

A small causal model learns to write the answer of the rubric, and nothing else: the loss is that of the answer's
tokens, the very ones that are compared when it rates.

Paper: DataMan: Data Manager for Pre-training Large Language Models (arXiv 2502.19363), section 4: text generation with
the loss on the answer, balance of the classes, the best state kept.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tokenry.core.columns import BadRows
from tokenry.core.hashing import stable_hash
from tokenry.core.report import Report
from tokenry.core.runs import atomic_folder, log, write_run
from tokenry.corpora.raters import write_record
from tokenry.corpora.rubrics import Ratings, Rubric, rubric
from tokenry.corpora.units import Reading, cut_units, read_unit

# Axes: N documents, C criteria, K values of one place.

__all__ = ["TrainingPlan", "balanced", "labelled", "train_and_compare", "train_rater"]


@dataclass(frozen=True)
class TrainingPlan:
    """How a rater is trained; the defaults are the paper's for a model of 1.5 billion parameters.

    Attributes:
        epochs: passes over the rated documents.
        rate: highest learning rate (cosine to 0). A tiny model from random weights wants 1e-3.
        batch_size, accumulate: documents in a micro-batch, micro-batches in a step.
        warmup: share of the steps.
        weight_decay: of AdamW.
        validation: share of the documents held out to choose the best state by.
        every: steps between looks at them.
        balance: (q, k) of `balanced`; None repeats nothing. The paper gives no k; 1 is ours.
        seed: of orders and draws.
    """

    epochs: int = 5
    rate: float = 1e-5
    batch_size: int = 8
    accumulate: int = 8
    warmup: float = 0.01
    weight_decay: float = 0.1
    validation: float = 0.02
    every: int = 100
    balance: tuple[int, int] | None = (4, 1)
    seed: int = 1024

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("accumulate", 1), ("every", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; need at least {least}.")
        if not (self.rate > 0 and 0 <= self.validation < 1 and 0 <= self.warmup < 1):
            raise ValueError(f"rate={self.rate}, validation={self.validation}, warmup={self.warmup}; need a rate above "
                             "0 and shares from 0 to below 1.")  # fmt: skip
        if self.balance is not None and min(self.balance) < 1:
            raise ValueError(f"balance={self.balance}; need q and k of at least 1, or none.")


def balanced(is_low_N: np.ndarray, *, q: int = 4, k: int = 1, seed: int = 0) -> np.ndarray:
    """Places of documents with some of the rarer class repeated.

    The rarer of the two classes gets min((n_major - n_minor) // q, n_minor) * k documents more: so many different
    ones, each k times.

    Args:
        is_low_N: bool, which class each is of (overall below the middle of the scale).
        q, k: as in the formula.
        seed: of which are repeated.

    Returns:
        Places (N + n_add,): 0..N-1, then the repeated ones.
    """
    is_low_N = np.asarray(is_low_N, bool)
    n_low = int(is_low_N.sum())
    is_minor_N = is_low_N if 2 * n_low <= len(is_low_N) else ~is_low_N
    n_minor = int(is_minor_N.sum())
    n_more = min((len(is_low_N) - 2 * n_minor) // q, n_minor)
    drawn = np.random.default_rng(seed).choice(np.flatnonzero(is_minor_N), n_more, replace=False)
    return np.concatenate([np.arange(len(is_low_N)), np.repeat(drawn, k)])


def labelled(
    source: object, scheme: Rubric, *, ratings: Sequence[str | Path] = (), reading: Reading | None = None
) -> tuple[list[str], list[Ratings]]:
    """Documents that have a whole rating, and it.

    Args:
        source: files of documents; the ratings may be columns of theirs (`RUBRIC.criterion`, `RUBRIC.domain`).
        scheme: the rubric.
        ratings: or sidecars that hold them.
        reading: how documents are read.

    Raises:
        ValueError: no column for a criterion, a score outside the scale, an unknown domain, no rated document at all.
    """
    columns = [f"{scheme.name}.{name}" for name in (*scheme.names, *(["domain"] if scheme.domains else []))]
    reading = reading or Reading()
    reading = Reading(text=reading.text, skip_bad=reading.skip_bad, sidecars=tuple(map(str, ratings)),
                      columns=() if ratings else tuple(columns))  # fmt: skip
    letters = {name: letter for letter, name in scheme.domains.items()}
    texts, found, n_all, bad = [], [], 0, BadRows()
    for unit in cut_units(source):
        for batch in read_unit(unit, reading, bad):
            if missing := [name for name in columns if name not in batch.schema.names]:
                raise ValueError(f"no column {missing[0]!r}; need a rating on {scheme.name!r}: tokenry corpus rate.")
            n_all += batch.num_rows
            for text, *values in zip(*(batch.column(name).to_pylist() for name in ("text", *columns)), strict=True):
                if text is None or any(value is None for value in values):
                    continue
                texts.append(text)
                found.append(_ratings(values, scheme, letters))
    if not found:
        raise ValueError(f"none of {n_all:,} documents has a whole rating on {scheme.name!r}. Rate them first.")
    if n_all > len(found):
        log(f"{n_all - len(found):,} of {n_all:,} documents have no whole rating and teach nothing")
    return texts, found


def _ratings(values: list, scheme: Rubric, letters: dict[str, str]) -> Ratings:
    domain = None
    if scheme.domains:
        *values, name = values
        domain = letters.get(name, name if name in scheme.domains else None)
        if domain is None:
            raise ValueError(f"{name!r} is no domain of {scheme.name!r}; it has {', '.join(letters)}.")
    low, high = scheme.scale
    if any(value != int(value) or not low <= value <= high for value in values):
        raise ValueError(f"scores {values}; need whole numbers from {low} to {high}.")
    return Ratings(tuple(int(value) for value in values), domain)


def train_rater(
    texts: Sequence[str],
    ratings: Sequence[Ratings],
    *,
    base: object,
    scheme: Rubric,
    out: str | Path,
    plan: TrainingPlan = TrainingPlan(),
    asking: str = "bare",
    device: str | None = None,
) -> dict[str, object]:
    """Fine-tune a causal model to rate as the ratings do, and write it as a folder that `raters.open_rater` opens.

    Args:
        texts, ratings: what is learnt from.
        base: hub name, folder, pair or LM; an LM is trained in place.
        scheme: the rubric.
        out: the folder to make.
        plan: how to train.
        asking: "bare": the model sees the document alone (it learns the rubric); "full": with the whole question.
        device: where it is trained.

    Returns:
        What was done: documents, steps, validation losses in nats a choice, the step that was kept.

    Raises:
        ValueError: another number of texts than of ratings, or fewer than two.
    """
    from tokenry.corpora.raters_local import LocalRater
    from tokenry.models.lm import LM
    from tokenry.models.training import FitConfig, fit

    if len(texts) != len(ratings) or len(texts) < 2:
        raise ValueError(f"{len(texts)} texts and {len(ratings)} ratings; need one each, and at least two.")
    lm = LM.open(base, device=device)
    rater = LocalRater(lm, scheme, asking=asking)
    examples = [_example(rater, text, rating) for text, rating in zip(texts, ratings, strict=True)]
    held, learnt = _held_out(texts, plan)
    if plan.balance is not None:
        place = scheme.names.index(scheme.overall or scheme.names[-1])
        middle = sum(scheme.scale) / 2
        is_low = np.array([ratings[row].scores[place] < middle for row in learnt])
        learnt = learnt[balanced(is_low, q=plan.balance[0], k=plan.balance[1], seed=plan.seed)]
    steps = max(1, -(-len(learnt) * plan.epochs // (plan.batch_size * plan.accumulate)))
    config = FitConfig(rate=plan.rate, schedule="cosine", warmup=int(plan.warmup * steps),
                       weight_decay=plan.weight_decay, accumulate=plan.accumulate, seed=plan.seed)  # fmt: skip
    watch = _Watch(lm, [examples[row] for row in held], plan, steps)
    fit(lm.model, _batches(lm, [examples[row] for row in learnt], plan), steps=steps, config=config,
        on_step=watch.look, label="rater")  # fmt: skip
    watch.restore()
    record = {"documents": len(texts), "learnt": len(learnt), "held out": len(held), "steps": steps,
              "kept step": watch.best_step, "validation": watch.seen, "plan": asdict(plan),
              "base": lm.name}  # fmt: skip
    _write(lm, Path(out), scheme, asking=asking, record=record)
    return record


def _write(lm: object, out: Path, scheme: Rubric, *, asking: str, record: dict) -> None:
    """The folder of a rater: that of its model, with the record beside."""
    with atomic_folder(out) as part:
        lm.save(part / "model")
        for file in (part / "model").iterdir():
            file.rename(part / file.name)
        (part / "model").rmdir()
        write_record(part, "causal", scheme, asking=asking, training=record)


def _held_out(texts: Sequence[str], plan: TrainingPlan) -> tuple[np.ndarray, np.ndarray]:
    """Places held out and learnt; by the text, so that equal texts are on one side."""
    share_N = np.array([stable_hash(f"{plan.seed} {text}") / 2**64 for text in texts])
    held = np.flatnonzero(share_N < plan.validation)
    learnt = np.flatnonzero(share_N >= plan.validation)
    return (held, learnt) if len(learnt) else (np.empty(0, np.int64), np.arange(len(texts)))


def _example(rater: object, text: str, ratings: Ratings) -> tuple[list[int], list[int]]:
    """Ids of question and answer, and the labels: only what the answer chooses is learnt."""
    from tokenry.models.batches import NOT_LEARNED

    prompt = rater.prompt(rater.document(text)[0])
    said = ([ratings.domain] if rater.rubric.domains else []) + [str(score) for score in ratings.scores]
    ids, labels = list(prompt), [NOT_LEARNED] * len(prompt)
    for step in rater.steps:
        token = step.tokens[step.values.index(said.pop(0))] if step.values else step.tokens[0]
        ids.append(token)
        labels.append(token if step.values else NOT_LEARNED)
    return ids, labels


def _batches(lm: object, examples: list, plan: TrainingPlan) -> object:
    from tokenry.models.batches import draw_rows

    rows_of = draw_rows(len(examples), batch_size=plan.batch_size, seed=plan.seed)
    return lambda number: _batch(lm, [examples[row] for row in rows_of(number)])


def _batch(lm: object, examples: list) -> dict:
    """Examples as one batch, padded on the right (what stands there is neither seen nor learnt)."""
    import torch

    from tokenry.models.batches import NOT_LEARNED

    longest = max(len(ids) for ids, _ in examples)
    padded = [[*ids, *[0] * (longest - len(ids))] for ids, _ in examples]
    labels = [[*one, *[NOT_LEARNED] * (longest - len(one))] for _, one in examples]
    mask = [[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in examples]
    made = {"input_ids": padded, "labels": labels, "attention_mask": mask}
    return {name: torch.tensor(rows, device=lm.device) for name, rows in made.items()}


class _Watch:
    """Looks at held-out documents now and then and keeps the best weights."""

    def __init__(self, lm: object, held: list, plan: TrainingPlan, steps: int) -> None:
        self.lm, self.held, self.plan, self.steps = lm, held, plan, steps
        self.seen: list[list[float]] = []
        self.best_step, self._best, self._lowest = steps, None, float("inf")

    def look(self, step: int, entry: dict) -> None:
        """Called after each step."""
        import torch

        from tokenry.models.training import next_token_loss

        if not self.held or (step % self.plan.every and step != self.steps):
            return
        model, total, n = self.lm.model, 0.0, 0
        model.eval()
        with torch.inference_mode():
            for start in range(0, len(self.held), self.plan.batch_size):
                loss, counts = next_token_loss(model, _batch(self.lm, self.held[start : start + self.plan.batch_size]))
                total, n = total + float(loss) * counts["tokens"], n + counts["tokens"]
        model.train()
        self.seen.append([step, total / n])
        if total / n < self._lowest:
            self._lowest, self.best_step = total / n, step
            self._best = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}

    def restore(self) -> None:
        """Put the best weights back."""
        if self._best is not None and self.best_step != self.steps:
            self.lm.model.load_state_dict(self._best)


def base_of(base: str | None, *, linear: bool) -> str | None:
    """The base model of a rater; None for a linear one.

    Raises:
        ValueError: both or neither.
    """
    if linear == (base is not None):
        raise ValueError("need the causal model to train (--base), or --linear for a linear rater, one of the two.")
    return base


def train_and_compare(
    source: object,
    out: str | Path,
    *,
    scheme: str | Path | Rubric,
    ratings: Sequence[str | Path] = (),
    base: object = None,
    test: float = 0.1,
    reading: Reading | None = None,
    plan: TrainingPlan = TrainingPlan(),
    asking: str = "bare",
    device: str | None = None,
) -> Report:
    """Train a rater on rated documents and compare it with their ratings on others.

    Args:
        source, scheme, ratings, reading: see `labelled`.
        out: the folder of the rater.
        base: the causal model that is trained; None trains a linear rater.
        test: share of the documents that is kept for the comparison.
        plan, asking, device: see `train_rater`.

    Returns:
        The agreement of the rater, of a bag of words, and of always saying what is commonest.
    """
    from tokenry.corpora.raters import open_rater
    from tokenry.corpora.raters_linear import distil
    from tokenry.corpora.rating_agreement import compared

    scheme = rubric(scheme)
    if not 0 <= test < 1:
        raise ValueError(f"a test share of {test}; need 0 to below 1.")
    texts, found = labelled(source, scheme, ratings=ratings, reading=reading)
    kept_N = np.array([stable_hash(f"test {plan.seed} {text}") / 2**64 < test for text in texts])
    sides = [([texts[row] for row in rows], [found[row] for row in rows])
             for rows in (np.flatnonzero(~kept_N), np.flatnonzero(kept_N))]  # fmt: skip
    (learnt, learnt_ratings), (tested, tested_ratings) = sides
    if base is None:
        rater = distil(learnt, learnt_ratings, scheme=scheme, epochs=2 * plan.epochs, seed=plan.seed)
        rater.save(out)
        told: dict[str, object] = {"kind": "linear", "trained on": len(learnt)}
    else:
        record = train_rater(
            learnt, learnt_ratings, base=base, scheme=scheme, out=out, plan=plan, asking=asking, device=device
        )
        told = {"kind": "causal", "trained on": len(learnt), "steps": record["steps"], "kept step": record["kept step"]}
        rater = open_rater(out, device=device)
    arguments = {"rubric": scheme.name, "test": test, "asking": asking, **asdict(plan)}
    write_run(out, verb="corpus train-rater", arguments=arguments, seed=plan.seed,
              inputs=[source, *ratings, *([] if base is None else [base])])  # fmt: skip
    if not tested:
        warnings = ["no document was held out, so nothing tells how far the rater agrees with the ratings (--test)."]
        return Report("rating agreement", "a rater, not tested", told, warnings=warnings)
    report = compared(rater, learnt, learnt_ratings, tested=tested, tested_ratings=tested_ratings)
    agreed = {name: value for name, value in report.facts.items() if name != "documents"}
    report.facts = {**told, "tested on": len(tested), **agreed}
    return report
