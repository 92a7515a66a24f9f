"""Apply a plan to a model folder without loading its body, keep what it had, and give it back."""

import json
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np

from tokenry.core.report import Report
from tokenry.core.runs import atomic_folder
from tokenry.core.vocab import Vocab
from tokenry.transplant.configs import missing_ids, moved_ids, unknown_in_template, with_conventions
from tokenry.transplant.manifest import FOLDER, load_plan, plan_folder, save_plan
from tokenry.transplant.move_report import move_report
from tokenry.transplant.planning import Plan, new_bias, new_rows
from tokenry.transplant.stored import Stored
from tokenry.transplant.verifying import verify

_CONFIGS = ("config.json", "generation_config.json")
# Any of these beside a new tokenizer.json could be preferred to it, or speak of old ids.
_TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"),
    *("merges.txt", "added_tokens.json", "special_tokens_map.json", "tekken.json", "chat_template.jinja"),
)


def apply_plan(
    model_folder: str | Path,
    plan: Plan,
    to: Vocab,
    *,
    out: str | Path,
    overwrite: bool = False,
    keep: bool = True,
    pad_to_multiple_of: int | None = None,
    own_code: bool = False,
) -> Report:
    """Write a moved copy of a model folder; only the rows are read, every other tensor is copied as it lies.

    Args:
        model_folder: a safetensors checkpoint with its tokenizer; any model with the vocabulary the plan starts from.
        plan: made for that vocabulary and `to`.
        out: folder to write; it opens with AutoTokenizer and the Auto class of the model's kind.
        overwrite: replace an existing `out` after success.
        keep: put the old rows, tokenizer and configuration into `out`/tokenry_plan, which `revert` needs.
        pad_to_multiple_of: as in `move`.
        own_code: run model code that lies in the folder. Only for folders you trust.

    Returns:
        The Report of the move, with the facts of `verify` on what was written.

    Raises:
        ValueError: other vocabularies than the plan's, a model that cannot be moved whole (`Stored.check`), weights
            that are not finite, or a result that does not verify; nothing is left behind.
        FileNotFoundError: no checkpoint there. FileExistsError: `out` exists and `overwrite` is off.
    """
    from tokenry.transplant.surgery import check_plan, wanted_rows

    folder = Path(model_folder)
    rows = Stored.open(folder, own_code=own_code)
    old = Vocab.open(folder)
    check_plan(plan, old, to, name=str(folder))
    rows.check(plan, to)
    _check_ids(folder, plan, old, to)
    n_rows = wanted_rows(plan, len(rows.input), pad_to_multiple_of)
    to = with_conventions(to, old, old.config.get("chat_template"))
    made = _made_tensors(plan, rows, n_rows)
    with atomic_folder(out, overwrite=overwrite) as part:
        _write_tensors(folder, part, {name: rows.as_stored(name, array) for name, array in made.items()})
        lost = _write_configs(part, plan, old, to, n_rows, untied=plan.untie or not rows.is_tied)
        for name in _TOKENIZER_FILES:
            (part / name).unlink(missing_ok=True)
        to.to_hf(part)
        # A plan of an earlier move may have been copied along; the new one is about the rows as they now lie.
        shutil.rmtree(part / FOLDER, ignore_errors=True)
        save_plan(plan, part / FOLDER)
        if keep:
            _keep(folder, rows, part / FOLDER)
        checked = verify(part, own_code=own_code)
        if not checked.facts["ok"]:
            problems = "; ".join(checked.tables["problems"].column("problem").to_pylist())
            raise ValueError(f"{out}: the moved model does not verify, so it was not kept: {problems.rstrip('.')}.")
    unknown = unknown_in_template(to.config.get("chat_template"), old, to)
    report = move_report(plan, old, to, before=rows.input, after=made[rows.names["input"]], lost=lost, template=unknown)
    report.facts |= {f"verify.{key}": value for key, value in checked.facts.items()}
    return report


