"""Rows carried over from a donor: a model that has the new vocabulary, or vectors counted on your own text.

Papers: Training-Free Tokenizer Transplantation via OMP (arXiv 2506.06607); Neural Word Embedding as Implicit Matrix
Factorization (Levy & Goldberg 2014) for vectors from counts.
"""

import warnings
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from tokenry.core.tokenmap import RowKind
from tokenry.core.vocab import Kind, Vocab
from tokenry.transplant.heuristics import POSITIONS, check_norm, normed, piece_weights
from tokenry.transplant.interpolation import solve_weights
from tokenry.transplant.omp import combine, floats, held_out_anchors, matching_pursuit, restriction_cost
from tokenry.transplant.planning import Gap, Rows

_LEVEL = 0.05
"""Cosines this near are level: between level numbers of picks the smaller amplifies less noise."""


def omp(
    gap: Gap,
    *,
    k: int | None = None,
    tolerance: float = 1e-4,
    form: str = "auto",
    normalize: bool = False,
    centre: bool = False,
    ridge: float = 0.0,
    norm: str = "none",
    head: str = "omp",
    max_residual: float = 0.95,
    untrained_quantile: float = 0.01,
    max_anchors: int | None = None,
    memory_mb: int | None = None,
    candidates: int | None = None,
    scratch: str | None = None,
    device: str | None = None,
) -> Rows:
    """Write each new token's donor row as at most `k` shared tokens' donor rows; the same weights make its base row.

    A token goes back to the mean of its pieces where its donor row is untrained (zero, or among the shortest) or where
    the pursuit explains too little of it, and to the mean row where it has no pieces.

    Args:
        k: picks a token. None takes the least of 4, 8, 16, 32 and 64 that rebuilds held-out shared tokens within 0.05
            of the best cosine where `base` rows are given, else 64 (the paper's). Either way at most a quarter of the
            shared tokens: more fits noise.
        tolerance, form, normalize, memory_mb, candidates, scratch: see omp.matching_pursuit; with `candidates`, `info`
            holds the median residual with and without them on 64 tokens.
        centre: pursue in the donor's space less the mean of the shared tokens, with weights that sum to 1: the row then
            does not depend on where either space has its origin.
        ridge: weights of the picks are found anew with this share of their mean squared length on the diagonal.
        norm: "match" scales the row to the median norm of old rows of as many bytes; needs `base` rows.
        head: "omp", or "first", "last", "mean", "weighted": the head's rows from the old pieces; it then gets a matrix
            of its own.
        max_residual: most of the donor row's norm that may stay unexplained.
        untrained_quantile: donor rows whose norm lies below this quantile of the ordinary rows count as untrained.
        max_anchors: keep only the first so many shared tokens by old id (the most frequent in most vocabularies).
        device: run the GEMM form in torch there; None works in numpy.

    Raises:
        ValueError: without donor rows, when the vocabularies share no ordinary token, or for an unknown choice.

    Paper: arXiv 2506.06607. Differs from its code: anchors by bytes, no specials or half characters among them, zero
    and untrained rows left out, an early stop, the choice of k, the fallbacks, and the four options after `normalize`.
    """
    _check_choices(gap, norm, head)
    anchors = trained_anchors(gap, untrained_quantile, max_anchors)
    options = {"tolerance": tolerance, "normalize": normalize, "memory_mb": memory_mb}
    k, info = _picks(gap, anchors, k, options)
    info |= _restricted(gap, anchors[0], {**options, "k": k}, candidates, quantile=untrained_quantile)
    options["candidates"] = candidates
    solve = {**options, "k": k, "form": form, "device": device, "centre": centre, "ridge": ridge, "scratch": scratch}
    parts = {"anchors": anchors, "solve": partial(_solve, **solve), "name": "omp"}
    parts |= {"quantile": untrained_quantile, "max_residual": max_residual}
    rows, kinds, made = pursued_rows(gap, gap.donor, **parts)
    info |= made
    head_rows = None
    if head != "omp":
        head_rows = [piece_weights(gap.old, ids, head) if ids else ([], []) for ids in gap.pieces]
    elif gap.donor_head is not None:
        head_rows, _, made = pursued_rows(gap, gap.donor_head, **parts)
        info |= {f"head_{name}": value for name, value in made.items()}
    rows = normed(gap, rows, norm=norm, info=info)
    return Rows(rows, kinds, head_rows, untie=head != "omp", info=info)


