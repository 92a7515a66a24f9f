"""Train a router on routing labels, choose its threshold on texts it has not seen, and say what it finds on others.

Paper: R2R (arXiv 2505.21600), section 4: binary cross-entropy with the rare class weighted up, early stopping, and the
threshold with the smallest rate among those that find the asked share of divergent tokens.
"""

# Axes: N tokens, B tokens of a batch.

import copy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional

from tokenry.core.intervals import wilson_interval
from tokenry.core.report import Figure, Report
from tokenry.decoding.routers import INPUTS, HiddenStateRouter, RouterNet, RouterShape, facts_of
from tokenry.decoding.routing_labels import LabelTable, read_labels
from tokenry.models.batches import draw_rows
from tokenry.models.lm import LM
from tokenry.models.training import FitConfig, fit

THRESHOLDS = np.linspace(0.01, 0.99, 100)
N_QUANTILES = 1001
PARTS = ("train", "validation", "test")
SHARES = (0.8, 0.1, 0.1)
"""Of the texts, by PARTS."""


@dataclass(frozen=True)
class RouterTraining:
    """How to train; the defaults are the paper's, with its patience counted in validations.

    Attributes:
        rate, weight_decay, batch: of AdamW.
        epochs: most passes over the training tokens.
        validate_every: epochs between validations.
        patience: validations without a better loss before it ends.
        positive_weight: factor on n_negative / n_positive, the weight of a divergent token.
        min_recall: share of divergent tokens that the threshold must find on the validation texts.
        seed: of the split, the weights and the order.
    """

    rate: float = 5e-5
    weight_decay: float = 5e-4
    batch: int = 1024
    epochs: int = 50
    validate_every: int = 2
    patience: int = 5
    positive_weight: float = 1.0
    min_recall: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.min_recall <= 1:
            raise ValueError(f"min_recall={self.min_recall}; need a share of the divergent tokens in (0, 1].")
        if min(self.batch, self.epochs, self.validate_every, self.patience) < 1:
            raise ValueError("batch, epochs, validate_every and patience must be at least 1 each.")


@dataclass(frozen=True)
class Sweep:
    """What each threshold does to labelled tokens.

    Attributes:
        thresholds: ascending (T,).
        recall: share of divergent tokens at or above each (T,); 1 where there is none.
        rate: share of all tokens at or above each (T,).
    """

    thresholds: np.ndarray
    recall: np.ndarray
    rate: np.ndarray

    def best(self, min_recall: float) -> int:
        """Place of the smallest rate among thresholds of enough recall; the highest recall where none has it."""
        enough = self.recall >= min_recall
        if enough.any():
            return int(np.flatnonzero(enough)[np.argmin(self.rate[enough])])
        return int(np.argmax(self.recall))


def sweep(scores: np.ndarray, is_divergent: np.ndarray, *, thresholds: np.ndarray = THRESHOLDS) -> Sweep:
    """Recall and rate at each threshold; a token is routed when its score is at least the threshold."""
    every = np.sort(np.asarray(scores, dtype=np.float64))
    positive = np.sort(np.asarray(scores, dtype=np.float64)[np.asarray(is_divergent, dtype=bool)])
    above = [1 - np.searchsorted(values, thresholds, side="left") / max(1, len(values)) for values in (positive, every)]
    return Sweep(np.asarray(thresholds), above[0] if len(positive) else np.ones(len(thresholds)), above[1])


def recall_at_rate(scores: np.ndarray, is_divergent: np.ndarray, rate: float) -> float:
    """Share of the divergent tokens among the `rate` share of highest scores; ties count in part, as drawn by lot."""
    scores, is_divergent = np.asarray(scores, dtype=np.float64), np.asarray(is_divergent, dtype=bool)
    n_routed = rate * len(scores)
    cut = np.sort(scores)[::-1][min(len(scores) - 1, max(0, int(np.ceil(n_routed)) - 1))]
    above, tied = scores > cut, scores == cut
    share = min(1.0, max(0.0, n_routed - above.sum()) / max(1, tied.sum()))
    found = is_divergent[above].sum() + share * is_divergent[tied].sum()
    return float(found / max(1, is_divergent.sum()))


