"""Routing labels on disk: label many prompts, in shards that a second call goes on from, and read them back.

A folder holds `labels.json` (what it was made with) and `labels-00000.parquet`, ...: one row a token of a response,
with the features of the small model where it proposed. Mismatches carry both continuations, to be looked at.

Paper: R2R (arXiv 2505.21600), section 3 and its data pipeline.
"""

# Axes: N tokens, D width of the small model, K largest logits.

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.intervals import ratio_interval
from tokenry.core.progress import Progress
from tokenry.core.report import Report
from tokenry.decoding.divergence import KINDS, Labels, label_text
from tokenry.decoding.routers import N_LOGITS, facts_of
from tokenry.decoding.routing import check_pair, routed_generate
from tokenry.decoding.sampling import Settings
from tokenry.decoding.strategies import ids_of, settings_for
from tokenry.decoding.verifiers import Verifier, open_verifier
from tokenry.models.lm import LM

SHARD_PROMPTS = 32


@dataclass(frozen=True)
class LabelTable:
    """Labels of all texts of a folder, those that were dropped left out.

    Attributes:
        text: number of the prompt a token belongs to, (N,).
        tokens: the small model's proposals, ids (N,).
        kinds: index into `divergence.KINDS` (N,).
        hidden_ND, top_NK, entropy: features, float32.
        facts: content of `labels.json`.
    """

    text: np.ndarray
    tokens: np.ndarray
    kinds: np.ndarray
    hidden_ND: np.ndarray
    top_NK: np.ndarray
    entropy: np.ndarray
    facts: dict

    @property
    def is_divergent(self) -> np.ndarray:
        """Bool (N,): what a router learns."""
        return self.kinds == KINDS.index("divergent")

    def __len__(self) -> int:
        return len(self.tokens)


def label_prompts(
    small: object,
    large: object,
    prompts: Sequence[str],
    *,
    out: str | Path,
    verifier: "str | Verifier | None" = "same-numbers",
    verifier_model: object = None,
    sentences: int = 1,
    max_new_tokens: int = 256,
    continuation_tokens: int = 256,
    device: str | None = None,
) -> Report:
    """Let the large model answer prompts, and label each token of the answers; goes on where an earlier call stopped.

    Args:
        small, large: what `LM.open` takes; one vocabulary.
        prompts: texts, none empty.
        out: folder of the labels.
        verifier, verifier_model: see `verifiers.open_verifier`; a model wins over the default name.
        sentences, continuation_tokens: of the continuations, see `divergence.label_text`.
        max_new_tokens: longest answer.
        device: of both models.

    Returns:
        Report of kind "route-label": shares of identical, neutral and divergent tokens with intervals over prompts.

    Raises:
        ValueError: no prompt, different vocabularies, a folder whose labels were made otherwise.
    """
    if not prompts or not all(prompts):
        raise ValueError("no prompt, or an empty one, to label along; need texts. Give --prompts FILE.")
    small, large = LM.open(small, device=device), LM.open(large, device=device)
    check_pair(small, large)
    judge = open_verifier(None if verifier_model is not None else verifier, model=verifier_model, device=device)
    named = str(verifier_model) if verifier_model is not None else _name(verifier)
    how = {"sentences": sentences, "max_new_tokens": max_new_tokens, "continuation_tokens": continuation_tokens}
    facts = {"small": small.name, "large": large.name, "verifier": named, **how, **facts_of(small)}
    facts |= {"n_prompts": len(prompts), "prompts": _digest(prompts), "n_logits": min(N_LOGITS, small.vocab.size)}
    folder = _begun(Path(out), facts)
    starts = range(0, len(prompts), SHARD_PROMPTS)
    with Progress("label", len(prompts), "prompts") as progress:
        for number, start in enumerate(starts):
            shard = folder / f"labels-{number:05d}.parquet"
            part = prompts[start : start + SHARD_PROMPTS]
            if not shard.is_file():
                _write_shard(shard, _shard(small, large, part, start, judge, how))
            progress.add(len(part))
    return labels_report(folder)