def _restricted(gap: Gap, anchors: np.ndarray, options: dict, candidates: int | None, *, quantile: float) -> dict:
    """What the restriction to some candidates does to the residual; nothing where there is none."""
    if candidates is None:
        return {}
    trained = gap.ids[trained_targets(gap, gap.donor, quantile)]
    given = floats(gap.donor[trained]), floats(gap.donor[anchors])
    return restriction_cost(*given, candidates=candidates, seed=gap.seed, **options)


def _check_choices(gap: Gap, norm: str, head: str) -> None:
    if gap.donor is None:
        raise ValueError(
            "Method 'omp' needs donor rows over the new vocabulary: pass donor=rows of a model with this tokenizer "
            "(--donor M), or count them on your text: transplant.donor_rows_from_text(vocab, texts, width=128). "
            "Without either, use method 'pieces'."
        )
    if head not in ("omp", *POSITIONS):
        raise ValueError(f"head={head!r} is unknown; need 'omp' or one of {', '.join(POSITIONS)}.")
    check_norm(gap, norm)


def _picks(gap: Gap, anchors, asked: int | None, options: dict) -> tuple[int, dict]:
    """How many picks, and what the held-out test of that number says."""
    new_ids, old_ids = anchors
    most = max(1, new_ids.size // 4)
    if asked is not None and asked > most:
        warnings.warn(
            f"k={asked} lowered to {most}: the vocabularies share {new_ids.size} tokens, and at most a quarter of them "
            f"is mixed into one row. Ask for --k {most} or less, or take a donor that shares more tokens.",
            stacklevel=4,
        )
    info = {"anchors": int(new_ids.size)} | ({} if asked is None else {"k_asked": int(asked)})
    k = min(most, 64 if asked is None else asked)
    if gap.base is not None and new_ids.size > 1:
        tried = [k] if asked is not None else sorted({min(most, number) for number in (4, 8, 16, 32, 64)})
        donor, base = gap.donor[new_ids], gap.base[old_ids]
        tests = {number: held_out_anchors(donor, base, k=number, seed=gap.seed, **options) for number in tried}
        best = max(test.pursuit for test in tests.values())
        k = min(number for number, test in tests.items() if test.pursuit >= best - _LEVEL)
        test = tests[k]
        info |= {"held_out_n": test.n, "held_out_cosine": test.pursuit}
        info |= {"held_out_cosine_mean_row": test.mean, "held_out_cosine_random": test.random}
        if test.pursuit <= test.mean:
            info["note"] = (
                f"{test.n} held-out shared tokens were rebuilt worse from the donor (cosine {test.pursuit:.2f}) than "
                f"by the mean row ({test.mean:.2f}): this donor says little about this model, method 'pieces' is safer"
            )
    return k, {**info, "k": int(k)}


def donor_rows_from_text(
    vocab: Vocab, texts: Iterable[str], *, width: int = 128, window: int = 4, seed: int = 0
) -> np.ndarray:
    """Vectors for the tokens of a vocabulary, from what stands near them in texts cut by that vocabulary.

    Counts within `window` tokens (weight 1 / distance), positive pointwise mutual information with contexts smoothed
    by the power 0.75, then the `width` leading singular directions, scaled by the root of their singular values.
    A stopgap where no donor model exists: such vectors know a token's company, not its part in this model. On
    stories260K they lose to the mean of pieces; the held-out test in `plan(...).info` tells for your model.

    Args:
        vocab: the new vocabulary.
        texts: text like the one the model will be used on; a few megabytes at least for a useful result.
        width: numbers a vector; lowered where the vocabulary in use is smaller.
        window: tokens to each side; texts do not see each other.
        seed: of the starting vector of the decomposition.

    Returns:
        float32 (vocab.size, width); tokens that never occur have a row of zeros, which a pursuit never picks.

    Raises:
        ValueError: when the texts hold fewer than two different tokens.
    """
    from scipy.sparse.linalg import svds

    counts = _cooccurrences(vocab, texts, window)
    used = np.flatnonzero(counts.sum(axis=1) > 0)
    if used.size < 2:
        raise ValueError(
            f"The texts hold {used.size} tokens with a neighbour; need two or more different ones. Give more text."
        )
    table = _positive_information(counts[used][:, used])
    rank = min(width, used.size - 1)
    start = np.random.default_rng(seed).standard_normal(used.size)
    left, values, _ = svds(table, k=rank, v0=start)
    left, values = left[:, ::-1], np.maximum(values[::-1], 0)
    # A singular vector's sign is arbitrary: make its greatest entry positive, so that runs agree.
    left = left * np.sign(left[np.abs(left).argmax(axis=0), np.arange(rank)])
    out = np.zeros((vocab.size, width), dtype=np.float32)
    out[used, :rank] = left * np.sqrt(values)
    return out


def _cooccurrences(vocab: Vocab, texts: Iterable[str], window: int):
    """Symmetric (V, V) counts, weighted by 1 / distance, in blocks of texts so that memory follows the vocabulary."""
    from scipy.sparse import coo_array, csr_array

    total = csr_array((vocab.size, vocab.size), dtype=np.float64)
    for block in _blocks(texts, 4096):
        encoded = vocab.encode(block)
        ids = np.concatenate(encoded).astype(np.int64) if encoded else np.zeros(0, dtype=np.int64)
        owner = np.repeat(np.arange(len(encoded)), [len(e) for e in encoded])
        for distance in range(1, window + 1):
            near = owner[:-distance] == owner[distance:] if ids.size > distance else np.zeros(0, dtype=bool)
            a, b = ids[: near.size][near], ids[distance:][near] if near.size else ids[:0]
            part = coo_array((np.full(a.size, 1 / distance), (a, b)), shape=total.shape).tocsr()
            total = total + part + part.T
    return total.tocsr()


def _blocks(texts: Iterable[str], size: int):
    block = []
    for text in texts:
        block.append(text)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block


def _positive_information(counts):
    rows = counts.sum(axis=1)
    smooth = rows**0.75
    smooth = smooth / smooth.sum()
    table = counts.tocoo()
    value = np.log(table.data) - np.log(rows[table.row]) - np.log(smooth[table.col])
    table.data = np.maximum(value, 0)
    table = table.tocsr()
    table.eliminate_zeros()
    return table


def trained_anchors(gap: Gap, quantile: float, most: int | None) -> tuple[np.ndarray, np.ndarray]:
    """New and old ids of the shared tokens whose donor row is trained, the first `most` by old id.

    Raises:
        ValueError: when there is none.
    """
    new_ids, old_ids = gap.match.anchors(gap.old, gap.new)
    trained = _norms(gap.donor, new_ids) > _floor(gap, gap.donor, quantile)
    new_ids, old_ids = new_ids[trained], old_ids[trained]
    if not new_ids.size:
        raise ValueError(
            "The two vocabularies share no ordinary token with a trained donor row, so nothing can be carried over. "
            "Use method 'pieces', which needs no donor."
        )
    keep = np.argsort(old_ids, kind="stable")[:most]
    return new_ids[keep], old_ids[keep]


def trained_targets(gap: Gap, donor: np.ndarray, quantile: float) -> np.ndarray:
    """Positions in `gap.ids` whose donor row is trained: longer than `quantile` of the ordinary rows, and than 0."""
    return np.flatnonzero(_norms(donor, gap.ids) > _floor(gap, donor, quantile))


def _norms(rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows[ids].astype(np.float32, copy=False), axis=1)


def _floor(gap: Gap, donor: np.ndarray, quantile: float) -> float:
    """The norm up to which a donor row counts as untrained; rows of zeros always do."""
    norms = _norms(donor, np.flatnonzero(gap.new.kinds == Kind.NORMAL))
    norms = norms[norms > 0]
    return float(np.quantile(norms, quantile)) if norms.size and quantile > 0 else 0.0


def pursued_rows(
    gap: Gap,
    donor: np.ndarray,
    *,
    anchors: tuple[np.ndarray, np.ndarray],
    solve: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    quantile: float,
    max_residual: float = float("inf"),
    name: str = "mixed",
) -> tuple[list, np.ndarray, dict]:
    """Rows, kinds and facts of one matrix: combinations of shared tokens where they can be had, pieces elsewhere.

    Args:
        anchors: new and old ids of the shared tokens.
        solve: targets (B, D) and anchors (N, D) of the donor -> picks (B, K), -1 for none, and weights (B, K).
        quantile: see trained_targets. max_residual: see omp. name: of the count of rows, as `<name>_rows`.
    """
    donor = donor if donor.dtype == np.float64 else donor.astype(np.float32, copy=False)
    tried = trained_targets(gap, donor, quantile)
    targets, atoms = donor[gap.ids[tried]], donor[anchors[0]]
    picks, weights = solve(targets, atoms)
    residual = np.linalg.norm(targets - combine(picks, weights, atoms), axis=1)
    residual /= np.maximum(_norms(donor, gap.ids[tried]), 1e-30)
    rows = [(ids, np.full(len(ids), 1 / len(ids))) if ids else ([], []) for ids in gap.pieces]
    kinds = np.array([RowKind.COMBINE if ids else RowKind.MEAN for ids in gap.pieces], dtype=np.uint8)
    kept = residual <= max_residual
    for n, own_picks, own_weights in zip(tried[kept], picks[kept], weights[kept], strict=True):
        taken = own_picks >= 0
        rows[n] = (anchors[1][own_picks[taken]], own_weights[taken])
        kinds[n] = RowKind.COMBINE
    info = {
        f"{name}_rows": int(kept.sum()),
        "untrained_donor_rows": int(gap.ids.size - tried.size),
        "beyond_residual": int((~kept).sum()),
    }
    if tried.size:
        quantiles = np.quantile(residual, [0.1, 0.5, 0.9])
        info.update({f"residual_p{p}": float(q) for p, q in zip((10, 50, 90), quantiles, strict=True)})
        info["weights_l1_median"] = float(np.median(np.abs(weights).sum(axis=1)))
    return rows, kinds, info


def _solve(targets, atoms, *, centre: bool, ridge: float, **options) -> tuple[np.ndarray, np.ndarray]:
    """The pursuit, and where it is asked weights of its picks found anew."""
    if not centre and not ridge:
        return _pursuit(targets, atoms, **options)
    if not centre:
        picks, _ = _pursuit(targets, atoms, **options)
        return picks, solve_weights(targets, atoms, picks, ridge=ridge)
    middle = atoms.mean(axis=0)
    targets, atoms = targets - middle, atoms - middle
    # One more coordinate, the same for all, makes the pursuit look for weights that sum to 1: it counts as much as any
    # other one does.
    size = max(float(np.sqrt(np.square(atoms).mean())), 1e-12)
    lifted = (np.pad(rows, ((0, 0), (0, 1)), constant_values=size) for rows in (targets, atoms))
    picks, _ = _pursuit(*lifted, **options)
    return picks, solve_weights(targets, atoms, picks, ridge=ridge, sum_to_one=True)


def _pursuit(targets, atoms, *, device: str | None, form: str, scratch: str | None, **options) -> tuple:
    if device is None:
        return matching_pursuit(targets, atoms, form=form, scratch=scratch, **options)
    import torch

    moved = (torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in (targets, atoms))
    picks, weights = matching_pursuit(*moved, form="gemm", **options)
    return picks.cpu().numpy(), weights.cpu().numpy()