def split_texts(text: np.ndarray, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows (bool (N,)) of each of PARTS; a text is wholly in one.

    Raises:
        ValueError: fewer than three texts.
    """
    texts = np.unique(text)
    if len(texts) < len(PARTS):
        raise ValueError(f"labels of {len(texts)} texts; need at least 3 to train, validate and test. Label more.")
    texts = np.random.default_rng(seed).permutation(texts)
    n_held = [max(1, round(share * len(texts))) for share in SHARES[1:]]
    edges = [0, len(texts) - sum(n_held), len(texts) - n_held[1], len(texts)]
    return {name: np.isin(text, texts[edges[at] : edges[at + 1]]) for at, name in enumerate(PARTS)}


def train_router(
    labels: "str | Path | LabelTable",
    *,
    out: str | Path | None = None,
    small: object = None,
    inner: int = 1024,
    blocks: int = 6,
    inputs: tuple[str, ...] = INPUTS,
    training: RouterTraining | None = None,
    overwrite: bool = False,
    device: str | None = None,
) -> tuple[HiddenStateRouter, Report]:
    """Train a router.

    Args:
        labels: a folder of `routing_labels.label_prompts`, or the table.
        out: folder to write it to; None writes nothing.
        small: the small model; None opens the one the labels name.
        inner, blocks, inputs: see `RouterShape`.
        training: see `RouterTraining`.
        overwrite: replace `out`.
        device: where it is trained.

    Returns:
        The router (threshold set), and a Report of kind "route-train": recall and rate on test texts, beside entropy
        and chance at the same rate.

    Raises:
        ValueError: no divergent token to learn from, or no other; too few texts; labels of another small model.
    """
    training = training or RouterTraining()
    table = labels if isinstance(labels, LabelTable) else read_labels(labels)
    lm = LM.open(table.facts["small"] if small is None else small, device=device)
    _check(table, lm)
    rows = split_texts(table.text, seed=training.seed)
    learned = table.is_divergent[rows["train"]]
    if not learned.any() or learned.all():
        raise ValueError(
            f"{int(learned.sum())} of {len(learned)} training tokens are divergent; need some and not all. Label more "
            "prompts, or look at the verifier (tokenry route label shows mismatches)."
        )
    data = _Data.of(table, lm)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        n_logits = table.top_NK.shape[1]
        net = RouterNet(RouterShape(table.hidden_ND.shape[1], n_logits, inner, blocks, tuple(inputs)))
    net.to(lm.device)
    train = np.flatnonzero(rows["train"])
    net.standardise(**data.batch(train))
    losses = _fit(net, data, train, np.flatnonzero(rows["validation"]), training)
    router = HiddenStateRouter(net.eval(), facts={**facts_of(lm), "small": table.facts["small"]})
    router.facts["large"] = table.facts["large"]
    scores = data.scores(net)
    held, truth = rows["validation"], table.is_divergent
    found = sweep(scores[held], truth[held])
    router.threshold = float(found.thresholds[found.best(training.min_recall)])
    router.facts["score_quantiles"] = np.quantile(scores[held], np.linspace(0, 1, N_QUANTILES)).tolist()
    if out is not None:
        router.save(out, overwrite=overwrite)
    return router, _report(table, router, scores, rows, found, losses)


@dataclass(frozen=True)
class _Data:
    """Features as tensors where the network is."""

    hidden: Tensor
    logits: Tensor
    tokens: Tensor
    embedding: Tensor
    labels: Tensor

    @classmethod
    def of(cls, table: LabelTable, lm: LM) -> "_Data":
        put = {"device": lm.device}
        return cls(
            torch.as_tensor(table.hidden_ND, **put),
            torch.as_tensor(table.top_NK, **put),
            torch.as_tensor(table.tokens, **put),
            lm.model.get_input_embeddings().weight.detach(),
            torch.as_tensor(table.is_divergent, dtype=torch.float32, **put),
        )

    def batch(self, rows: np.ndarray) -> dict[str, Tensor]:
        at = torch.as_tensor(rows, device=self.hidden.device)
        return {"hidden": self.hidden[at], "logits": self.logits[at], "embedding": self.embedding[self.tokens[at]]}

    def labelled(self, rows: np.ndarray) -> dict[str, Tensor]:
        return {**self.batch(rows), "labels": self.labels[torch.as_tensor(rows, device=self.labels.device)]}

    @torch.inference_mode()
    def scores(self, net: RouterNet, *, at_once: int = 4096) -> np.ndarray:
        net.eval()
        rows = np.arange(len(self.tokens))
        parts = [net(**self.batch(rows[at : at + at_once])) for at in range(0, len(rows), at_once)]
        return torch.cat(parts).double().sigmoid().cpu().numpy()


@dataclass
class _EarlyStop:
    """Keeps the weights of the best validation, and says when to end."""

    net: RouterNet
    loss: object
    every: int
    patience: int
    losses: list[float] = field(default_factory=list)
    best: dict | None = None

    def __call__(self, step: int, entry: dict) -> bool:
        if step % self.every:
            return False
        self.net.eval()
        self.losses.append(self.loss())
        self.net.train()
        place = int(np.argmin(self.losses))
        if place == len(self.losses) - 1:
            self.best = copy.deepcopy(self.net.state_dict())
        return len(self.losses) - 1 - place >= self.patience


def _fit(net: RouterNet, data: _Data, train: np.ndarray, held: np.ndarray, how: RouterTraining) -> list[float]:
    """Train in place; the validation losses."""
    n_positive = float(data.labels[torch.as_tensor(train, device=data.labels.device)].sum())
    weight = torch.tensor((len(train) - n_positive) / n_positive * how.positive_weight, device=data.labels.device)
    size = min(how.batch, len(train))
    per_epoch = -(-len(train) // size)
    draw = draw_rows(len(train), batch_size=size, seed=how.seed)

    def loss(model: RouterNet, batch: dict[str, Tensor]) -> tuple[Tensor, dict]:
        labels_B = batch["labels"]
        logits_B = model(**{key: value for key, value in batch.items() if key != "labels"})
        return functional.binary_cross_entropy_with_logits(logits_B, labels_B, pos_weight=weight), {
            "tokens": len(labels_B)
        }

    @torch.no_grad()
    def held_loss() -> float:
        parts = [(loss(net, data.labelled(held[at : at + 4096]))) for at in range(0, len(held), 4096)]
        n_tokens = [metrics["tokens"] for _, metrics in parts]
        return float(np.average([float(value) for value, _ in parts], weights=n_tokens))

    stop = _EarlyStop(net, held_loss, how.validate_every * per_epoch, how.patience)
    config = FitConfig(
        rate=how.rate, weight_decay=how.weight_decay, schedule="constant", seed=how.seed, betas=(0.9, 0.999)
    )
    fit(net, lambda step: data.labelled(train[draw(step)]), loss, steps=how.epochs * per_epoch, config=config,
        on_step=stop, label="router")  # fmt: skip
    if stop.best is not None:
        net.load_state_dict(stop.best)
    return stop.losses


def _check(table: LabelTable, small: LM) -> None:
    found = facts_of(small)
    wrong = [key for key in ("width", "vocabulary") if table.facts[key] != found[key]]
    if wrong:
        raise ValueError(
            f"the labels were made with {table.facts['small']}, whose {' and '.join(wrong)} {small.name} does not "
            "share. Give the model of the labels."
        )


def _report(
    table: LabelTable, router: HiddenStateRouter, scores: np.ndarray, rows: dict, found: Sweep, losses: list[float]
) -> Report:
    truth, test = table.is_divergent, rows["test"]
    report = Report(kind="route-train", title=f"A router between {table.facts['small']} and {table.facts['large']}")
    report.facts |= {"threshold": router.threshold, "n_parameters": router.n_parameters, "validations": len(losses)}
    report.facts |= {f"n_{name}": int(rows[name].sum()) for name in PARTS}
    routed = scores[test] >= router.threshold
    report.facts["divergent_share"] = wilson_interval(int(truth[test].sum()), int(test.sum()))
    report.facts["rate"] = wilson_interval(int(routed.sum()), int(test.sum()))
    n_divergent = int(truth[test].sum())
    if n_divergent:
        report.facts["recall"] = wilson_interval(int((routed & truth[test]).sum()), n_divergent)
    rates = [0.02, 0.05, 0.1, 0.2, 0.4]
    ways = {"router": scores[test], "entropy": table.entropy[test]}
    recalls = {way: [recall_at_rate(each, truth[test], rate) for rate in rates] for way, each in ways.items()}
    report.tables["recall at a rate"] = pa.table({"rate": rates, **recalls, "chance": rates})
    series = {"router": list(zip(found.rate, found.recall, strict=True))}
    title = "Divergent tokens found at each rate (validation texts)"
    report.figures.append(Figure("line", title, "rate", "recall", series))
    return report
