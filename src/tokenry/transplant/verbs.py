"""What the verbs `transplant` and `heal` do with folders."""

from pathlib import Path

from tokenry.core.report import Figure, Report
from tokenry.core.runs import atomic_folder, describe_input, write_run
from tokenry.core.vocab import Vocab


def transplant_folder(
    base: str,
    out: Path,
    *,
    tokenizer: str | None = None,
    donor: str | None = None,
    method: str = "pieces",
    k: int = 64,
    seed: int = 0,
    overwrite: bool = False,
) -> Report:
    """Give the model in `base` another tokenizer, streaming its files, and write the result to `out`.

    Args:
        base: model folder or hub name.
        tokenizer: what `Vocab.open` takes; or
        donor: a model folder or hub name whose tokenizer is taken; its rows serve the method "omp".
        method, k, seed: as for `plan`; `k` goes to "omp" only.

    Raises:
        ValueError: neither or both of tokenizer and donor; "omp" without a donor.
    """
    from tokenry.models.opening import model_folder
    from tokenry.transplant.planning import plan
    from tokenry.transplant.undoing import apply_plan

    if (tokenizer is None) == (donor is None):
        raise ValueError("give either --tokenizer T (the tokenizer it should have) or --donor M (a model that has it).")
    if method == "omp" and donor is None:
        raise ValueError(
            "omp writes new tokens in rows of a donor model, and none was given; need --donor M, a model with the "
            "wanted tokenizer. Without one take --method pieces."
        )
    folder = model_folder(base)
    rows = _rows(folder)
    options = {"base": rows["base"], "base_head": rows["base_head"], "seed": seed}
    if method == "omp":
        given = _rows(model_folder(donor))
        options |= {"donor": given["base"], "donor_head": given["base_head"], "k": k}
    to = Vocab.open(tokenizer or donor)
    return apply_plan(folder, plan(Vocab.open(folder), to, method=method, **options), to, out=out, overwrite=overwrite)


def _rows(folder: Path) -> dict:
    """Embedding and head rows of a checkpoint as float32; the head is None when both share one matrix."""
    from tokenry.models.files import embedding_names, read_tensor

    names = embedding_names(folder)
    base = read_tensor(folder, names.input).float().numpy()
    head = None if names.is_tied or names.head is None else read_tensor(folder, names.head).float().numpy()
    return {"base": base, "base_head": head}


def apply_folder(plan_folder: Path, model: Path, out: Path, *, overwrite: bool = False) -> Report:
    """Apply the plan that another transplant recorded to a relative of its base."""
    from tokenry.transplant.manifest import load_plan
    from tokenry.transplant.manifest import plan_folder as find_plan
    from tokenry.transplant.undoing import apply_plan

    place = find_plan(plan_folder)
    return apply_plan(model, load_plan(place), Vocab.open(place.parent), out=out, overwrite=overwrite)


def heal_folder(
    model: str,
    data: list[str],
    out: Path,
    *,
    config: object,
    reading: dict,
    device: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Report:
    """Train a model on `data` and write it to `out` with its curve; a part of the documents is only scored.

    Raises:
        FileExistsError: `out` exists and `overwrite` is off. ValueError: too few documents.
        KeyboardInterrupt: after a state that `resume` continues was saved.
    """
    from dataclasses import asdict

    from tokenry.core.hashing import fingerprint
    from tokenry.models.lm import LM
    from tokenry.transplant.documents import part_texts, split, take
    from tokenry.transplant.healing import heal
    from tokenry.transplant.workspace import Workspace

    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; need a new folder. Choose another --out, or add --overwrite.")
    lm = LM.open(model, device=device)
    key = fingerprint(repr(describe_input(model)), repr(describe_input(data)), repr(asdict(config)), repr(reading))
    space = Workspace.open(out, key, resume=resume)
    parts = space.path("parts")
    space.stage("split", lambda: split(data, parts, seed=config.seed, caps={}, reading=reading))
    texts = part_texts(parts, "compose") + part_texts(parts, "heal")
    heldout = take(part_texts(parts, "heldout"), 100_000)
    healed = heal(lm, texts, config=config, validation=heldout, folder=space.path("healed"))
    report = _heal_report(healed, str(model))
    with atomic_folder(out, overwrite=overwrite) as folder:
        lm.save(folder, overwrite=True)
        report.save(folder / "report")
        write_run(folder, verb="heal", arguments=asdict(config), seed=config.seed, inputs=[model, *data])
    space.close()
    return report


def _heal_report(healed: object, name: str) -> Report:
    curve = healed.curve
    report = Report(kind="heal", title=f"{Path(name).name} trained for {healed.steps} steps")
    report.facts = {
        "bits_per_byte.before": curve[0]["bits_per_byte"],
        "bits_per_byte.after": curve[-1]["bits_per_byte"],
        "steps": healed.steps,
        "flops": healed.flops,
        "cpu_seconds": round(healed.cpu_seconds, 1),
    }
    points = [(point["bytes"], point["bits_per_byte"]) for point in curve]
    report.figures = [Figure("line", "Held-out bits per byte", "bytes read", "bits per byte", {"model": points})]
    return report
