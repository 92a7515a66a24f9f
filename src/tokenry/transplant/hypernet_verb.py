"""What the verbs `hypernet train` and `hypernet nshot` do: train a network for a model folder and say what its rows are
worth; move a model by it and train both on.

Paper: Zero-Shot Tokenizer Transfer (arXiv 2405.07883).
"""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa

from tokenry.core.report import Figure, Report
from tokenry.core.runs import atomic_folder, write_run
from tokenry.core.vocab import Vocab
from tokenry.models.lm import LM
from tokenry.models.scoring import Scores, is_masked
from tokenry.transplant.documents import part_texts, split, take
from tokenry.transplant.hypernet import HypernetConfig, Hypernetwork
from tokenry.transplant.hypernet_nshot import NshotConfig, train_nshot
from tokenry.transplant.hypernet_training import TrainingConfig, train_identity, train_main
from tokenry.transplant.masked import open_model
from tokenry.transplant.masked_scoring import score_masked
from tokenry.transplant.scoring import measure
from tokenry.transplant.surgery import move
from tokenry.transplant.tokenizer_sampling import SamplerConfig, TokenizerSampler
from tokenry.transplant.workspace import Workspace

_HIDDEN = " of hidden words"
BASELINES = ("pieces", "focus", "mean", "random")


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
    """Train a hypernetwork for a causal or masked model and write it to `out` with a report.

    Args:
        base: model folder or hub name; its body stays as it is.
        data: text; split by document into a part that tokenizers are drawn from and the network trains on, one that an
            unseen BPE is learned from, and one that is scored.
        out: folder to write, for `transplant --method hypernet --hypernet OUT`.
        shape: fields of `HypernetConfig` but the width, which is the model's; a bias is made where its head has one.
        sampling, training: see there.
        reading: `text`, `limit`, `skip_bad` of the reader.
        resume: go on with an interrupted run of the same arguments.

    Returns:
        Report of kind "hypernet": bits per byte (of hidden words, for a masked model; see `score_masked`) on the unseen
        tokenizer with rows of the network, of pieces and FOCUS, mean and random ones.

    Raises:
        ValueError: too few documents, or a model the network cannot be trained for.
        FileExistsError: `out` exists and `overwrite` is off, or an unfinished run is there and `resume` is off.

    Paper: arXiv 2405.07883, sections 3 and 4.
    """
    from tokenry.core.hashing import fingerprint
    from tokenry.core.runs import describe_input

    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; need a new folder. Choose another --out, or add --overwrite.")
    lm = open_model(base, device=device)
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
    """A fresh network over the model's own rows, and with a bias where the head has one."""
    table, head = lm.model.get_input_embeddings(), lm.model.get_output_embeddings()
    if not is_masked(lm.model):
        table.padding_idx = None  # made rows stand at every id, the padding's too
    rows = table.weight.detach().float().cpu().clone()[: lm.vocab.size]
    is_tied = head is None or head.weight.data_ptr() == table.weight.data_ptr()
    out = None if is_tied else head.weight.detach().float().cpu().clone()[: lm.vocab.size]
    bias = getattr(head, "bias", None)
    bias = None if bias is None else bias.detach().float().cpu()
    config = HypernetConfig(width=rows.shape[1], **{"bias": bias is not None, **shape})
    return Hypernetwork.for_vocab(lm.vocab, rows, out, config=config, source_bias=bias, seed=seed).to(lm.device)


