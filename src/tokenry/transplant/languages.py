"""Teach a model another language: add tokens, begin their rows, train on, and compare with training on the old tokens.

Every arm starts from the same model and sees the same kind of text. The old tokenizer is trained on twice: once on as
many bytes of text as the extended one, once with as much computation; an extension is worth it when it does better than
the second at least.

Papers: Cabrita: closing the gap for foreign languages (arXiv 2308.11878).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from tokenry.core.intervals import Interval
from tokenry.core.report import Figure, Report
from tokenry.core.runs import atomic_folder, write_run
from tokenry.models.batches import tokenise
from tokenry.models.lm import LM
from tokenry.models.scoring import Scores
from tokenry.transplant.adapt import replace_model
from tokenry.transplant.documents import general_texts, part_texts, size_of, split, take
from tokenry.transplant.healing import HealConfig, Healed, heal
from tokenry.transplant.proof import relation
from tokenry.transplant.scoring import measure

UNTOUCHED, SAME_TEXT, SAME_COMPUTE = "untouched", "old tokens, same text", "old tokens, same compute"
EXTENDED = "extended, "
_WORDS = {"better": "better than", "level": "level with", "worse": "worse than"}
METHODS = ("pieces", "random")
"""Rows of the new tokens: from the old tokens they are made of (ours), and drawn (what the paper did)."""


@dataclass(frozen=True)
class LanguageConfig:
    """How a language adaptation runs."""

    add: int = 2000
    """new tokens."""
    methods: tuple[str, ...] = METHODS
    """how their rows begin; one arm each, the first is what is kept."""
    heal: HealConfig = field(default_factory=HealConfig)
    replay: float = 0.1
    """share of the training text that is general text, against forgetting (every arm gets the same)."""
    heldout_bytes: int = 60_000
    """most text of the language that is scored, and most general text."""
    segment_bytes: int = 512
    """texts are scored in segments of this many bytes."""
    seeds: int = 1
    """orders of the training text; each arm is trained once for each."""


@dataclass(frozen=True, eq=False)
class Arm:
    """One trained model and what it scores."""

    name: str
    seed: int
    lm: LM | None
    """only of the arm that is written: the others' weights are let go once they are scored."""
    healed: Healed | None
    """without its model, which is `lm`."""
    language: Scores
    general: Scores | None