def _check_ids(folder: Path, plan: Plan, old: Vocab, to: Vocab) -> None:
    """Refuse a vocabulary without the tokens that the model itself looks for: an image's place, a decoder's start."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    missing = missing_ids(config, plan, old=old, to=to)
    if missing:
        raise ValueError(
            f"{folder}: its configuration names {', '.join(missing)}, and {to.name or 'the new tokenizer'} has no such "
            "token; the model does not work without. Add the special token to the new tokenizer, with the same text."
        )


def _made_tensors(plan: Plan, rows: Stored, n_rows: int) -> dict[str, np.ndarray]:
    """The new arrays by the names they are stored under."""
    made_input, made_head = new_rows(plan, rows.input, rows.head, n_rows=n_rows)
    made = {rows.names["input"]: made_input}
    if made_head is not None:
        made[rows.head_name()] = made_head
    elif rows.names["head"]:
        made[rows.names["head"]] = made_input
    for name, bias in rows.biases.items():
        made[name] = new_bias(plan, bias.reshape(-1), n_rows=n_rows).reshape(*bias.shape[:-1], n_rows)
    made |= dict.fromkeys(rows.copies, made_input)
    return made


def keep_original(source: object, plan: Plan, folder: str | Path) -> Path:
    """Put a plan and what `revert` needs into the folder of a moved model that was saved by other means.

    Args:
        source: the model before the move: an LM, or its folder.
        plan: the plan it was moved by.
        folder: the moved (and perhaps healed) model's folder.

    Returns:
        The plan's folder, `folder`/tokenry_plan.
    """
    place = save_plan(plan, Path(folder) / FOLDER)
    if isinstance(source, (str, Path)):
        _keep(Path(source), Stored.open(Path(source)), place)
        return place
    from safetensors.torch import save_file

    original = place / "original"
    original.mkdir(exist_ok=True)
    embedding, head = source.model.get_input_embeddings(), source.model.get_output_embeddings()
    tensors = {"input": embedding.weight}
    if head.weight.data_ptr() != embedding.weight.data_ptr():
        tensors["head"] = head.weight
    if getattr(head, "bias", None) is not None:
        tensors["bias"] = head.bias
    save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, original / "rows.safetensors")
    source.tokenizer.save_pretrained(original)
    source.model.config.save_pretrained(original)
    with suppress(AttributeError):
        source.model.generation_config.save_pretrained(original)
    return place


def revert(folder: str | Path, out: str | Path, *, overwrite: bool = False, own_code: bool = False) -> Report:
    """Give a moved model its old tokenizer, embedding and head back; its body stays as trained since.

    Args:
        folder: a moved model's folder with `tokenry_plan` in it.
        out: folder to write.
        own_code: as in `apply_plan`.

    Returns:
        Report; facts rows_lost (new rows that training changed since the move and which the result no longer holds),
        rows_restored, and those of `verify`.

    Raises:
        FileNotFoundError: no plan, or the old rows were not kept. FileExistsError: `out` exists.
        ValueError: the rows in the folder do not belong to the plan.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    place = plan_folder(folder)
    plan, original = load_plan(place), place / "original"
    if not (original / "rows.safetensors").is_file():
        raise FileNotFoundError(f"{place} holds a plan without the old rows; they were not kept when it was applied.")
    old = load_file(original / "rows.safetensors")
    rows = Stored.open(folder, own_code=own_code)
    if len(rows.input) < plan.n_new:
        raise ValueError(f"{folder} has {len(rows.input)} rows, its plan made {plan.n_new}; the folder was mixed up.")
    changed = _changed_rows(plan, old, rows)
    tensors, drop = {rows.names["input"]: old["input"]}, []
    if "head" in old:
        tensors[rows.head_name()] = old["head"]
    elif rows.names["head"] and not rows.is_tied:
        drop.append(rows.names["head"])
    elif rows.names["head"]:
        tensors[rows.names["head"]] = old["input"]
    tensors |= {rows.names[key]: tensor for key, tensor in old.items() if key.startswith("bias")}
    tensors |= dict.fromkeys(rows.copies, old["input"])
    with atomic_folder(out, overwrite=overwrite) as part:
        _write_tensors(folder, part, {name: t.to(rows.dtype_of(name)) for name, t in tensors.items()}, drop=drop)
        for name in (*_TOKENIZER_FILES, *_CONFIGS):
            (part / name).unlink(missing_ok=True)
        for path in original.iterdir():
            if path.name != "rows.safetensors":
                shutil.copyfile(path, part / path.name)
        checked = verify(part, own_code=own_code)
    facts = {"rows_restored": len(old["input"]), "rows_lost": changed, "rows_before": len(rows.input)}
    facts |= {f"verify.{key}": value for key, value in checked.facts.items()}
    warnings = []
    if changed:
        warnings.append(
            f"{changed} rows that were trained since the move are not in the result; they stay in {folder}."
        )
    if not checked.facts["ok"]:
        warnings.append(f"The result does not verify: {checked.verdict}")
    verdict = f"The old tokenizer and its {len(old['input']):,} rows are back; the body is as it was trained."
    title = f"{folder.name}: old tokenizer restored"
    return Report("transplant-revert", title, facts=facts, warnings=warnings, verdict=verdict)


