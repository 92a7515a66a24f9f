"""What the verb `hypernet train` does: train a network for a model folder, and say what its rows are worth.

Paper: Zero-Shot Tokenizer Transfer (arXiv 2405.07883).
"""

import shutil
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from tokenry.core.report import Figure, Report
from tokenry.core.runs import atomic_folder, write_run
from tokenry.models.lm import LM
from tokenry.transplant.documents import part_texts, split, take
from tokenry.transplant.hypernet import HypernetConfig, Hypernetwork
from tokenry.transplant.hypernet_training import TrainingConfig, train_identity, train_main
from tokenry.transplant.scoring import measure
from tokenry.transplant.surgery import move
from tokenry.transplant.tokenizer_sampling import SamplerConfig, TokenizerSampler
from tokenry.transplant.workspace import Workspace

BASELINES = ("pieces", "mean", "random")


def train_hypernet_folder(
    base: str,
    data: list,
    out: Path,
    *,
    shape: dict,
    sampling: SamplerConfig,
    training: TrainingConfig,
    reading: dict,
    device: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Report:
    """Train a hypernetwork for a causal model and write it to `out` with a report.

    Args:
        base: model folder or hub name; its body stays as it is.
        data: text; split by document into a part that tokenizers are drawn from and the network trains on, one that an
            unseen BPE is learned from, and one that is scored.
        out: folder to write, for `transplant --method hypernet --hypernet OUT`.
        shape: fields of `HypernetConfig` but the width, which is the model's.
        sampling, training: see there.
        reading: `text`, `limit`, `skip_bad` of the reader.
        resume: go on with an interrupted run of the same arguments.

    Returns:
        Report of kind "hypernet": bits per byte on the unseen tokenizer with rows of the network, of pieces, mean and
        random ones.

    Raises:
        ValueError: too few documents, or a model the network cannot be trained for.
        FileExistsError: `out` exists and `overwrite` is off, or an unfinished run is there and `resume` is off.

    Paper: arXiv 2405.07883, sections 3 and 4.
    """
    from tokenry.core.hashing import fingerprint
    from tokenry.core.runs import describe_input

    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; need a new folder. Choose another --out, or add --overwrite.")
    lm = LM.open(base, device=device)
    settings = (shape, asdict(sampling), asdict(training), reading)
    key = fingerprint(*(repr(describe_input(given)) for given in (base, data)), *map(repr, settings))
    space = Workspace.open(out, key, resume=resume)
    parts = space.path("parts")
    space.stage("split", lambda: split(data, parts, seed=training.seed, caps={}, reading=reading))
    network = _network(lm, shape, training.seed)
    curves = _train(network, lm, part_texts(parts, "heal"), space, sampling=sampling, training=training)
    made = space.path("network")
    network.save(made, overwrite=True)
    report = _report(lm, made, part_texts(parts, "compose"), take(part_texts(parts, "heldout"), 60_000), sampling.size)
    report.figures += curves
    arguments = {"shape": shape, "sampling": asdict(sampling), "training": asdict(training)}
    with atomic_folder(out, overwrite=overwrite) as folder:
        shutil.copytree(made, folder, dirs_exist_ok=True)
        report.save(folder / "report")
        write_run(folder, verb="hypernet train", arguments=arguments, seed=training.seed, inputs=[base, *data])
    space.close()
    return report


def _train(
    network: Hypernetwork,
    lm: LM,
    texts: list[str],
    space: Workspace,
    *,
    sampling: SamplerConfig,
    training: TrainingConfig,
) -> list[Figure]:
    """Both stages; their losses."""
    identity = None
    if training.identity_steps:
        identity = train_identity(network, lm.vocab, config=training, resume=space.path("identity")).history
    sampler = TokenizerSampler(lm.vocab, texts, config=sampling, seed=training.seed)
    return _curves(identity, train_main(network, lm, sampler, config=training, resume=space.path("main")).history)


def _network(lm: LM, shape: dict, seed: int) -> Hypernetwork:
    """A fresh network over the model's own rows."""
    table, head = lm.model.get_input_embeddings(), lm.model.get_output_embeddings()
    table.padding_idx = None  # made rows stand at every id, the padding's too
    rows = table.weight.detach().float().cpu().clone()[: lm.vocab.size]
    is_tied = head is None or head.weight.data_ptr() == table.weight.data_ptr()
    out = None if is_tied else head.weight.detach().float().cpu().clone()[: lm.vocab.size]
    config = HypernetConfig(width=rows.shape[1], **shape)
    return Hypernetwork.for_vocab(lm.vocab, rows, out, config=config, seed=seed).to(lm.device)


def _report(lm: LM, folder: Path, learn: list[str], scored: list[str], size: int) -> Report:
    """The network's rows beside plain ones, on a tokenizer it never saw."""
    from tokenry.tokenization.train import train

    unseen = train(learn, size=size)
    scores = {
        "hypernet": measure(move(lm, unseen, method="hypernet", hypernet=str(folder)).lm, scored, segment_bytes=512)
    }
    scores |= {name: measure(move(lm, unseen, method=name).lm, scored, segment_bytes=512) for name in BASELINES}
    report = Report(kind="hypernet", title=f"{Path(lm.name).name}: rows for any tokenizer")
    report.facts["original"] = measure(lm, scored, segment_bytes=512).bits_per_byte()
    report.facts |= {name: score.bits_per_byte() for name, score in scores.items()}
    change = scores["hypernet"].change_from(scores["pieces"])
    report.facts["hypernet.change from pieces"] = change
    said = "better than" if change.high < 0 else "worse than" if change.low > 0 else "not told apart from"
    report.verdict = (
        f"On a BPE of {unseen.size:,} entries it never saw, right after the move, the network's rows are {said} the "
        "mean of pieces, in bits per byte. That does not rank them after training: tokenry transplant compare does."
    )
    report.tables["methods"] = pa.Table.from_pylist(
        [{"method": name, "bits_per_byte": (bits := score.bits_per_byte()).value, "low": bits.low, "high": bits.high}
         for name, score in scores.items()]
    )  # fmt: skip
    return report


def _curves(identity: list[dict] | None, main: list[dict]) -> list[Figure]:
    series = {name: [(i + 1, entry[key]) for i, entry in enumerate(history)]
              for name, history, key in (("identity stage", identity or [], "loss"), ("next token", main, "lm"))
              if history}  # fmt: skip
    return [Figure("line", f"Loss: {name}", "step", "loss", {name: points}) for name, points in series.items()]
