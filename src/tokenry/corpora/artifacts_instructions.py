"""Answers to instructions, by people and by models (or by models tuned on each): overlap, closeness, predictability.

Paper: Under the Surface: Tracking the Artifactuality of LLM-Generated Data (arXiv 2401.14698), section on instructions;
ROUGE: A Package for Automatic Evaluation of Summaries (Lin, 2004).
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tokenry.core.report import Report
from tokenry.corpora.artifacts import Finding, compare_means, report_of

__all__ = ["audit_instructions", "lcs_length", "rouge_l"]

Row = Mapping[str, object]


def rouge_words(text: str) -> list[str]:
    """Words as the rouge-score package cuts them: runs of a-z and 0-9 in small letters, so other scripts are lost."""
    return re.findall(r"[a-z0-9]+", text.lower())


def lcs_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, by bits of whole numbers (Hyyrö, 2004): a row is one addition."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    everything = (1 << len(first)) - 1
    row = everything
    for word in second:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & everything
    return len(first) - row.bit_count()


def rouge_l(text: str, reference: str, *, words: Callable[[str], list[str]] = rouge_words) -> float:
    """ROUGE-L: F measure of the longest common subsequence of words, 0 where one side has none.

    Args:
        text: what was written.
        reference: what it is compared with.
        words: how texts are cut; `core.splitting.words` for scripts other than Latin.

    Paper: ROUGE (Lin, 2004); used by Under the Surface (arXiv 2401.14698).
    """
    first, second = words(text), words(reference)
    common = lcs_length(first, second)
    return 2 * common / (len(first) + len(second)) if common else 0.0


def audit_instructions(
    human: Sequence[Row],
    synthetic: Sequence[Row],
    *,
    encode: Callable[[list[str]], np.ndarray] | None = None,
    bits_per_byte: Callable[[list[str]], Sequence[float]] | None = None,
    group: str | None = "task",
    words: Callable[[str], list[str]] = rouge_words,
) -> Report:
    """Compare answers.

    Args:
        human: rows with `text` (the answer), `prompt`, perhaps `reference` (a good answer) and `id`.
        synthetic: the same; where both have the same ids in the same order, pairs are compared.
        encode: texts to vectors, for the cosine between an answer and its reference and prompt.
        bits_per_byte: texts to how predictable they are, under a language model of reference.
        group: a column; every value of it is compared for itself, too.
        words: how ROUGE cuts texts.

    Raises:
        ValueError: no rows, or rows without text.

    Paper: Under the Surface (arXiv 2401.14698).
    """
    sides = [list(human), list(synthetic)]
    for name, rows in zip(("human", "synthetic"), sides, strict=True):
        if not rows or any(not isinstance(row.get("text"), str) for row in rows):
            raise ValueError(f"{len(rows)} {name} rows, or one without text; need rows with text and prompt.")
    ids = [[row.get("id") for row in rows] for rows in sides]
    paired = ids[0] == ids[1] and None not in ids[0]
    values = [_measured(rows, encode, bits_per_byte, words) for rows in sides]
    groups: dict[str, list[np.ndarray]] = {"all": [np.ones(len(rows), bool) for rows in sides]}
    if group:
        names = sorted({str(row[group]) for rows in sides for row in rows if row.get(group) is not None})
        for name in names if len(names) > 1 else []:
            groups[f"{group}={name}"] = [np.array([str(row.get(group)) == name for row in rows]) for rows in sides]
    findings: list[Finding] = []
    for called, chosen in groups.items():
        fits = paired and np.array_equal(*chosen)
        for metric in values[0]:
            first, second = (one[metric][rows] for one, rows in zip(values, chosen, strict=True))
            findings.append(compare_means(first, second, metric=metric, group=called, paired=fits))
    notes = ["The same prompts on both sides: differences are within pairs."] if paired else []
    warnings = []
    if not paired:
        warnings.append("the two sides are not answers to the same prompts (ids differ): a difference of prompts "
                        "looks like one of writers.")  # fmt: skip
    return report_of("instructions", findings, notes=notes, cautions=warnings)


def _measured(
    rows: list[Row],
    encode: Callable[[list[str]], np.ndarray] | None,
    bits_per_byte: Callable[[list[str]], Sequence[float]] | None,
    words: Callable[[str], list[str]],
) -> dict[str, np.ndarray]:
    texts = [str(row["text"]) for row in rows]
    made = {"length.words": np.array([len(words(text)) for text in texts], np.float64)}
    for beside in ("reference", "prompt"):
        others = [row.get(beside) for row in rows]
        made[f"rouge_l.{beside}"] = np.array(
            [rouge_l(text, str(other), words=words) if other else math.nan
             for text, other in zip(texts, others, strict=True)]
        )  # fmt: skip
        if encode is not None:
            known = [place for place, other in enumerate(others) if other]
            cosines = np.full(len(rows), math.nan)
            if known:
                first = _units(encode([texts[place] for place in known]))
                second = _units(encode([str(others[place]) for place in known]))
                cosines[known] = (first * second).sum(axis=1)
            made[f"cosine.{beside}"] = cosines
    if bits_per_byte is not None:
        made["bits_per_byte"] = np.asarray(bits_per_byte(texts), np.float64)
    return made


def _units(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