def _write_tensors(folder: Path, part: Path, tensors: dict, drop: list[str] | None = None) -> None:
    from tokenry.models.files import replace_tensors

    replace_tensors(folder, part, tensors, drop=drop or ())


def _keep(folder: Path, rows: Stored, place: Path) -> None:
    from safetensors.torch import save_file

    original = place / "original"
    original.mkdir(exist_ok=True)
    kept = {key: tensor for key, tensor in rows.tensors.items() if key != "head" or not rows.is_tied}
    save_file({key: tensor.contiguous() for key, tensor in kept.items()}, original / "rows.safetensors")
    for name in (*_TOKENIZER_FILES, *_CONFIGS):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, original / name)


def _write_configs(part: Path, plan: Plan, old: Vocab, to: Vocab, n_rows: int, *, untied: bool) -> list[str]:
    """Change sizes and ids in the JSON files in place; returns what was lost."""
    lost = []
    for name in _CONFIGS:
        path = part / name
        if not path.is_file():
            continue
        data = json.loads(path.read_text(encoding="utf-8"))
        nested = [data[key] for key in ("text_config",) if isinstance(data.get(key), dict)]
        for config in [data, *nested]:
            is_generation = name == "generation_config.json"
            updates = moved_ids(config, plan, old=old, to=to, n_rows=n_rows, generation=is_generation)
            # A multi-part configuration names its ids in one place: do not add them to the other.
            named = {k: v for k, v in updates.values.items() if k in config or not nested}
            config |= named
            lost += updates.lost
            if name == "config.json":
                config |= {"vocab_size": n_rows} if "vocab_size" in config or not nested else {}
                config |= {"decoder_vocab_size": n_rows} if config.get("decoder_vocab_size") is not None else {}
                config |= {"tie_word_embeddings": False} if untied else {}
        path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return list(dict.fromkeys(lost))


def _changed_rows(plan: Plan, old: dict, rows: Stored) -> int:
    """New rows of embedding or head that are no longer what the plan made of the old ones."""
    arrays = {key: tensor.float().numpy() for key, tensor in old.items()}
    made_input, made_head = new_rows(plan, arrays["input"], arrays.get("head"), n_rows=len(rows.input))
    coarse = max(_eps(rows.dtype), _eps(old["input"].dtype))
    changed = np.zeros(len(rows.input), dtype=bool)
    for now, made in ((rows.input, made_input), (rows.head, made_head)):
        if now is not None and made is not None:
            scale = np.abs(made).max(axis=1) + 1e-30
            changed |= np.abs(now - made).max(axis=1) > 2 * coarse * scale
    return int(changed.sum())


def _eps(dtype) -> float:
    import torch

    return torch.finfo(dtype).eps
