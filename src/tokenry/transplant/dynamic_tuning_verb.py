"""What `tokenry transplant dynamic-tune` does: teach a decoder to read merged prompts, and say what it was worth.

Paper: Retrofitting Large Language Models with Dynamic Tokenization (arXiv 2411.18553), section 3.3.
"""

from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from tokenry.core.report import Figure, Report
from tokenry.core.runs import atomic_folder, write_run
from tokenry.core.splitting import split_documents
from tokenry.core.tables import texts
from tokenry.models.lm import LM
from tokenry.models.scoring import Scores
from tokenry.transplant.dynamic import LEVELS, prompt_pairs
from tokenry.transplant.dynamic_lm import score_continuations
from tokenry.transplant.dynamic_rows import PieceRows
from tokenry.transplant.dynamic_tuning import continuation_loss, continued_batches, tune

HELD_OUT = 0.2
CONTROL, TUNED = "tuned, unmerged", "tuned, merged"


@dataclass(frozen=True)
class Tuning:
    """How a decoder is tuned on merged prompts.

    Attributes:
        steps, rank, dropout, rate: see `dynamic_tuning.tune`.
        level: "uniform", "gaussian", or one share for all batches.
        batch: prompts of a step, which are merged together.
        prompt_bytes: longest prompt; what follows is half as long.
        boundary: see `merge_batch`.
    """

    steps: int = 500
    rank: int = 128
    dropout: float = 0.3
    rate: float = 1e-4
    level: float | str = "uniform"
    batch: int = 32
    prompt_bytes: int = 512
    boundary: str = "pretokens"


def tune_decoder(
    base: str,
    data: object,
    out: Path,
    *,
    how: Tuning | None = None,
    limit: int | None = 5000,
    seed: int = 0,
    overwrite: bool = False,
) -> Report:
    """Tune a decoder on merged prompts, beside the same training on ordinary ones, and write it as a stock model.

    Args:
        base: model folder or hub name.
        data: text; a fifth of the documents is held out and scored.
        out: folder to write: a model for the ecosystem's loader, with `report/` and `run.json`.
        how: the settings.
        limit: most documents.
        seed: of split, batches and additions.
        overwrite: replace `out`.

    Raises:
        ValueError: too few documents, or impossible settings. FileExistsError: `out` exists.
    """
    how = how or Tuning()
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; need a new folder. Choose another --out, or add --overwrite.")
    documents = list(dict.fromkeys(islice(texts(data, limit=limit), limit)))
    if len(documents) < 10:
        raise ValueError(
            f"{len(documents)} different document(s); need at least 10, to train on some and score others."
        )
    parts = split_documents(documents, parts={"train": 1 - HELD_OUT, "held out": HELD_OUT}, seed=seed)
    train, held = (prompt_pairs([documents[i] for i in rows], how.prompt_bytes) for rows in parts.values())
    scores: dict[str, dict[float, Scores]] = {}
    for way, level in (("untouched", None), (CONTROL, 0.0), (TUNED, how.level)):
        lm = LM.open(base)
        if level is not None:
            _tuned(lm, train, level, how=how, seed=seed)
        options = {"boundary": how.boundary, "batch_size": how.batch}
        scores[way] = {at: score_continuations(lm, held, reduction=at, **options).scores for at in LEVELS}
    report = _report(lm.name, scores, {"prompts": len(held), "trained.on": len(train), **asdict(how)})
    with atomic_folder(out, overwrite=overwrite) as folder:
        lm.save(folder, overwrite=True)
        report.save(folder / "report")
        inputs = [base, *data] if isinstance(data, list) else [base, data]
        write_run(folder, verb="transplant dynamic-tune", arguments=asdict(how), seed=seed, inputs=inputs)
    return report


def share_or_kind(level: str) -> float | str:
    """A number where the text is one, else the text."""
    try:
        return float(level)
    except ValueError:
        return level


def _tuned(lm: LM, pairs: list[tuple[str, str]], level: float | str, *, how: Tuning, seed: int) -> None:
    batches = continued_batches(lm, pairs, batch_size=how.batch, level=level, boundary=how.boundary, seed=seed)
    loss = continuation_loss(lm, PieceRows(lm.model, lm.vocab))
    settings = {"steps": how.steps, "rank": how.rank, "dropout": how.dropout, "rate": how.rate}
    tune(lm.model, batches, loss, **settings, seed=seed)


def _report(name: str, scores: dict[str, dict[float, Scores]], facts: dict) -> Report:
    lines, series = [], {}
    for way, found in scores.items():
        for level, score in found.items():
            bits, change = score.bits_per_byte(), score.change_from(scores[CONTROL][level])
            line = {"model": way, "reduction": level, "bits_per_byte": bits.value, "low": bits.low, "high": bits.high}
            against = {"against_control": change.value, "against_low": change.low, "against_high": change.high}
            lines.append(line | against)
            series.setdefault(way, []).append((level, bits.value, bits.low, bits.high))
    cost = {way: found[1.0].change_from(found[0.0]) for way, found in scores.items()}
    gain, price = (scores[TUNED][level].change_from(scores[CONTROL][level]) for level in (1.0, 0.0))
    for way, found in cost.items():
        facts[f"bits_per_byte.cost of whole words.{way}"] = found
    facts["bits_per_byte.merged_minus_unmerged.at_1"], facts["bits_per_byte.merged_minus_unmerged.at_0"] = gain, price
    said = "better than" if gain.high < 0 else "worse than" if gain.low > 0 else "not told apart from"
    title = "Bits per byte after merged prompts"
    figure = Figure("line", title, "reduction", "bits per byte", series, unit="bits/byte")
    return Report(
        kind="transplant-dynamic-tune",
        title=f"{Path(name).name}, tuned to read merged prompts",
        facts=facts,
        tables={"by level of reduction": pa.Table.from_pylist(lines)},
        figures=[figure],
        verdict=(
            f"On prompts of whole words training on merged batches is {said} the same training on ordinary ones "
            f"({gain}); on ordinary prompts the difference is {price}."
        ),
        notes=[
            "Continuations are predicted in ordinary tokens. Intervals: bootstrap over held-out prompts, paired where "
            "two models are compared; one seed of training.",
            f"{CONTROL}: the same text, steps and seed at level 0; only '{TUNED}' is written.",
        ],
    )
