"""What a move did, as a Report: shared tokens by class, rows by kind, norms, and what could not be carried over."""

import numpy as np

from tokenry.core.report import Figure, Report
from tokenry.core.vocab import Vocab
from tokenry.transplant.digits import compare_digits
from tokenry.transplant.matching import raw_overlap
from tokenry.transplant.planning import Plan


def move_report(
    plan: Plan, old: Vocab, new: Vocab, *, before: np.ndarray, after: np.ndarray, lost: list[str], template: list[str]
) -> Report:
    """Describe a move.

    Args:
        before, after: input rows of the model, old and new.
        lost: sentences on ids of the configurations that have no counterpart.
        template: special tokens that the chat template writes and the new vocabulary does not hold.
    """
    classes = plan.info["classes"]
    n_real = max(1, new.size - classes["unused"])
    shared = n_real - classes["unmatched"] - classes.get("untrained", 0)
    facts = {
        "method": plan.method,
        "vocab_size.before": old.size,
        "vocab_size.after": new.size,
        "rows.before": len(before),
        "rows.after": len(after),
        "untied": plan.untie,
        "shared": shared,
        "shared_share": shared / n_real,
        "shared_by_raw_string": raw_overlap(old, new),
        **{f"match.{name.replace(' ', '_').replace('-', '_')}": n for name, n in classes.items()},
        **{f"rows.{name}": n for name, n in plan.input.counts().items()},
        "unfilled": int(plan.unfilled.size),
        "weights_l1_max": _largest_l1(plan),
        **_made_facts(plan),
    }
    norms = {"old rows": _norms(before[: old.size]), "new rows": _norms(after[: new.size])}
    facts |= {f"norm_median.{'before' if k == 'old rows' else 'after'}": float(np.median(v)) for k, v in norms.items()}
    warnings = [f"{sentence}." for sentence in lost]
    if template:
        warnings.append(
            f"The chat template writes {', '.join(template)}, which the new vocabulary does not hold as tokens: they "
            "will be cut to pieces. Add them as special tokens, or give a new template."
        )
    if plan.method == "zero" and classes["unmatched"]:
        warnings.append("Head rows of zeros give logit 0, which may exceed every true logit.")
    warnings += nothing_shared(plan)
    if "note" in plan.info:
        warnings.append(f"{plan.info['note']}.")
    notes = ["Tokens are compared by the bytes they stand for, specials by role and then by text."]
    if n_given := facts.get("rows.given", 0):
        notes.append(
            f"{n_given:,} rows are numbers made from the rows of one model, not combinations of old rows: a fine-tuned "
            "relative gets the same numbers, whatever its own rows have become."
        )
    digits = compare_digits(old, new)
    facts |= digits.facts() if digits.differs else {}
    warnings += digits.sentences(repaired="digits_repaired" in plan.info)
    return Report(
        "transplant",
        f"{old.name or 'old'} to {new.name or 'new'} by {plan.method}",
        facts=facts,
        figures=[Figure.of_values("Norms of the embedding rows", "norm", norms)],
        verdict=f"{shared:,} of {n_real:,} new tokens keep their row; {n_real - shared:,} were made by {plan.method}.",
        warnings=warnings,
        notes=notes,
    )


def nothing_shared(plan: Plan) -> list[str]:
    """A sentence where no ordinary token keeps its row."""
    counts = plan.input.counts()
    if counts.get("copy", 0) or not plan.n_new:
        return []
    mixed, rest = counts.get("combine", 0) + counts.get("given", 0), sum(counts.values()) - counts.get("special", 0)
    return [
        f"The vocabularies share no token (specials aside): no row of the {rest:,} is copied, {mixed:,} are made from "
        f"other rows by {plan.method}, {rest - mixed:,} say nothing (mean, random or zero rows). The model must learn "
        "its tokens anew: train it, or take a tokenizer that shares tokens with it (tokenry tokenizer compare A B)."
    ]


def _made_facts(plan: Plan) -> dict:
    skipped = {"classes", "rows", "options", "rare_ids", "not_averaged", "note"}
    return {f"made.{key}": value for key, value in plan.info.items() if key not in skipped}


def _largest_l1(plan: Plan) -> float:
    """Greatest sum of absolute weights of a row: much above 1 means noise is amplified by cancellation."""
    if not plan.input.weights.size:
        return 0.0
    starts = plan.input.indptr[:-1][np.diff(plan.input.indptr) > 0]
    return float(np.add.reduceat(np.abs(plan.input.weights), starts).max())


def _norms(rows: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows.astype(np.float32, copy=False), axis=1)