def _report(lm: LM, folder: Path, learn: list[str], scored: list[str], size: int) -> Report:
    """The network's rows beside plain ones, on a tokenizer it never saw."""
    from tokenry.tokenization.train import train

    roles = {"specials": {role: lm.vocab.literal(i) for role, i in lm.vocab.specials.items()}}
    unseen = train(learn, size=size, **(roles if is_masked(lm.model) else {}))
    more = {"hypernet": {"hypernet": str(folder)}, "focus": {"texts": learn}}
    scores = {name: _measure(move(lm, unseen, method=name, **more.get(name, {})).lm, scored)
              for name in ("hypernet", *BASELINES)}  # fmt: skip
    report = Report(kind="hypernet", title=f"{Path(lm.name).name}: rows for any tokenizer")
    report.facts["original"] = _measure(lm, scored).bits_per_byte()
    report.facts |= {name: score.bits_per_byte() for name, score in scores.items()}
    change = scores["hypernet"].change_from(scores["pieces"])
    report.facts["hypernet.change from pieces"] = change
    said = "better than" if change.high < 0 else "worse than" if change.low > 0 else "not told apart from"
    report.verdict = (
        f"On a BPE of {unseen.size:,} entries it never saw, right after the move, the network's rows are {said} the "
        f"mean of pieces, in bits per byte{_HIDDEN if is_masked(lm.model) else ''}. That does not rank them after "
        "training: tokenry transplant compare does."
    )
    report.tables["methods"] = pa.Table.from_pylist(
        [{"method": name, "bits_per_byte": (bits := score.bits_per_byte()).value, "low": bits.low, "high": bits.high}
         for name, score in scores.items()]
    )  # fmt: skip
    return report


def _measure(lm: LM, texts: list[str]) -> Scores:
    """Of all text for a causal model; of hidden words for a masked one."""
    if is_masked(lm.model):
        return score_masked(lm, texts, segment_bytes=256)
    return measure(lm, texts, segment_bytes=512)


def nshot_folder(
    base: str,
    data: list,
    out: Path,
    *,
    tokenizer: str,
    hypernet: Path,
    training: NshotConfig,
    reading: dict,
    device: str | None = None,
    control: bool = True,
    overwrite: bool = False,
) -> Report:
    """Move a model by its hypernetwork, train both on with the new tokenizer, and write the model.

    Args:
        base: model folder or hub name, causal or masked.
        data: text, split by document into a part that is trained on and one that is scored.
        out: folder to write; it opens with the library alone. The network on disk stays as it was.
        tokenizer: the new one.
        hypernet: folder of the network that was trained for `base`.
        training: see there.
        reading: `text`, `limit`, `skip_bad` of the reader.
        control: train rows of pieces and the body too, for the same CPU time, and say which is better.

    Returns:
        Report of kind "hypernet-nshot": bits per byte of the original, after the move and after training.

    Raises:
        ValueError: too few documents, or a network of another model.
        FileExistsError: `out` exists and `overwrite` is off.

    Paper: arXiv 2405.07883, n-shot transfer.
    """
    from tempfile import TemporaryDirectory

    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; need a new folder. Choose another --out, or add --overwrite.")
    lm, to = open_model(base, device=device), Vocab.open(tokenizer)
    network = Hypernetwork.load(hypernet, vocab=lm.vocab).to(lm.device)
    with TemporaryDirectory() as place:
        split(data, Path(place), seed=training.seed, caps={}, reading=reading)
        texts, scored = part_texts(Path(place), "heal"), take(part_texts(Path(place), "heldout"), 60_000)
    moved = move(lm, to, method="hypernet", hypernet=str(hypernet)).lm
    scores = {"original": _measure(lm, scored), "moved": _measure(moved, scored)}
    run = train_nshot(moved, texts, config=training, network=network, old=lm.vocab)
    scores["trained"] = _measure(moved, scored)
    if control:
        scores["pieces trained"] = _measure(
            _control(lm, to, texts, training=training, cpu_seconds=run.cpu_seconds), scored
        )
    with atomic_folder(out, overwrite=overwrite) as folder:
        moved.model.save_pretrained(folder)
        moved.tokenizer.save_pretrained(folder)
        _check(folder, out)
        report = _nshot_report(lm, scores, run.steps)
        report.save(folder / "report")
        arguments = {"tokenizer": tokenizer, "hypernet": str(hypernet), "training": asdict(training)}
        write_run(folder, verb="hypernet nshot", arguments=arguments, seed=training.seed, inputs=[base, *data])
    return report


