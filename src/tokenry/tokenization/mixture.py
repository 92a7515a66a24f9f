"""Infer what a BPE tokenizer was trained on, from its merges and samples of candidate categories.

Each merge was the most frequent pair when it was learned; replayed on a sample of every candidate (language, code,
domain), that is an inequality in the shares of the training text. A linear programme finds the shares that violate
them least, with a certified gap.

    report = infer_mixture("cl100k_base.tiktoken", {"en": "en.jsonl", "code": "code/"}, bootstrap=20)
    report.tables["shares"]

Papers: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tokenry.core.choosing import suggest
from tokenry.core.report import Report
from tokenry.core.vocab import Vocab
from tokenry.tokenization.mixture_counts import N_SHARDS, CategoryCounts, count_categories, in_bytes
from tokenry.tokenization.mixture_evidence import Evidence, gather_evidence, solve, to_bytes, to_pairs
from tokenry.tokenization.mixture_merges import (
    CanonicalMerges,
    canonical_merges,
    check_complete,
    excluded_pairs,
    longest_token,
    skipped_merges,
)

# Axes: n categories, R rounds or resamples, T merges.

MOST_MERGES = 30_000
"""Merges used unless told otherwise: as many as the paper's experiments."""
_MOST_IN_BYTES = 0.5
"""A category with more of its pairs in single bytes is left out."""
REFIT_AT = (100, 300, 1000, 3000, 10_000, 30_000)
MOST_EFFICIENCY_MERGES = 2000