def adapt_language(
    model: object,
    data: object,
    out: Path,
    *,
    general: object = None,
    config: LanguageConfig | None = None,
    reading: dict | None = None,
    device: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Report:
    """Extend a model for the language of `data`, train it on, and write it with a report on all arms.

    Args:
        model: folder or hub name of a causal language model with a BPE tokenizer.
        data: text of the language; split by document into parts to learn tokens from, to train on, and to score.
        out: folder to write: the model of the first method and the first seed, and `report/`.
        general: text of what the model knew before, to measure what is forgotten and to replay.
        config: see LanguageConfig.
        reading: `text`, `limit`, `skip_bad` of the reader.
        resume: go on with an interrupted run of the same arguments.

    Returns:
        Report of kind "language": bits per byte of every arm on the language and on general text with intervals,
        tokens before and after, operations and CPU seconds a byte.

    Raises:
        ValueError: too few documents, a replay without general text, a tokenizer that cannot be extended.
        FileExistsError: `out` exists and `overwrite` is off, or an unfinished run is there and `resume` is off.

    Paper: Cabrita (arXiv 2308.11878). Its rows begin at random; its cleaning rules are not part of this.
    """
    from tokenry.core.hashing import fingerprint
    from tokenry.core.runs import describe_input
    from tokenry.tokenization.extend import extend
    from tokenry.transplant.workspace import Workspace

    config, reading, out = config or LanguageConfig(), reading or {}, Path(out)
    _check(config, general, out, overwrite)
    lm = LM.open(model, device=device)
    key = fingerprint(*(repr(describe_input(given)) for given in (model, data, general)), repr(asdict(config)),
                      repr(reading))  # fmt: skip
    space = Workspace.open(out, key, resume=resume)
    space.stage("split", lambda: split(data, space.path("parts"), seed=config.heal.seed, caps={}, reading=reading))
    parts = {name: part_texts(space.path("parts"), name) for name in ("compose", "heal", "probe", "heldout")}
    known, replayed = _general(general, parts["heal"], config)
    extension = extend(lm.vocab, parts["compose"], add=config.add)
    texts = {
        "train": parts["heal"] + replayed, "probe": take(parts["probe"], 16_000),
        "language": take(parts["heldout"], config.heldout_bytes), "general": known,
    }  # fmt: skip
    arms = run_arms(lm, extension, texts, config=config, space=space)
    report = language_report(arms, name=lm.name)
    _write(out, arms, report, config, [source for source in (model, data, general) if source is not None], overwrite)
    space.close()
    return report


def run_arms(
    lm: LM, extension: object, texts: dict[str, list[str]], *, config: LanguageConfig, space: object = None
) -> list[Arm]:
    """Train and score every arm; `lm` itself stays as it is.

    Args:
        lm: the model.
        extension: tokenization.extend.Extension of its vocabulary.
        texts: "train", "probe" (the curves), "language" (scored), "general" (scored; may be empty).
        config: see LanguageConfig.
        space: Workspace to resume from; None: nothing is kept.
    """
    from tokenry.transplant.planning import plan
    from tokenry.transplant.surgery import move

    new = extension.vocab
    base = lm.model.get_input_embeddings().weight.detach().float().cpu().numpy()
    kept = (EXTENDED + config.methods[0], 0)
    arms = [_scored(UNTOUCHED, 0, lm, None, texts, config, keep=False)]
    share = bytes_per_token(new, texts["train"]) / bytes_per_token(lm.vocab, texts["train"])
    for seed in range(config.seeds):
        heal_config = replace(config.heal, seed=config.heal.seed + seed)
        compute = 0.0
        for method in config.methods:
            made = plan(lm.vocab, new, method=method, pieces=extension.pieces, base=base, seed=heal_config.seed)
            name = EXTENDED + method
            healed = _train(move(lm, new, plan=made).lm, texts, heal_config, (name, space))
            compute = compute or healed.flops
            arms.append(_scored(name, seed, healed.lm, healed, texts, config, keep=(name, seed) == kept))
        for name, settings, budget in (
            (SAME_TEXT, replace(heal_config, steps=max(1, round(heal_config.steps * share))), None),
            (SAME_COMPUTE, heal_config, compute),
        ):
            healed = _train(replace_model(lm), texts, settings, (name, space), compute=budget)
            arms.append(_scored(name, seed, healed.lm, healed, texts, config, keep=False))
    return arms


def _train(
    lm: LM, texts: dict, config: HealConfig, place: tuple[str, object], *, compute: float | None = None
) -> Healed:
    name, space = place
    folder = None if space is None else space.path(f"{name.replace(', ', '-').replace(' ', '-')}-{config.seed}")
    lm.name = name
    return heal(
        lm, texts["train"], config=config, validation=texts["probe"], compute=compute, folder=folder,
        label=f"training: {name}",
    )  # fmt: skip


def _scored(
    name: str, seed: int, lm: LM, healed: Healed | None, texts: dict, config: LanguageConfig, *, keep: bool
) -> Arm:
    language, general = (
        measure(lm, texts[part], segment_bytes=config.segment_bytes) if texts[part] else None
        for part in ("language", "general")
    )
    light = None if healed is None else replace(healed, lm=None)
    return Arm(name, seed, lm if keep else None, light, language, general)


def bytes_per_token(vocab: object, texts: Sequence[str]) -> float:
    """UTF-8 bytes one token carries in these texts."""
    return size_of(texts) / max(1, sum(len(ids) for ids in tokenise(vocab, texts)))


def language_report(arms: list[Arm], *, name: str) -> Report:
    """All arms side by side; the verdict compares the first extended arm with the two arms on old tokens."""
    by_name: dict[str, list[Arm]] = {}
    for arm in arms:
        by_name.setdefault(arm.name, []).append(arm)
    order = list(by_name)
    ours = next(key for key in order if key.startswith(EXTENDED))
    report = Report(kind="language", title=f"{Path(name).name} in another language")
    before, after = by_name[UNTOUCHED][0], by_name[ours][0]
    old_text = by_name[SAME_TEXT][0]
    report.facts = {
        "bytes_per_token.before": before.language.bytes_per_token(),
        "bytes_per_token.after": after.language.bytes_per_token(),
        "tokens_saved": float(1 - after.language.n_tokens.sum() / before.language.n_tokens.sum()),
        "operations_per_byte.ratio": _per_byte(after, "flops") / _per_byte(old_text, "flops"),
        "cpu_seconds_per_byte.ratio": _per_byte(after, "cpu_seconds") / _per_byte(old_text, "cpu_seconds"),
    }
    rows = []
    for key in order:
        for arm in by_name[key]:
            rows.append(_row(arm, before))
            if arm.seed == 0 and arm is not after and arm.name != UNTOUCHED:
                report.facts[f"change.{ours} from {key}"] = after.language.change_from(arm.language)
    report.tables["arms"] = pa.Table.from_pylist(rows)
    report.figures = [
        Figure("line", "Bits per byte while training", x, "bits per byte",
               {key: [(p[x.replace(" ", "_")], p["bits_per_byte"]) for p in by_name[key][0].healed.curve]
                for key in order if by_name[key][0].healed is not None})
        for x in ("bytes", "flops")
    ]  # fmt: skip
    report.verdict = _verdict(by_name, ours)
    if len({arm.seed for arm in arms}) == 1:
        report.notes.append("One order of the training text: intervals are over held-out documents only.")
    return report


def _row(arm: Arm, before: Arm) -> dict:
    healed = arm.healed
    return {
        "arm": arm.name, "seed": arm.seed,
        **_columns("language", arm.language.bits_per_byte()),
        **(_columns("general", arm.general.bits_per_byte()) if arm.general else {}),
        **(_columns("general_change", arm.general.change_from(before.general)) if arm.general else {}),
        "steps": healed.steps if healed else 0,
        "bytes_read": round(healed.curve[-1]["bytes"]) if healed else 0, "flops": healed.flops if healed else 0.0,
        "cpu_seconds": round(healed.cpu_seconds, 1) if healed else 0.0,
    }  # fmt: skip


def _columns(name: str, value: Interval) -> dict[str, float]:
    return {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}


def _per_byte(arm: Arm, what: str) -> float:
    return getattr(arm.healed, what) / max(1.0, arm.healed.curve[-1]["bytes"])


def _verdict(by_name: dict[str, list[Arm]], ours: str) -> str:
    after = by_name[ours]
    said = []
    for other in (SAME_TEXT, SAME_COMPUTE):
        found = {relation(mine.language, its.language) for mine, its in zip(after, by_name[other], strict=True)}
        word = _WORDS[found.pop()] if len(found) == 1 else "not the same in all orders of the text as"
        said.append(f"{word} {other.replace('old tokens,', 'the old tokens on the')}")
    return (
        f"The extended model ({ours.removeprefix(EXTENDED)}) is {' and '.join(said)}, in bits per byte of the language."
    )


def _general(general: object, training: list[str], config: LanguageConfig) -> tuple[list[str], list[str]]:
    if general is None:
        return [], []
    wanted = round(size_of(training) * config.replay / (1 - config.replay))
    return general_texts(general, config.heldout_bytes, wanted, seed=config.heal.seed)


def _write(out: Path, arms: list[Arm], report: Report, config: LanguageConfig, inputs: list, overwrite: bool) -> None:
    """The model of the first method and the first seed, and the report."""
    chosen = next(arm for arm in arms if arm.name == EXTENDED + config.methods[0])
    with atomic_folder(out, overwrite=overwrite) as folder:
        chosen.lm.save(folder, overwrite=True)
        report.save(folder / "report")
        write_run(folder, verb="transplant language", arguments=asdict(config), seed=config.heal.seed, inputs=inputs)


def _check(config: LanguageConfig, general: object, out: Path, overwrite: bool) -> None:
    if not 0 <= config.replay < 1:
        raise ValueError(f"replay={config.replay}; need a share from 0 to below 1.")
    if not config.methods or config.seeds < 1 or config.add < 1 or config.heal.steps < 1:
        raise ValueError(
            f"methods={config.methods}, seeds={config.seeds}, add={config.add}, steps={config.heal.steps}; need at "
            "least one of each."
        )
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; need a new folder. Choose another --out, or add --overwrite.")