def read_labels(folder: str | Path) -> LabelTable:
    """The labels of a folder.

    Raises:
        FileNotFoundError: none there. ValueError: a shard is missing, so labelling did not finish.
    """
    import pyarrow.parquet as pq

    folder = Path(folder)
    facts = _facts(folder)
    if facts is None:
        raise FileNotFoundError(f"{folder} holds no labels (labels.json). Make them: tokenry route label.")
    wanted = [folder / f"labels-{n:05d}.parquet" for n in range(-(-facts["n_prompts"] // SHARD_PROMPTS))]
    missing = [file.name for file in wanted if not file.is_file()]
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} of {len(wanted)} shards are missing (first: {missing[0]}); labelling did not "
            "finish. Run the same tokenry route label again: it goes on where it stopped."
        )
    columns = ["text", "small", "kind", "hidden", "top", "entropy"]
    table = pa.concat_tables([pq.read_table(file, columns=columns) for file in wanted])
    kinds = table["kind"].to_numpy()
    kept = kinds != KINDS.index("dropped")
    matrices = {name: _matrix(table[name])[kept] for name in ("hidden", "top")}
    return LabelTable(
        text=table["text"].to_numpy()[kept],
        tokens=table["small"].to_numpy()[kept].astype(np.int64),
        kinds=kinds[kept],
        hidden_ND=matrices["hidden"],
        top_NK=matrices["top"],
        entropy=table["entropy"].to_numpy()[kept],
        facts=facts,
    )


def labels_report(folder: str | Path) -> Report:
    """What the labels of a folder say: shares of each kind over prompts, and examples of mismatches."""
    import pyarrow.parquet as pq

    folder = Path(folder)
    facts = _facts(folder)
    files = sorted(folder.glob("labels-*.parquet"))
    columns = ["text", "kind", "cut", "before", "small_text", "large_text"]
    table = pa.concat_tables([pq.read_table(file, columns=columns) for file in files])
    text, kinds = table["text"].to_numpy(), table["kind"].to_numpy()
    n_tokens = np.bincount(text, minlength=facts["n_prompts"])
    report = Report(kind="route-label", title=f"Where {facts['small']} differs from {facts['large']}")
    report.facts |= {"small": facts["small"], "large": facts["large"], "verifier": facts["verifier"]}
    report.facts |= {"n_prompts": facts["n_prompts"], "n_tokens": len(kinds)}
    for number, kind in enumerate(KINDS):
        counts = np.bincount(text[kinds == number], minlength=facts["n_prompts"])
        report.facts[f"{kind}_share"] = ratio_interval(counts, n_tokens)
    report.facts["n_cut"] = int(np.sum(table["cut"].to_numpy()))
    rows = np.flatnonzero(kinds != 0)
    picked = rows[np.linspace(0, len(rows) - 1, min(12, len(rows))).astype(int)] if len(rows) else []
    shown = table.take(pa.array(picked, pa.int64()))
    names = [KINDS[number] for number in shown["kind"].to_pylist()]
    report.tables["mismatches"] = pa.table(
        {"kind": names, "small": shown["small_text"], "large": shown["large_text"], "before": shown["before"]}
    )
    return report


def _shard(small: LM, large: LM, prompts: Sequence[str], start: int, judge: Verifier, how: dict) -> pa.Table:
    """Labels of some prompts, one row a token."""
    settings = settings_for(large, Settings(max_new_tokens=how["max_new_tokens"]))
    ids = [ids_of(large, prompt) for prompt in prompts]
    answers, _ = routed_generate(None, large, ids, threshold=0, settings=settings)
    parts = []
    for number, (prompt, answer) in enumerate(zip(ids, answers, strict=True), start=start):
        labels = label_text(
            small, large, prompt, response=answer.ids, verifier=judge, sentences=how["sentences"],
            max_new_tokens=how["continuation_tokens"],
        )  # fmt: skip
        parts.append(_rows(number, labels))
    return pa.concat_tables(parts)


def _rows(number: int, labels: Labels) -> pa.Table:
    n, forks = len(labels.response), labels.forks
    texts = {
        name: [getattr(forks[at], name) if at in forks else None for at in range(n)] for name in ("small", "large")
    }
    before = [forks[at].before[-200:] if at in forks else None for at in range(n)]
    return pa.table({
        "text": pa.array(np.full(n, number), pa.int32()),
        "position": pa.array(np.arange(n), pa.int32()),
        "response": pa.array(labels.response, pa.int32()),
        "small": pa.array(labels.small, pa.int32()),
        "large": pa.array(labels.large, pa.int32()),
        "kind": pa.array(labels.kinds, pa.int8()),
        "cut": pa.array([at in forks and forks[at].is_cut for at in range(n)], pa.bool_()),
        "entropy": pa.array(labels.entropy, pa.float32()),
        "hidden": _vectors(labels.hidden_ND),
        "top": _vectors(labels.top_NK),
        "small_text": pa.array(texts["small"], pa.string()),
        "large_text": pa.array(texts["large"], pa.string()),
        "before": pa.array(before, pa.string()),
    })  # fmt: skip


def _vectors(values_ND: np.ndarray) -> pa.FixedSizeListArray:
    flat = pa.array(np.ascontiguousarray(values_ND, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values_ND.shape[1])


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    width = column.type.list_size
    return np.concatenate([chunk.flatten().to_numpy().reshape(-1, width) for chunk in column.chunks])


def _write_shard(path: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    from tokenry.core.runs import atomic_path

    with atomic_path(path) as part:
        pq.write_table(table, part, compression="zstd")


def _begun(folder: Path, facts: dict) -> Path:
    """The folder, with its facts written; one begun otherwise is refused."""
    from tokenry.core.runs import atomic_write

    before = _facts(folder)
    if before is not None:
        other = [key for key in facts if before.get(key) != facts[key]]
        if other:
            raise ValueError(
                f"{folder} holds labels made with another {', '.join(other)} ({other[0]}: {before.get(other[0])!r}, "
                f"now {facts[other[0]]!r}). Give another --out, or remove it."
            )
        return folder
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} exists and holds something else; give a new folder to --out.")
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / "labels.json", json.dumps(facts, indent=2) + "\n")
    return folder


def _facts(folder: Path) -> dict | None:
    file = folder / "labels.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _digest(prompts: Sequence[str]) -> str:
    return hashlib.blake2b("\0".join(prompts).encode(), digest_size=16).hexdigest()


def _name(verifier: object) -> str:
    return verifier if isinstance(verifier, str) else getattr(verifier, "__qualname__", type(verifier).__name__)