@dataclass(frozen=True)
class MixtureOptions:
    """What `infer_mixture` can be told."""

    merges: int | None = None
    """Use the first so many merges; None: all, at most 30,000. Late merges of a small training text are ties."""
    first_merge: int = 0
    """Earlier merges are applied silently: a tokenizer that took over another's merges is judged by its own."""
    skip_merges: str | Path | None = "auto"
    """Hand-made merges, applied without being evidence: "auto", None, or a file; see `skipped_merges`."""
    longest: int | None = None
    """Longest token the trainer allowed, in stored characters; None: by family (`excluded_pairs`)."""
    unit: str = "bytes"
    """What the intervals are of: shares of "bytes" or of "pairs"."""
    bootstrap: int = 20
    """Resamples of document shards; 0: none."""
    calibrate: int = 0
    """Rounds of training at the estimate and inferring again; the interval to trust, and the slow one."""
    near_optimal: float | None = None
    """Also the range of each share over all mixtures whose objective is within this share of the best (0.01)."""
    refit: bool = False
    """Train a tokenizer at the estimate and compare its merges."""
    baselines: bool = True
    """Also guess by vocabulary frequency and encoding efficiency."""
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Name -> categories whose shares are also reported as one."""
    trained_bytes: float | None = None
    """Size of the training text where it is known, for the calibration."""
    level: float = 0.9
    """Coverage the intervals are asked for."""
    tolerance: float = 1e-3
    """Relative gap between the value found and the proved bound at which solving stops."""
    n_shards: int = N_SHARDS
    """Shards of documents a category is cut into."""
    cache: str | Path | None = None
    """Folder that keeps counts and replays for the next run."""
    seed: int = 0
    workers: int = 1
    """Processes that count, threads that replay."""

    def __post_init__(self) -> None:
        if self.unit not in ("bytes", "pairs"):
            raise ValueError(f"unit={self.unit!r}; need bytes or pairs.{suggest(str(self.unit), ('bytes', 'pairs'))}")
        least = {"merges": 1, "first_merge": 0, "bootstrap": 0, "calibrate": 0, "n_shards": 2, "workers": 1,
                 "longest": 0}  # fmt: skip
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise ValueError(f"{name}={value}; need at least {lowest}.")
        if not 0 < self.level < 1:
            raise ValueError(f"level={self.level}; need a coverage between 0 and 1, such as 0.9.")
        if self.trained_bytes is not None and not 0 < self.trained_bytes < float("inf"):
            raise ValueError(f"trained_bytes={self.trained_bytes}; need a number of bytes above 0, such as 1e9.")
        if self.near_optimal is not None and not self.near_optimal > 0:
            raise ValueError(f"near_optimal={self.near_optimal}; need a share above 0, such as 0.01.")


@dataclass(frozen=True, eq=False)
class MixtureResult:
    """Everything found, before it is told; `mixture_report.mixture_report` tells it."""

    vocab: Vocab
    found: CanonicalMerges
    n_skipped: int
    evidence: Evidence
    fit: object
    """`mixture_programme.MixtureFit`, or None for a single category."""
    pairs_share: np.ndarray
    bytes_share: np.ndarray
    draws: dict[str, np.ndarray]
    """Kind ("bootstrap", "calibrated") -> float64 (R, n) in the unit asked for: drawn shares, or errors."""
    ranges: np.ndarray | None
    """float64 (n, 2), near-optimal range in the unit asked for."""
    baselines: dict[str, np.ndarray]
    """Name -> float64 (n,), shares of bytes."""
    refit: list[tuple[int, float, float]]
    """(T, share of merges in both lists, Kendall's tau of those)."""
    options: MixtureOptions


def infer_mixture(
    tokenizer: object,
    corpora: object,
    *,
    text: str = "text",
    limit: int | None = None,
    skip_bad: bool = False,
    **options: object,
) -> Report:
    """Estimate the shares of candidate categories in a BPE tokenizer's training text.

    Args:
        tokenizer: what `Vocab.open` takes; it must be BPE.
        corpora: category name -> sample of it (what `core.tables.stream` takes), or one table whose column `source`
            names the category.
        text, limit, skip_bad: how to read; the limit is documents of each source.
        options: the fields of `MixtureOptions`.

    Returns:
        Report of kind "tokenizer-mixture"; its table `shares` has the columns source, bytes_share, pairs_share, low
        and high (the calibrated interval when asked for, else the bootstrap).

    Raises:
        FileNotFoundError, ValueError: no such file; a tokenizer without merges or with a cut-off list; a category
            twice, without text or without a pair; an option out of range.

    Paper: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
    """  # fmt: skip
    from tokenry.tokenization.mixture_report import mixture_report

    chosen = MixtureOptions(**options)
    vocab = Vocab.open(tokenizer)
    found = canonical_merges(vocab)
    check_complete(found, n_merges=chosen.merges, name=vocab.name)
    n_merges = _n_merges(chosen, found, vocab)
    reading = {"text": text, "limit": limit, "skip_bad": skip_bad}
    cache = None if chosen.cache is None else Path(chosen.cache)
    categories = count_categories(
        corpora, vocab, n_shards=chosen.n_shards, cache=cache, workers=chosen.workers, **reading
    )
    _check_groups(chosen.groups, categories.names)
    categories, chosen, unspelled = _spelled(vocab, categories, chosen)
    report = mixture_report(infer(vocab, found, categories, options=chosen, n_merges=n_merges))
    report.warnings += [*unspelled, *_twins(categories)]
    return report


def infer(
    vocab: Vocab, found: CanonicalMerges, categories: CategoryCounts, *, options: MixtureOptions, n_merges: int
) -> MixtureResult:
    """Everything `infer_mixture` reports, on counted categories.

    Args:
        vocab: the tokenizer.
        found: its merges.
        categories: the candidates.
        options: what to do.
        n_merges: merges used.
    """
    skipped = skipped_merges(vocab, found, options.skip_merges)
    longest = longest_token(vocab, found, options.longest)
    evidence = gather_evidence(
        vocab, categories, found.merges[:n_merges],
        constrained=~(skipped | found.unreachable)[:n_merges],
        first_merge=options.first_merge,
        excluded=lambda pairs: excluded_pairs(vocab, found, pairs, longest=longest),
        folder=options.cache,
        workers=options.workers,
    )  # fmt: skip
    n = len(categories.names)
    fit = solve(evidence, tolerance=options.tolerance) if n > 1 else None
    pairs_share = np.ones(1) if fit is None else np.asarray(fit.pairs_share, np.float64)
    bytes_share = to_bytes(pairs_share, evidence.bytes_n, evidence.pairs_n)
    return MixtureResult(
        vocab=vocab, found=found, n_skipped=int(skipped[:n_merges].sum()), evidence=evidence, fit=fit,
        pairs_share=pairs_share, bytes_share=bytes_share,
        draws={} if fit is None else _draws(vocab, evidence, fit, options=options, longest=longest),
        ranges=None if fit is None or options.near_optimal is None else _ranges(evidence, fit, options),
        baselines=_baselines(vocab, evidence, options, longest=longest) if options.baselines else {},
        refit=refit(vocab, evidence, bytes_share, first_merge=options.first_merge, longest=longest)
        if options.refit else [],
        options=options,
    )  # fmt: skip


def refit(
    vocab: Vocab, evidence: Evidence, bytes_share: np.ndarray, *, first_merge: int = 0, longest: int = 0
) -> list[tuple[int, float, float]]:
    """Goodness of fit: train at the estimated shares, and compare the merges with the tokenizer's.

    Returns:
        For rising T: T, the share of its first T merges which are among the first T of the refitted tokenizer, and
        Kendall's tau of the places of those in both lists (at most 2,000 of them, evenly taken).
    """
    from tokenry.core.numerics import kendall_tau
    from tokenry.tokenization.mixture_calibration import learn_merges, weights_for

    target = evidence.trajectories.merges
    weights = evidence.categories.by_category() @ weights_for(bytes_share, evidence.bytes_n)
    learned = learn_merges(
        vocab, evidence.spelled, weights, n_merges=len(target) - first_merge, inherited=target[:first_merge],
        longest=longest,
    )  # fmt: skip
    ours, theirs = (_spelled_merges(vocab, merges)[first_merge:] for merges in (learned, target))
    rows = []
    for n in sorted({min(t, len(theirs)) for t in REFIT_AT}):
        place = {name: i for i, name in enumerate(ours[:n])}
        shared = np.array([(i, place[name]) for i, name in enumerate(theirs[:n]) if name in place], np.int64)
        thinned = shared[np.unique(np.linspace(0, len(shared) - 1, min(len(shared), 2000)).astype(int))]
        tau = float(kendall_tau(thinned[:, 0], thinned[:, 1])) if len(thinned) > 1 else float("nan")
        rows.append((n, len(shared) / n, tau))
    return rows


def _spelled_merges(vocab: Vocab, merges: np.ndarray) -> list[tuple[str, str]]:
    names: dict[int, str] = {}
    rows = []
    for left, right, made in merges.tolist():
        parts = tuple(names.get(i) or vocab.literal(i) for i in (left, right))
        names[made] = parts[0] + parts[1]
        rows.append(parts)
    return rows


def _n_merges(options: MixtureOptions, found: CanonicalMerges, vocab: Vocab) -> int:
    n = min(len(found), options.first_merge + MOST_MERGES) if options.merges is None else options.merges
    if n > len(found):
        raise ValueError(f"merges={n:,} asked of {vocab.name}, which has {len(found):,}. Give {len(found)} or fewer.")
    if options.first_merge >= n:
        raise ValueError(
            f"first_merge={options.first_merge:,} leaves none of the {n:,} merges used; give a smaller one."
        )
    return n


def _check_groups(groups: Mapping[str, Sequence[str]], names: Sequence[str]) -> None:
    for group, members in groups.items():
        if group in names:
            raise ValueError(f"the group {group!r} has the name of a category; give it another name.")
        unknown = next((member for member in members if member not in names), None)
        if unknown is not None or not members:
            raise ValueError(
                f"the group {group!r} holds {unknown!r}, which is no category; these are {', '.join(names)}."
                f"{suggest(str(unknown), names)}"
            )
        if len(set(members)) < len(members):
            raise ValueError(f"the group {group!r} names a category twice ({', '.join(members)}); name each once.")


def _twins(categories: CategoryCounts) -> list[str]:
    """A sentence for each pair of categories that hold the same words equally often."""
    columns = categories.by_category().tocsc()
    seen: dict[bytes, str] = {}
    told = []
    for i, name in enumerate(categories.names):
        held = slice(columns.indptr[i], columns.indptr[i + 1])
        key = columns.indices[held].tobytes() + columns.data[held].tobytes()
        if key in seen:
            told.append(
                f"{seen[key]} and {name} hold the same text: how their share is divided between them means nothing."
            )
        seen.setdefault(key, name)
    return told


def _spelled(
    vocab: Vocab, categories: CategoryCounts, options: MixtureOptions
) -> tuple[CategoryCounts, MixtureOptions, list[str]]:
    """The categories the vocabulary can spell, the options without the others, and a sentence for each other one."""
    shares = in_bytes(vocab, categories)
    kept = np.flatnonzero(shares <= _MOST_IN_BYTES)
    if not len(kept):
        raise ValueError(
            f"{vocab.name} spells all categories mostly in single bytes ({shares.min():.0%} of the pairs at least), "
            "which no merge joins; need text in the scripts of this vocabulary."
        )
    if len(kept) == len(shares):
        return categories, options, []
    names = [categories.names[i] for i in kept]
    groups = {name: [m for m in members if m in names] for name, members in options.groups.items()}
    told = [
        f"{name} was left out: {share:.0%} of its pairs hold single bytes, which this vocabulary never joins, so it "
        "would explain any merges; the vocabulary has hardly any entry of its script."
        for name, share in zip(categories.names, shares, strict=True)
        if share > _MOST_IN_BYTES
    ]
    return categories.only(kept), replace(options, groups={k: v for k, v in groups.items() if v}), told


def _draws(
    vocab: Vocab, evidence: Evidence, fit: object, *, options: MixtureOptions, longest: int
) -> dict[str, np.ndarray]:
    from tokenry.tokenization.mixture_calibration import calibrate
    from tokenry.tokenization.mixture_intervals import bootstrap_shares

    draws = {}
    has_blocks = (evidence.categories.n_bytes.reshape(-1, evidence.categories.n_shards) > 0).sum(1) > 1
    if options.bootstrap and has_blocks.all():
        shares = bootstrap_shares(
            evidence.trajectories, evidence.counts, evidence.categories.shard_category,
            n_pairs_C=evidence.spelled.pairs(evidence.categories.counts), constrained_T=evidence.constrained,
            excluded_pairs=evidence.excluded, n_resamples=options.bootstrap, seed=options.seed,
            start=fit, tolerance=options.tolerance,
        )  # fmt: skip
        in_bytes = to_bytes(shares, evidence.bytes_n, evidence.pairs_n)
        draws["bootstrap"] = in_bytes if options.unit == "bytes" else shares
    if options.calibrate:
        bytes_share = to_bytes(fit.pairs_share, evidence.bytes_n, evidence.pairs_n)
        found = calibrate(
            vocab, evidence, bytes_share, n_rounds=options.calibrate, seed=options.seed,
            first_merge=options.first_merge, trained_bytes=options.trained_bytes, longest=longest,
            tolerance=options.tolerance,
        )  # fmt: skip
        draws["calibrated"] = found.errors(options.unit)
    return draws


def _ranges(evidence: Evidence, fit: object, options: MixtureOptions) -> np.ndarray:
    from tokenry.tokenization.mixture_intervals import near_optimal_range

    summed = evidence.spelled.spread(evidence.categories.by_category())
    ends = near_optimal_range(
        evidence.trajectories.changes(summed), evidence.pairs_n, merged_pair=evidence.trajectories.merged_pair,
        constrained_T=evidence.constrained, excluded_pairs=evidence.excluded, slack=options.near_optimal,
        tolerance=options.tolerance, start=fit,
    )  # fmt: skip
    return ends if options.unit == "pairs" else ends_in_bytes(ends, fit.pairs_share, evidence)


def ends_in_bytes(ends_n2: np.ndarray, pairs_share: np.ndarray, evidence: Evidence) -> np.ndarray:
    """Ends of each share of pairs as shares of bytes, the other categories keeping their proportions."""
    out = np.empty_like(ends_n2)
    for i in range(len(pairs_share)):
        rest = np.delete(pairs_share, i)
        rest = rest / rest.sum() if rest.sum() > 0 else np.full(len(rest), 1 / max(len(rest), 1))
        for side in (0, 1):
            whole = np.insert(rest * (1 - ends_n2[i, side]), i, ends_n2[i, side])
            out[i, side] = to_bytes(whole, evidence.bytes_n, evidence.pairs_n)[i]
    return out


def _baselines(vocab: Vocab, evidence: Evidence, options: MixtureOptions, *, longest: int) -> dict[str, np.ndarray]:
    from tokenry.tokenization.mixture_baselines import encoding_efficiency, fit_efficiency, vocabulary_frequency

    categories, merges = evidence.categories, evidence.trajectories.merges
    n = len(categories.names)
    own = merges[options.first_merge :, 2]
    tokens = [vocab.literal(int(i)).encode("utf-8", "surrogatepass") for i in own]
    frequency = vocabulary_frequency(
        tokens, categories.words, counts_Wn=categories.by_category(), bytes_n=evidence.bytes_n
    )
    guesses = {"uniform": np.full(n, 1 / n), "vocabulary frequency": frequency}
    has_halves = (categories.n_bytes.reshape(n, -1) > 0).sum(1) > 1
    if n > 1 and has_halves.all() and not options.first_merge:
        used = min(len(merges), MOST_EFFICIENCY_MERGES)
        model = fit_efficiency(vocab, categories, evidence.spelled, n_merges=used, seed=options.seed, longest=longest)
        guesses["encoding efficiency"] = encoding_efficiency(model, evidence.spelled, merges)
    return guesses


__all__ = ["MixtureOptions", "MixtureResult", "ends_in_bytes", "infer", "infer_mixture", "refit", "to_pairs"]
