"""Quality against cost of routing: routers beside entropy, chance, whole-prompt routing and each model alone.

Paper: R2R (arXiv 2505.21600), section 5 (quality over activated parameters; query-level routing as a baseline).
"""

# Axes: N tokens, P prompts, V vocabulary.

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch

from tokenry.core.choosing import resolve
from tokenry.core.intervals import Interval, bootstrap_interval, ratio_interval
from tokenry.core.progress import Progress
from tokenry.core.report import Figure, Report
from tokenry.decoding.divergence import small_states
from tokenry.decoding.routers import EntropyRouter, RandomRouter, Router, RoutingStep, open_router
from tokenry.decoding.routing import RoutedText, check_pair, routed_generate
from tokenry.decoding.routing_cost import RoutingCost
from tokenry.decoding.sampling import Settings
from tokenry.decoding.strategies import ids_of, settings_for, text_of
from tokenry.models.lm import LM
from tokenry.models.session import Session

SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)
BATCH = 16

Quality = Callable[[str, str, str], float]
"""(prompt, continuation, the large model's continuation) -> quality from 0 to 1."""


def same_as_large(prompt: str, text: str, reference: str) -> float:
    """1 where the text is the large model's, but for spacing."""
    return float(text.split() == reference.split())


def shared_beginning(prompt: str, text: str, reference: str) -> float:
    """Share of the large model's words up to the first that differs."""
    ours, theirs = text.split(), reference.split()
    same = next(
        (at for at, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
    )
    return same / max(1, len(ours), len(theirs))


def same_last_number(prompt: str, text: str, reference: str) -> float:
    """1 where the text ends in the large model's answer (`verifiers.same_answer`)."""
    from tokenry.decoding.verifiers import Fork, same_answer

    return 1.0 - same_answer([Fork(prompt, "", text, reference, "", "")])[0]


QUALITIES = {
    "same-text": "tokenry.decoding.routing_curve:same_as_large",
    "agreement": "tokenry.decoding.routing_curve:shared_beginning",
    "same-answer": "tokenry.decoding.routing_curve:same_last_number",
}
"""What is compared with the large model's text; your own function knows the right answers."""


@dataclass(frozen=True)
class Point:
    """One way to route, at one setting, over all prompts.

    Attributes:
        way: name of the router; "small", "large" and "prompts" (whole prompts to one model) are baselines.
        asked: share of tokens asked for; NaN where none was.
        threshold: that gave it.
        quality: of each prompt (P,).
        bits, n_bytes: of each continuation under the large model (P,).
        cost: of all prompts.
        large_tokens, tokens: by the large model, and in all, of each prompt (P,).
    """

    way: str
    asked: float
    threshold: float
    quality: np.ndarray
    bits: np.ndarray
    n_bytes: np.ndarray
    cost: RoutingCost
    large_tokens: np.ndarray
    tokens: np.ndarray

    @property
    def share(self) -> Interval:
        """Share of tokens the large model wrote, interval over prompts."""
        return ratio_interval(self.large_tokens, self.tokens)


def thresholds_for(
    router: Router, small: LM, texts: Sequence[tuple[Sequence[int], Sequence[int]]], *, shares: Sequence[float]
) -> list[float]:
    """Thresholds that route these shares of the tokens of given texts.

    Args:
        router: scores a token from the small model's state before it (no `step.large`).
        small: the small model.
        texts: (prompt, response) ids, best the large model's answers to prompts that are not measured on.
        shares: between 0 and 1.
    """
    if isinstance(router, RandomRouter):
        return [router.threshold_for(share) for share in shares]
    scores = np.concatenate([_scores(router, small, *text) for text in texts if len(text[1])])
    return [float(np.clip(np.quantile(scores, 1 - share), 1e-12, 1 - 1e-12)) for share in shares]


def measure_curve(
    small: LM,
    large: LM,
    prompts: Sequence[str],
    *,
    routers: Mapping[str, Router],
    quality: Quality = shared_beginning,
    shares: Sequence[float] = SHARES,
    calibration: Sequence[str] = (),
    settings: Settings | None = None,
    batch: int = BATCH,
) -> list[Point]:
    """Continue all prompts by every router at every share, by each model alone, and by whole-prompt routing.

    Args:
        small, large: the pair.
        prompts: texts.
        routers: name -> router.
        quality: of a continuation.
        shares: of tokens for the large model; the share that comes out differs, and is what a Point tells.
        calibration: prompts on which thresholds are set; none takes the first tenth of `prompts`, at least four.
        settings: length, temperature.
        batch: prompts decoded at once.
    """
    check_pair(small, large)
    if not prompts:
        raise ValueError("no prompt to measure on; need some. Give --prompts FILE.")
    bench = _Bench(small, large, list(prompts), quality, settings_for(large, settings or Settings()), batch)
    held = list(calibration) or list(prompts)[: max(4, len(prompts) // 10)]
    answers = bench.continue_all([ids_of(large, prompt) for prompt in held], None, 0.0)[0]
    texts = [(ids_of(large, prompt), answer.ids) for prompt, answer in zip(held, answers, strict=True)]
    ways = {name: thresholds_for(router, small, texts, shares=shares) for name, router in routers.items()}
    n_runs = 3 + len(shares) * len(routers)
    with Progress("curve", n_runs, "runs") as progress:
        points = [
            bench.point("large", 1.0, router=None, threshold=0.0),
            bench.point("small", 0.0, router=None, threshold=1.0),
        ]
        unsure = bench.uncertainty()
        progress.add(3)
        points += [_by_prompts(points[0], points[1], unsure, share) for share in shares]
        for name, thresholds in ways.items():
            for share, threshold in zip(shares, thresholds, strict=True):
                points.append(bench.point(name, share, router=routers[name], threshold=threshold))
                progress.add(1)
    return points


def curve_report(points: Sequence[Point], *, title: str, quality: str = "quality") -> Report:
    """The points as a table and a figure."""
    report = Report(kind="route-curve", title=title)
    rows = []
    for point in points:
        value, bits = bootstrap_interval(point.quality), ratio_interval(point.bits, point.n_bytes)
        rows.append({
            "way": point.way, "large share": point.share.value, quality: value.value, "low": value.low,
            "high": value.high, "bits/byte under large": bits.value, "threshold": point.threshold,
            "activated": point.cost.activated_parameters, "multiplied": point.cost.multiplied_parameters,
            "large forwards": point.cost.large_forwards, "seconds": point.cost.seconds,
        })  # fmt: skip
        if point.way in ("small", "large"):
            report.facts[f"{point.way}_{quality}"] = value
            report.facts[f"{point.way}_bits_per_byte"] = bits
    report.facts["n_prompts"] = len(points[0].quality)
    report.tables["curve"] = pa.table({key: [row[key] for row in rows] for key in rows[0]})
    ways = dict.fromkeys(row["way"] for row in rows if row["way"] not in ("small", "large"))
    ends = [next(row for row in rows if row["way"] == way) for way in ("small", "large")]
    series = {}
    for way in ways:
        on = sorted([*(row for row in rows if row["way"] == way), *ends], key=lambda row: row["large share"])
        series[way] = [(row["large share"], row[quality], row["low"], row["high"]) for row in on]
    report.figures.append(Figure("line", title, "share of tokens by the large model", quality, series))
    return report


def quality_at(points: Sequence[Point], way: str, share: float) -> np.ndarray:
    """Quality (P,) of each prompt at an exact share, between the two nearest points of a way and the limits."""
    on = sorted((p for p in points if p.way in (way, "small", "large")), key=lambda p: p.share.value)
    at = np.array([point.share.value for point in on])
    above = int(np.clip(np.searchsorted(at, share), 1, len(on) - 1))
    low, high = at[above - 1], at[above]
    weight = 0.0 if high == low else float(np.clip((share - low) / (high - low), 0, 1))
    return (1 - weight) * on[above - 1].quality + weight * on[above].quality


@dataclass
class _Bench:
    small: LM
    large: LM
    prompts: list[str]
    quality: Quality
    settings: Settings
    batch: int

    def __post_init__(self) -> None:
        self.ids = [ids_of(self.large, prompt) for prompt in self.prompts]
        self.references: list[str] | None = None

    def continue_all(
        self, prompts: list[list[int]], router: Router | None, threshold: float
    ) -> tuple[list[RoutedText], RoutingCost]:
        """Continuations in order; rows of like length run together, so that little is padded."""
        order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
        texts: dict[int, RoutedText] = {}
        total = RoutingCost()
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            found, cost = routed_generate(
                self.small, self.large, [prompts[at] for at in rows], router=router, threshold=threshold,
                settings=self.settings,
            )  # fmt: skip
            texts |= dict(zip(rows, found, strict=True))
            total = _sum(total, cost)
        return [texts[at] for at in range(len(prompts))], total

    def point(self, way: str, asked: float, *, router: Router | None, threshold: float) -> Point:
        """One run over all prompts; the first must be the large model's own."""
        found, cost = self.continue_all(self.ids, router, threshold)
        texts = [text_of(self.large, text.ids) for text in found]
        self.references = texts if self.references is None else self.references
        rows = zip(self.prompts, texts, self.references, strict=True)
        bits = [_bits(self.large, prompt, text.ids) for prompt, text in zip(self.ids, found, strict=True)]
        return Point(
            way, asked, threshold, np.array([float(self.quality(*row)) for row in rows]), np.array(bits),
            np.array([max(1, len(text.encode())) for text in texts]), cost,
            np.array([sum(text.from_large) for text in found]), np.array([len(text.ids) for text in found]),
        )  # fmt: skip

    def uncertainty(self) -> np.ndarray:
        """Mean entropy score (P,) of the small model along its own text: what whole prompts are routed by."""
        found, _ = self.continue_all(self.ids, EntropyRouter(), 1 - 1e-12)
        return np.array([np.mean(text.scores) for text in found])


def _by_prompts(large: Point, small: Point, unsure: np.ndarray, share: float) -> Point:
    """Whole prompts to the large model, those first where the small model was least sure, until the share is reached.

    The small model has answered every prompt before, which the cost counts (a cascade).
    """
    chosen = np.zeros(len(unsure), dtype=bool)
    for at in np.argsort(-unsure, kind="stable"):
        now = np.where(chosen, large.tokens, small.tokens).sum()
        if np.where(chosen, large.tokens, 0).sum() >= share * now:
            break
        chosen[at] = True
    pick = {
        name: np.where(chosen, getattr(large, name), getattr(small, name))
        for name in ("quality", "bits", "n_bytes", "tokens", "large_tokens")
    }
    part = chosen.mean()
    cost = replace(
        small.cost, n_tokens=int(pick["tokens"].sum()), n_large=int(pick["large_tokens"].sum()),
        large_forwards=round(large.cost.large_forwards * part), seconds=small.cost.seconds + large.cost.seconds * part,
        large_positions=round(large.cost.large_positions * part), large_parameters=large.cost.large_parameters,
    )  # fmt: skip
    return Point("prompts", share, float("nan"), cost=cost, **pick)


@torch.inference_mode()
def _scores(router: Router, small: LM, prompt: Sequence[int], response: Sequence[int]) -> np.ndarray:
    """Scores (N,) of a router along a text: the places are the rows of one step."""
    hidden_ND, logits_NV = small_states(small, list(prompt), list(response))
    tokens_N = logits_NV.argmax(-1)
    embedding_ND = small.model.get_input_embeddings().weight[tokens_N]
    rows = list(range(len(tokens_N)))
    return router(RoutingStep(hidden_ND, logits_NV, tokens_N, embedding_ND, rows=rows)).cpu().numpy()


@torch.inference_mode()
def _bits(large: LM, prompt: list[int], new: list[int]) -> float:
    """Bits of a continuation under the large model."""
    logits_TV = Session.open(large).extend([*prompt, *new[:-1]], keep="all")[len(prompt) - 1 :, : large.vocab.size]
    log_p_T = logits_TV.double().log_softmax(-1).gather(-1, torch.tensor(new, device=logits_TV.device)[:, None])
    return float(-log_p_T.sum() / np.log(2))


def _sum(a: RoutingCost, b: RoutingCost) -> RoutingCost:
    """Counts add up; the sizes of the models are those of the second."""
    sizes = {name: getattr(b, name) for name in ("small_parameters", "large_parameters", "router_parameters")}
    counts = {
        name: getattr(a, name) + getattr(b, name) for name in RoutingCost.__dataclass_fields__ if name not in sizes
    }
    return RoutingCost(**counts, **sizes)


def route_curve(
    small: object,
    large: object,
    prompts: Sequence[str],
    *,
    routers: Sequence[str],
    quality: "str | Quality" = "agreement",
    shares: Sequence[float] = SHARES,
    max_new_tokens: int = 256,
    batch: int = BATCH,
    device: str | None = None,
) -> Report:
    """Open everything, measure, report: what `tokenry route curve` does.

    Args:
        small, large: what `LM.open` takes.
        prompts: texts.
        routers: folders, or names in ROUTERS.
        quality: a name in QUALITIES, `pkg.module:function`, or a function.
        shares, max_new_tokens, batch: as for `measure_curve`.
        device: of both models.
    """
    if not all(0 < share < 1 for share in shares):
        raise ValueError(f"shares {list(shares)}; need some between 0 and 1 (both limits are measured anyway).")
    small, large = LM.open(small, device=device), LM.open(large, device=device)
    opened = {str(source).rstrip("/"): open_router(source, device=small.device) for source in routers}
    for router in opened.values():
        if hasattr(router, "check"):
            router.check(small)
    measure = resolve(quality, QUALITIES, kind="quality")
    settings = Settings(max_new_tokens=max_new_tokens)
    points = measure_curve(
        small, large, prompts, routers=opened, quality=measure, shares=shares, settings=settings, batch=batch
    )
    name = quality if isinstance(quality, str) and ":" not in quality else "quality"
    return curve_report(points, title=f"{small.name} and {large.name} write together", quality=name)
