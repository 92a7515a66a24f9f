"""What the verb `heal` does with folders.

Paper: Approximate Likelihood Matching (arXiv 2503.20083) and Token Distillation (arXiv 2505.20133), by --objective.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tokenry.core.report import Figure, Report
from tokenry.core.runs import atomic_folder, describe_input, write_run

HELDOUT_BYTES = 100_000


@dataclass(frozen=True)
class Material:
    """What stands beside the data of a healing."""

    teacher: str | None = None
    """the original model, with its own tokenizer."""
    general: object = None
    """text of another kind, scored against forgetting and mixed in."""
    general_share: float = 0.0
    """share of the training text that is general text."""
    rows: str = "auto"
    """rows of the stages rows and lora: new (those the model's plan made), all, or auto (new where there is a plan)."""


def heal_folder(
    model: str,
    data: list[str],
    out: Path,
    *,
    config: object,
    reading: dict,
    material: Material | None = None,
    device: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Report | None:
    """Train a model on `data` and write it to `out` with its curve; a part of the documents is only scored.

    Under `accelerate launch` every process trains, the first reads, scores and writes.

    Returns:
        The report; None in the other processes.

    Raises:
        FileExistsError: `out` exists and `overwrite` is off. ValueError: too few documents, bad material.
        KeyboardInterrupt: after a state that `resume` continues was saved.
    """
    from tokenry.core.hashing import fingerprint
    from tokenry.models.lm import LM
    from tokenry.models.processes import one_after_another, own_device, rank
    from tokenry.transplant.documents import split
    from tokenry.transplant.healing import heal
    from tokenry.transplant.workspace import Workspace

    material = material or Material()
    _check(material, out, overwrite)
    device = own_device(device)
    lm = LM.open(model, device=device)
    teacher = LM.open(material.teacher, device=device) if material.teacher else None
    rows = new_rows(Path(model), material.rows)
    inputs = [describe_input(source) for source in (model, data, material.teacher, material.general) if source]
    key = fingerprint(repr(inputs), repr(asdict(config)), repr(reading), repr((material.general_share, material.rows)))

    def prepared() -> Workspace:
        space = Workspace.open(out, key, resume=resume or rank() > 0)
        parts = space.path("parts")
        space.stage("split", lambda: split(data, parts, seed=config.seed, caps={}, reading=reading))
        return space

    space = one_after_another(prepared, on_cpu=lm.device.type == "cpu")
    texts, scored = _texts(space.path("parts"), material, config.seed)
    healed = heal(lm, texts, config=config, validation=scored, teacher=teacher, folder=space.path("healed"), rows=rows)
    if rank():
        return None
    target = _target(teacher, scored[""])
    report = heal_report(healed, str(model), target=target, config=config)
    with atomic_folder(out, overwrite=overwrite) as folder:
        lm.save(folder, overwrite=True)
        _keep_plan(Path(model), folder)
        report.save(folder / "report")
        arguments = asdict(config) | asdict(material)
        write_run(folder, verb="heal", arguments=arguments, seed=config.seed, inputs=[model, *data])
    space.close()
    return report


def _keep_plan(model: Path, folder: Path) -> None:
    """Carry over the plan of an earlier move: a healed model can be taken back, and healed on its new rows again."""
    import shutil

    from tokenry.transplant.manifest import FOLDER

    if (model / FOLDER / "plan.json").is_file():
        shutil.copytree(model / FOLDER, folder / FOLDER)


def _check(material: Material, out: Path, overwrite: bool) -> None:
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; need a new folder. Choose another --out, or add --overwrite.")
    share = material.general_share
    if not 0 <= share < 1 or (share and material.general is None):
        raise ValueError(
            f"--general-share {share} with {'no ' if material.general is None else ''}general text; need a share from "
            "0 to below 1, and --general TEXT to take it from."
        )


def new_rows(model: Path, which: str) -> Sequence[int] | None:
    """Ids whose rows a transplant made anew, from the plan in the model's folder; None for all rows.

    Raises:
        ValueError: an unknown choice. FileNotFoundError: "new" is asked and the folder holds no plan.
    """
    from tokenry.transplant.manifest import load_plan, plan_folder

    if which not in ("auto", "new", "all"):
        raise ValueError(f"--rows {which}; need auto, new or all. new are those a transplant made.")
    if which == "all":
        return None
    try:
        plan = load_plan(plan_folder(model))
    except FileNotFoundError:
        if which == "new":
            raise
        return None
    from tokenry.transplant.stages import made_rows

    return made_rows(plan)


def _texts(parts: Path, material: Material, seed: int) -> tuple[list[str], dict[str, list[str]]]:
    """Training text, with general text mixed in, and what is scored: held-out documents and general ones."""
    from tokenry.transplant.documents import general_texts, part_texts, size_of, take

    texts = part_texts(parts, "compose") + part_texts(parts, "heal")
    scored = {"": take(part_texts(parts, "heldout"), HELDOUT_BYTES)}
    if material.general is not None:
        share = material.general_share
        wanted = round(size_of(texts) * share / (1 - share))
        scored["general"], replayed = general_texts(material.general, HELDOUT_BYTES // 2, wanted, seed=seed)
        texts = texts + replayed
    return texts, scored


def _target(teacher: object, texts: list[str]) -> float | None:
    """Bits per byte of the original on the held-out text: where parity lies."""
    from tokenry.transplant.scoring import measure

    return None if teacher is None else measure(teacher, texts, segment_bytes=512).bits_per_byte().value


def heal_report(healed: object, name: str, *, target: float | None, config: object) -> Report:
    """The curve, what it cost, and a forecast of parity with the original where its bits per byte are given."""
    from tokenry.transplant.forecasting import forecast

    curve = healed.curve
    report = Report(kind="heal", title=f"{Path(name).name} trained for {healed.steps} steps")
    report.facts = {
        "bits_per_byte.before": curve[0]["bits_per_byte"],
        "bits_per_byte.after": curve[-1]["bits_per_byte"],
        "steps": healed.steps,
        "steps.planned": sum(stage.steps for stage in config.plan),
        "objective": config.objective,
        "tokens": curve[-1]["tokens"],
        "flops": healed.flops,
        "cpu_seconds": round(healed.cpu_seconds, 1),
    }
    if "bits_per_byte.general" in curve[0]:
        report.facts["bits_per_byte.general.before"] = curve[0]["bits_per_byte.general"]
        report.facts["bits_per_byte.general.after"] = curve[-1]["bits_per_byte.general"]
    if target is not None:
        found = forecast([p["bytes"] for p in curve], [p["bits_per_byte"] for p in curve], target=target)
        report.facts["bits_per_byte.original"] = target
        report.facts["bytes_to_parity"] = str(found)
    series = {"model": [(point["bytes"], point["bits_per_byte"]) for point in curve]}
    if "bits_per_byte.general" in curve[0]:
        series["model, general text"] = [(point["bytes"], point["bits_per_byte.general"]) for point in curve]
    report.figures = [Figure("line", "Held-out bits per byte", "bytes read", "bits per byte", series)]
    return report
