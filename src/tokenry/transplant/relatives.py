"""Give a fine-tuned relative the tokenizer its base was given, with what the base has learned under it.

`transplant apply` puts a plan on a relative; this adds the training that the base had after its move.

Paper: Zero-Shot Tokenizer Transfer (arXiv 2405.07883).
"""

import json
import math
import shutil
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from tokenry.core.report import Report
from tokenry.core.runs import atomic_folder, write_run
from tokenry.core.vocab import Vocab
from tokenry.transplant.matching import rows_fingerprint


def merged_body(
    fine_tuned: Mapping[str, Tensor],
    swapped_base: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    *,
    lam: float = 0.5,
    embeddings: Collection[str] = ("model.embed_tokens.weight", "lm_head.weight"),
) -> dict[str, Tensor]:
    """Weights of a fine-tuned relative with the tokenizer its base was given.

    The body is fine_tuned + lam (swapped_base - base); the embedding matrices are those of the swapped base.

    Args:
        fine_tuned, base: weights by name, old vocabulary.
        swapped_base: the base after the move, perhaps trained on since.
        lam: 0 keeps the fine-tuned body, 1 adds all that training after the move has changed; the paper's usual choice
            is 0.5.
        embeddings: names of the matrices of the vocabulary (`models.files.embedding_names` knows them).

    Raises:
        ValueError: other names or shapes of the body, or no finite `lam`.
    """
    _check_share(lam)
    rows = set(embeddings) & set(swapped_base)
    body = set(swapped_base) - rows
    for name, weights in (("fine_tuned", fine_tuned), ("base", base)):
        shapes = {key: weights[key].shape for key in set(weights) - set(embeddings)}
        _check_alike(name, shapes, {key: swapped_base[key].shape for key in body})
    out = {name: swapped_base[name].clone() for name in rows}
    for name in body:
        out[name] = _moved_weight(fine_tuned[name], swapped_base[name], base[name], lam)
    return {name: out[name] for name in swapped_base}


def merge_relative(
    fine_tuned: str | Path, base: str | Path, moved: str | Path, *, out: str | Path, lam: float = 0.5,
    overwrite: bool = False,
) -> Report:  # fmt: skip
    """Write a fine-tuned relative with the tokenizer that its base was given and trained on.

    Weights are read one at a time, from the three checkpoints; only those of the written model are held. Tokenizer,
    embedding, head and bias come from `moved`; configuration and generation defaults are the relative's, with the ids
    of the new tokenizer; the chat template is the relative's where it has one.

    Args:
        fine_tuned: folder of a model that was trained on from `base`, with the same vocabulary.
        base: folder of the base before the move.
        moved: folder of the base after the move, healed or trained on since.
        out: folder to write; it opens with the library alone.
        lam: share of what training changed in the moved base's body.

    Returns:
        Report of kind "relative": how far base, moved base and relative lie from each other.

    Raises:
        ValueError: relatives of other shapes or vocabularies, or a result that does not verify.
        FileNotFoundError: no checkpoint there. FileExistsError: `out` exists and `overwrite` is off.
    """
    from tokenry.models.files import replace_tensors
    from tokenry.transplant.verifying import verify

    _check_share(lam)
    folders = {name: Path(given) for name, given in (("fine_tuned", fine_tuned), ("base", base), ("moved", moved))}
    vocabs = {name: Vocab.open(folder) for name, folder in folders.items()}
    if rows_fingerprint(vocabs["fine_tuned"]) != rows_fingerprint(vocabs["base"]):
        raise ValueError(
            f"{fine_tuned} has another vocabulary than {base}; need a relative that kept its base's tokenizer. "
            "Give the base it was trained from."
        )
    changed, lengths = _changed(folders, lam)
    with atomic_folder(out, overwrite=overwrite) as part:
        replace_tensors(folders["moved"], part, changed)
        shutil.rmtree(part / "tokenry_plan", ignore_errors=True)
        lost = _configure(part, folders["fine_tuned"], vocabs)
        checked = verify(part)
        if not checked.facts["ok"]:
            problems = "; ".join(checked.tables["problems"].column("problem").to_pylist())
            raise ValueError(f"{out}: the merged model does not verify, so it was not kept: {problems.rstrip('.')}.")
        write_run(part, verb="transplant relative", arguments={"lam": lam}, seed=None, inputs=list(folders.values()))
    return _report(folders, lengths, lam, lost)