def _check(folder: Path, out: Path) -> None:
    from tokenry.transplant.verifying import verify

    checked = verify(folder)
    if not checked.facts["ok"]:
        problems = "; ".join(checked.tables["problems"].column("problem").to_pylist())
        raise ValueError(f"{out}: the trained model does not verify, so it was not kept: {problems.rstrip('.')}.")


def _control(lm: LM, to: Vocab, texts: list[str], *, training: NshotConfig, cpu_seconds: float) -> LM:
    """The model on rows of pieces, body and rows trained for so much time."""
    first = train_nshot(move(lm, to, method="pieces").lm, texts, config=replace(training, steps=2))
    plain = move(lm, to, method="pieces").lm
    steps = max(1, round(cpu_seconds / (first.cpu_seconds / first.steps)))
    train_nshot(plain, texts, config=replace(training, steps=steps))
    return plain


def _nshot_report(lm: LM, scores: dict[str, Scores], steps: int) -> Report:
    report = Report(kind="hypernet-nshot", title=f"{Path(lm.name).name}: trained on with a new tokenizer")
    report.facts |= {name: score.bits_per_byte() for name, score in scores.items()} | {"steps": steps}
    report.facts["trained.change from moved"] = scores["trained"].change_from(scores["moved"])
    report.verdict = f"{steps} steps took the moved model from {report.facts['moved']} to {report.facts['trained']}"
    report.verdict += f"{_HIDDEN}." if is_masked(lm.model) else "."
    if "pieces trained" in scores:
        change = scores["trained"].change_from(scores["pieces trained"])
        report.facts["trained.change from pieces trained"] = change
        said = "better than" if change.high < 0 else "worse than" if change.low > 0 else "not told apart from"
        report.verdict += f" It is {said} rows of pieces that were trained for the same CPU time."
    return report


def convert_folder(published: str | Path, base: str | Path, out: Path, *, overwrite: bool = False) -> Report:
    """Write a published hypernetwork with the rows of its base as a folder that `--hypernet` takes.

    Args:
        published: folder in the layout of `benjamin/zett-hypernetwork-*` (see `hypernet_files.read_published`).
        base: folder of the model it was made for.

    Returns:
        Report of kind "hypernet-convert": its shape, and how well it gives the base's own rows back, which a network
        of another model does not.

    Raises:
        ValueError, FileNotFoundError: what `read_published` refuses. FileExistsError: `out` exists.
    """
    from tokenry.transplant.hypernet_files import read_published
    from tokenry.transplant.hypernet_training import identity_error
    from tokenry.transplant.verbs import model_rows

    rows, vocab = model_rows(Path(base)), Vocab.open(str(base))
    network = read_published(published, rows["base"], rows["base_head"], vocab=vocab)
    language = 0 if network.config.languages else None
    error = identity_error(network, vocab, language=language)
    network.save(out, overwrite=overwrite)
    config = network.config
    report = Report(kind="hypernet-convert", title=f"{Path(published).name} for {Path(base).name}")
    report.facts |= {"pieces": config.pieces, "layers": config.layers, "width": config.width, "bias": config.bias}
    report.facts |= {"languages": config.languages, "identity_error": error}
    report.verdict = f"Its rows of the base's own tokens differ from the true ones by {error:.1%} of their square."
    if not error < 1:
        report.warnings.append(
            "Rows of zeros would do as well: this network was hardly made for this base. Check that the base is the "
            "model named in its card, at the same revision."
        )
    if config.language_names:
        report.notes.append(f"Languages, for --option language=NAME: {', '.join(config.language_names)}.")
    return report


def _curves(identity: list[dict] | None, main: list[dict]) -> list[Figure]:
    series = {name: [(i + 1, entry[key]) for i, entry in enumerate(history)]
              for name, history, key in (("identity stage", identity or [], "loss"), ("next token", main, "lm"))
              if history}  # fmt: skip
    return [Figure("line", f"Loss: {name}", "step", "loss", {name: points}) for name, points in series.items()]
