"""Find tokens a model never learned: their embedding rows have stayed where training began.

Read from the weight files, row by row, without torch; only asking the model itself (`verify`) needs it.

Papers: Fishing for Magikarp: Automatically Detecting Under-trained Tokens in Large Language Models (arXiv 2405.05417).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.intervals import wilson_interval
from tokenry.core.report import Figure, Report
from tokenry.core.vocab import Kind, Vocab
from tokenry.tokenization.counting import Counts
from tokenry.tokenization.entries import shown, unreachable_entries
from tokenry.tokenization.lenses import Findings
from tokenry.tokenization.weight_rows import Rows, embedding_rows

# Axes: V vocabulary ids, R rows of a matrix, D width.

LOWEST_SHARE = 0.02
"""Share of the tested ids that is listed as candidates, as in the paper."""
STRONG, WEAK = 0.001, 0.1
"""A candidate that the model cannot repeat with so much probability is under-trained (strong), or may be (weak)."""

_MOST_ROWS = 100


@dataclass(frozen=True, eq=False)
class Indicators:
    """How much each id looks like a token that was never trained; low values do.

    Attributes:
        main: name of the one to go by: the one that best tells known unused ids from the others.
        values: name -> float64 (V,): "input_norm" (length of the input row); "head_cosine" (cosine distance of the head
            row from the mean row of ids known to be unused, the first principal direction taken out of all), and
            "head_distance" (Euclidean distance from that mean); the last two only with known unused ids.
        unused: ids and rows known to be unused, which gave the mean.
        aurocs: name -> chance that the indicator puts a known unused id below another id, on ids that did not give the
            mean; 0.5 is guessing. None where there are too few.
        is_tied: whether head and input are one matrix.
    """

    main: str
    values: dict[str, np.ndarray]
    unused: np.ndarray
    aurocs: dict[str, float | None]
    is_tied: bool


def undertrained(counts: Counts, *, seed: int = 0, model: str | None = None) -> Findings:
    """Lens: candidates for under-trained tokens by the rows of a model.

    Args:
        counts: of the model's tokenizer on a text; its counts are laid beside the indicator.
        seed: splits the known unused ids for the check of the indicator.
        model: folder of the model (safetensors).

    Raises:
        ValueError: no model; or one that has fewer rows than the tokenizer ids.
        FileNotFoundError: no weights in the folder.
    """
    if model is None:
        raise ValueError("the lens 'undertrained' reads a model's embedding rows; give its folder: --model FOLDER.")
    return _findings(counts.vocab, indicators(counts.vocab, model, seed=seed), counts.tokens_V)


def undertrained_report(
    model: str | Path,
    *,
    tokenizer: object = None,
    unused: Sequence[int] = (),
    verify: bool = False,
    seed: int = 0,
) -> Report:
    """Under-trained tokens of a model.

    Args:
        model: folder with safetensors weights and, unless `tokenizer` is given, the tokenizer.
        tokenizer: whatever `Vocab.open` takes.
        unused: ids you know to be unused, beside those found by `known_unused`.
        verify: ask the model to repeat each candidate (needs torch; costs a forward pass each).
        seed: splits the known unused ids for the check of the indicator.

    Returns:
        Report of kind "undertrained-tokens"; table "undertrained" lists the candidates, lowest first.

    Raises:
        FileNotFoundError: no such folder, or no weights in it. ValueError: rows and ids do not fit.

    Paper: Fishing for Magikarp (arXiv 2405.05417).
    """
    vocab = Vocab.open(model if tokenizer is None else tokenizer)
    found = _findings(vocab, indicators(vocab, model, unused=unused, seed=seed))
    table = found.tables["undertrained"]
    report = Report("undertrained-tokens", f"Under-trained tokens of {Path(model).name}", facts=found.facts)
    report.notes, report.warnings, report.figures = found.notes, found.warnings, found.figures
    n = len(table["id"])
    report.verdict = f"{n} candidates, the lowest by {found.facts['indicator']}; look at the list before pruning any."
    if not n:
        report.verdict = "No candidate can be named; see the warning."
    elif verify:
        chances = repeat_chances(model, table["id"], tokenizer=vocab)
        table["repeat_chance"] = chances
        strong, weak = sum(p < STRONG for p in chances), sum(p < WEAK for p in chances)
        report.facts |= {"verified_strong": wilson_interval(strong, n), "verified_weak": wilson_interval(weak, n)}
        report.verdict = (
            f"Of {n} candidates the model cannot repeat {strong} (chance below {STRONG}) and hardly repeats "
            f"{weak - strong} more (below {WEAK})."
        )
    report.tables["undertrained"] = pa.table(table)
    return report


def indicators(vocab: Vocab, folder: str | Path, *, unused: Sequence[int] = (), seed: int = 0) -> Indicators:
    """Compute the indicators of a model, and how well each works on ids known to be unused.

    The paper goes by the length of the input row where head and input are two matrices, else by the cosine distance.
    Which of them works depends on the model (where most of a vocabulary is unused, its direction is the one taken out),
    so the one with the best check is taken; ties go to the input length, or with one matrix to the distance.

    Args:
        vocab: its tokenizer.
        folder: its safetensors files.
        unused: ids known to be unused beside those of `known_unused`.
        seed: the known unused ids are split in two, one half for the mean, one for the check.

    Raises:
        As `undertrained`.
    """
    inputs, head = embedding_rows(Path(folder))
    if inputs.shape[0] < vocab.size:
        raise ValueError(
            f"{folder} has {inputs.shape[0]:,} embedding rows for a tokenizer of {vocab.size:,} ids; need one a row or "
            "more. Is it this model's tokenizer?"
        )
    norms_R = np.concatenate([np.linalg.norm(inputs[block], axis=1) for block in inputs.blocks()])
    values = {"input_norm": norms_R.astype(np.float64)[: vocab.size]}
    unused = np.union1d(known_unused(vocab, inputs.shape[0]), _checked_ids(unused, inputs.shape[0]))
    tested = np.setdiff1d(np.flatnonzero(vocab.kinds <= Kind.BYTE), unused)
    aurocs = {"input_norm": _check(values["input_norm"], unused, tested)}
    if len(unused):
        rows = inputs if head is None else head
        direction_D = _first_direction(rows)
        values |= _distances(rows, unused, direction_D)
        order = np.random.default_rng(seed).permutation(unused)
        half = _distances(rows, order[: (len(order) + 1) // 2], direction_D)
        aurocs |= {name: _check(value_R, order[(len(order) + 1) // 2 :], tested) for name, value_R in half.items()}
        values = {name: value_R[: vocab.size] for name, value_R in values.items()}
    names = ["head_distance", "head_cosine", "input_norm"] if head is None else ["input_norm", "head_cosine"]
    names = [*dict.fromkeys([*(name for name in names if name in values), *values])]
    main = max(names, key=lambda name: (round(aurocs[name] or 0.0, 2), -names.index(name)))
    return Indicators(main, values, unused, aurocs, head is None)


def _checked_ids(ids: Sequence[int], n_rows: int) -> np.ndarray:
    bad = next((i for i in ids if not 0 <= i < n_rows), None)
    if bad is not None:
        raise ValueError(f"unused id {bad} is outside the model's {n_rows:,} rows. Give ids of its tokenizer.")
    return np.array(sorted(ids), np.int64)


def _check(value_R: np.ndarray, unused: np.ndarray, tested: np.ndarray) -> float | None:
    judged = unused[unused < len(value_R)]
    return auroc(value_R[judged], value_R[tested]) if len(judged) and len(tested) else None


def known_unused(vocab: Vocab, n_rows: int) -> np.ndarray:
    """Rows that no text can reach: beyond the ids, holes, bytes that UTF-8 never has, byte pieces of characters that
    are entries themselves, entries no text can produce."""
    found = set(range(vocab.size, n_rows)) | set(np.flatnonzero(vocab.kinds == Kind.UNUSED).tolist())
    found |= set(unreachable_entries(vocab))
    impossible = {bytes([byte]) for byte in (0xC0, 0xC1, *range(0xF5, 0x100))}
    found |= {i for i, data in enumerate(vocab.tokens) if data in impossible}
    for ids in vocab.index.values():
        kinds = vocab.kinds[ids]
        if (kinds == Kind.NORMAL).any():
            found |= {i for i, kind in zip(ids, kinds.tolist(), strict=True) if kind == Kind.BYTE}
    return np.array(sorted(found), np.int64)


def _distances(rows: Rows, unused: np.ndarray, direction_D: np.ndarray) -> dict[str, np.ndarray]:
    """Of every row: cosine distance (one direction taken out) and Euclidean distance from the mean of some rows."""
    mean_D = rows[unused].astype(np.float64).mean(0)
    bare_D = mean_D - (mean_D @ direction_D) * direction_D
    cosine, distance = [], []
    for block in rows.blocks():
        rows_BD = rows[block].astype(np.float64)
        distance.append(np.linalg.norm(rows_BD - mean_D, axis=1))
        rows_BD = rows_BD - np.outer(rows_BD @ direction_D, direction_D)
        norms_B = np.linalg.norm(rows_BD, axis=1) * np.linalg.norm(bare_D)
        cosine.append(1 - (rows_BD @ bare_D) / np.where(norms_B > 0, norms_B, 1))
    return {"head_cosine": np.concatenate(cosine), "head_distance": np.concatenate(distance)}


def _first_direction(rows: Rows) -> np.ndarray:
    """The direction of largest second moment (not centred: it is the constant part of a head that is to go)."""
    width = rows.shape[1]
    moment_DD = np.zeros((width, width))
    for block in rows.blocks():
        part_BD = rows[block].astype(np.float64)
        moment_DD += part_BD.T @ part_BD
    direction_D = np.ones(width) / np.sqrt(width)
    for _ in range(200):
        longer_D = moment_DD @ direction_D
        norm = np.linalg.norm(longer_D)
        if norm == 0:
            return np.zeros(width)
        longer_D /= norm
        if abs(longer_D @ direction_D) > 1 - 1e-12:
            break
        direction_D = longer_D
    return longer_D


def auroc(suspect: np.ndarray, others: np.ndarray) -> float:
    """Chance that a suspect's value lies below another's, ties half."""
    order = np.sort(others)
    below = len(order) - np.searchsorted(order, suspect, "right")
    equal = np.searchsorted(order, suspect, "right") - np.searchsorted(order, suspect, "left")
    return float((below + equal / 2).mean() / len(order))


def _findings(vocab: Vocab, got: Indicators, tokens_V: np.ndarray | None = None) -> Findings:
    unused = set(got.unused.tolist())
    tested = [i for i in np.flatnonzero(vocab.kinds <= Kind.BYTE).tolist() if i not in unused]
    value_V = got.values[got.main]
    # With one matrix and no row to compare with, the length says nothing: names are the shortest rows of SmolLM2.
    is_blind = got.is_tied and not unused
    order = [] if is_blind else sorted(tested, key=lambda i: (value_V[i], i))
    listed = order[: min(_MOST_ROWS, max(1, int(LOWEST_SHARE * len(tested))))]
    table = {"id": listed, "token": [shown(vocab, i) for i in listed]}
    table |= {name: [float(values[i]) for i in listed] for name, values in got.values.items()}
    if tokens_V is not None:
        table["count"] = [int(tokens_V[i]) for i in listed]
    found = Findings(
        facts={
            "indicator": got.main,
            "tied_rows": got.is_tied,
            "known_unused": len(unused),
            "undertrained_candidates": len(listed),
            "indicator_auroc": got.aurocs[got.main],
        },
        tables={"undertrained": table},
        notes=[
            f"Candidates are the lowest {LOWEST_SHARE:.0%} of the reachable ids (at most {_MOST_ROWS}) by {got.main}; "
            "low is suspect, not proven: have the model repeat them (tokenry tokenizer undertrained MODEL --verify). "
            "indicator_auroc: how well the indicator tells ids that cannot occur from all others, on ids it was not "
            "given; 0.5 is chance."
        ],
    )
    plain = [i for i in got.unused.tolist() if i < vocab.size]
    series = {"known unused": value_V[plain], "others": value_V[tested]}
    found.figures.append(Figure.of_values(f"Under-trained tokens: {got.main}", got.main, series))
    if is_blind:
        found.warnings.append(
            "No id is known to be unused and head and input are one matrix, so no candidate can be named. Name ids "
            "that were surely never trained (reserved tokens): --unused ID."
        )
    elif not unused:
        found.warnings.append("No id is known to be unused, so only the length of input rows can be judged.")
    elif got.is_tied and len(unused) < 5:
        found.warnings.append(f"Only {len(unused)} ids are known to be unused; the mean of their rows is a weak guide.")
    return found


_PROMPTS = (
    ('Please repeat the string "', '". The string is "'),
    ('"cat" "cat" "dog" "dog" "', '" "'),
    ("Say it again. cat: cat. dog: dog. ", ": "),
)


def repeat_chances(
    model: object, ids: Sequence[int], *, tokenizer: object = None, device: str | None = None
) -> list[float]:
    """The largest probability with which a model repeats each token, over three prompts that ask for it.

    Args:
        model: what `models.lm.LM.open` takes.
        ids: tokens to try.
        tokenizer: of the model, when it does not lie in its folder.
        device: where to run.

    Paper: Fishing for Magikarp (arXiv 2405.05417), section 3.3; our prompts, since models differ in what they follow.
    """
    import torch

    from tokenry.models.lm import LM

    lm = LM.open(model, device=device)
    vocab = Vocab.open(tokenizer) if tokenizer is not None else lm.vocab
    parts = [[vocab.encode([part])[0].tolist() for part in prompt] for prompt in _PROMPTS]
    start = [lm.bos] if lm.bos is not None else []
    chances = []
    with torch.inference_mode():
        for i in ids:
            best = 0.0
            for before, after in parts:
                row = torch.tensor([start + before + [int(i)] + after], device=lm.device)
                logits_V = lm.model(input_ids=row).logits[0, -1].float()
                best = max(best, float(torch.softmax(logits_V, -1)[int(i)]))
            chances.append(best)
    return chances