def _changed(folders: Mapping[str, Path], lam: float) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The weights of the merged body, and squared lengths of the base's, of its training and of the tuning."""
    from tokenry.models.files import read_tensor, tensor_names, tensor_shapes

    tables = {name: _tables(folder) for name, folder in folders.items()}
    shapes = {
        name: {key: tuple(shape) for key, shape in tensor_shapes(folder).items() if key not in tables[name]}
        for name, folder in folders.items()
    }
    for name in ("fine_tuned", "base"):
        _check_alike(str(folders[name]), shapes[name], shapes["moved"])
    changed, lengths = {}, {"base": 0.0, "training": 0.0, "tuning": 0.0}
    for key in tensor_names(folders["moved"]):
        if key in tables["moved"]:
            continue
        mine, theirs, before = (read_tensor(folders[name], key) for name in ("fine_tuned", "moved", "base"))
        changed[key] = _moved_weight(mine, theirs, before, lam)
        if before.is_floating_point():
            for name, step in (("base", before), ("training", theirs - before), ("tuning", mine - before)):
                lengths[name] += float(step.double().square().sum())
    return changed, lengths


def _tables(folder: Path) -> set[str]:
    """Names of the tensors of a checkpoint that have a row for each id."""
    from tokenry.transplant.stored import Stored

    stored = Stored.open(folder)
    return {name for name in stored.names.values() if name} | set(stored.copies)


def _configure(part: Path, fine_tuned: Path, vocabs: Mapping[str, Vocab]) -> list[str]:
    """The relative's configuration with the ids, sizes and tying of the moved base's; its chat template too."""
    from tokenry.transplant.configs import moved_ids
    from tokenry.transplant.planning import plan

    moved = plan(vocabs["fine_tuned"], vocabs["moved"], method="zero")
    lost: list[str] = []
    for name in ("config.json", "generation_config.json"):
        if not (fine_tuned / name).is_file():
            continue
        facts = json.loads((fine_tuned / name).read_text(encoding="utf-8"))
        is_model = name == "config.json"
        theirs = json.loads((part / name).read_text(encoding="utf-8")) if is_model else {}
        # What the swapped base has settled: its number of rows, and whether they are one matrix.
        facts |= {key: theirs[key] for key in ("vocab_size", "tie_word_embeddings") if key in theirs}
        n_rows = int(facts.get("vocab_size", vocabs["moved"].size))
        ids = {"old": vocabs["fine_tuned"], "to": vocabs["moved"], "n_rows": n_rows, "generation": not is_model}
        updates = moved_ids(facts, moved, **ids)
        lost += updates.lost
        (part / name).write_text(json.dumps(facts | updates.values, indent=2) + "\n", encoding="utf-8")
    template = vocabs["fine_tuned"].config.get("chat_template")
    if template:
        (part / "chat_template.jinja").unlink(missing_ok=True)
        config = vocabs["moved"].config | {"chat_template": template}
        replace(vocabs["moved"], config=config).to_hf(part)
    return list(dict.fromkeys(lost))


def _report(folders: Mapping[str, Path], lengths: Mapping[str, float], lam: float, lost: list[str]) -> Report:
    title = f"{folders['fine_tuned'].name} with the tokenizer of {folders['moved'].name}"
    report = Report(kind="relative", title=title)
    size = math.sqrt(lengths["base"]) or 1.0
    report.facts |= {
        "lambda": lam,
        "body_change.training_after_move": math.sqrt(lengths["training"]) / size,
        "body_change.fine_tuning": math.sqrt(lengths["tuning"]) / size,
    }
    trained = report.facts["body_change.training_after_move"]
    report.verdict = (
        f"Body = fine-tuned + {lam:g} x (moved base - base); training after the move changed {trained:.2%} of the "
        "body's length. Rows and tokenizer are the moved base's. Score it on your own text before you use it."
    )
    if not lengths["training"]:
        report.warnings.append(
            "The moved base's body is the base's own: it was not trained on after the move, so lambda changes nothing. "
            "transplant apply does the same from the plan alone."
        )
    if lost:
        report.warnings.append(f"Ids without a token in the new tokenizer were dropped: {', '.join(lost)}.")
    return report


def _moved_weight(mine: Tensor, swapped: Tensor, base: Tensor, lam: float) -> Tensor:
    if not mine.is_floating_point() or lam == 0:
        return mine.clone()
    wide = torch.promote_types(mine.dtype, torch.float32)
    # float32 in between: a difference of two bfloat16 bodies has few digits left.
    return (mine.to(wide) + lam * (swapped.to(wide) - base.to(wide))).to(mine.dtype)


def _check_share(lam: float) -> None:
    if not math.isfinite(lam):
        raise ValueError(f"lam={lam}; need a finite number, 0.5 as a rule.")


def _check_alike(name: str, found: Mapping, wanted: Mapping) -> None:
    other = sorted(set(found) ^ set(wanted) | {key for key in set(found) & set(wanted) if found[key] != wanted[key]})
    if other:
        raise ValueError(
            f"{name} and the swapped base differ in {other[0]!r} and {len(other) - 1} more weights of the "
            "body; need relatives of one shape. Name all matrices of the vocabulary in embeddings=."
        )
