"""Read and replace single tensors of a safetensors checkpoint, sharded or not, without loading the rest.

A replaced shard is copied piece by piece with only the changed tensors put in, so memory stays at the size of those,
whatever the model's; number types the running torch does not know pass through unread.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
COPY_BYTES = 1 << 24
LONGEST_HEADER = 100_000_000
"""Bytes; the bound that the safetensors library itself sets."""
TYPE_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


@dataclass(frozen=True)
class EmbeddingNames:
    """Where a checkpoint keeps its token rows.

    Attributes:
        input: name of the embedding in the files.
        head: name of the head in the files; None when it is not stored (tied models).
        is_tied: whether the model uses one matrix for both, stored or not.
    """

    input: str
    head: str | None
    is_tied: bool

    def __iter__(self):
        return iter((self.input, self.head, self.is_tied))


def tensor_names(folder: str | Path) -> dict[str, str]:
    """Name of every tensor of a checkpoint -> file it lies in, in the order of the files.

    Raises:
        FileNotFoundError: no safetensors in the folder, or a shard is missing.
        ValueError: a broken file.
    """
    folder = Path(folder)
    if (folder / INDEX).is_file():
        named = _index(folder)["weight_map"]
        missing = sorted({file for file in named.values() if not (folder / file).is_file()})
        if missing:
            raise FileNotFoundError(f"{folder}: {INDEX} names {missing[0]}, which is not there. Copy the whole folder.")
        outside = [file for file in named.values() if Path(file).name != file]
        if outside:
            raise ValueError(f"{folder}: {INDEX} names {outside[0]}, outside its own folder. The checkpoint is broken.")
        return dict(named)
    if (folder / SINGLE).is_file():
        return dict.fromkeys((name for name in _header(folder / SINGLE)[0] if name != "__metadata__"), SINGLE)
    raise FileNotFoundError(
        f"{folder} holds no safetensors weights; need {SINGLE} or {INDEX}. Save it with transformers."
    )


def tensor_shapes(folder: str | Path) -> dict[str, list[int]]:
    """Name of every tensor of a checkpoint -> shape, from the headers alone.

    Raises:
        As `tensor_names`.
    """
    names = tensor_names(folder)
    headers = {file: _header(Path(folder) / file)[0] for file in dict.fromkeys(names.values())}
    return {name: headers[file][name]["shape"] for name, file in names.items()}


def read_tensor(folder: str | Path, name: str) -> Tensor:
    """One tensor of a checkpoint, in its stored type, on the CPU.

    Raises:
        FileNotFoundError: as for `tensor_names`.
        ValueError: no tensor of this name; the nearest is suggested.
    """
    from safetensors import safe_open

    names = tensor_names(folder)
    _check_known([name], names, folder)
    with safe_open(Path(folder) / names[name], framework="pt") as file:
        return file.get_tensor(name)


def replace_tensors(
    folder: str | Path,
    out: str | Path,
    tensors: Mapping[str, Tensor],
    *,
    drop: Iterable[str] = (),
    link: bool = False,
) -> Path:
    """Write a copy of a checkpoint in which some tensors are others, new or gone.

    Every file that is not weights is copied too (configuration, tokenizer): change those in `out` afterwards. Inside
    `core.runs.atomic_folder` nothing half-written is left when the work stops on the way.

    Args:
        folder: checkpoint, left untouched.
        out: folder to write; made if missing.
        tensors: name -> new tensor, of any shape and type. A name the checkpoint lacks is added to the file of
            its first tensor.
        drop: names to leave out.
        link: share untouched shards with `folder` by hard links instead of copying. Saves disk and time, but whoever
            later writes into such a file of `out` in place changes the original as well.

    Returns:
        `out`.

    Raises:
        FileNotFoundError: no safetensors in the folder.
        ValueError: `out` is `folder`, a name in `drop` is unknown, or a number type cannot be stored.
    """
    folder, out = Path(folder), Path(out)
    names = tensor_names(folder)
    drop = set(drop)
    _check_known(drop, names, folder)
    if out.exists() and out.samefile(folder):
        raise ValueError(f"{out} is the checkpoint itself; need another folder to write to. Give a new --out.")
    out.mkdir(parents=True, exist_ok=True)
    home = next(iter(names.values()))
    placed = {name: file for name, file in names.items() if name not in drop or name in tensors}
    placed |= {name: home for name in tensors if name not in names}
    kept_files = dict.fromkeys(placed.values())
    changed = {names.get(name, home) for name in tensors} | {names[name] for name in drop}
    for file in kept_files:
        if file in changed:
            mine = {name: tensor for name, tensor in tensors.items() if placed[name] == file}
            _rewrite(folder / file, out / file, mine, drop=drop)
        else:
            _link_or_copy(folder / file, out / file, link=link)
    for path in folder.iterdir():
        if path.is_file() and path.name not in set(names.values()) and path.name != INDEX:
            shutil.copyfile(path, out / path.name)
    if (folder / INDEX).is_file():
        _write_index(folder, out, placed)
    return out


def embedding_names(folder: str | Path, *, own_code: bool = False) -> EmbeddingNames:
    """Names of the input embedding and the head in the files of a checkpoint.

    Taken from the library's own class for the configuration, built without memory for its weights.

    Args:
        own_code: run model code that lies in the folder, where the library has no class of its own. Only for folders
            you trust.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: an unknown architecture, or an embedding that is not in the files.
    """
    names = tensor_names(folder)
    model = bare_model(folder, own_code=own_code)
    table, head = accessors(model)
    stored_table = _stored_name(Path(folder), names, model, table) if table is not None else None
    stored_head = _stored_name(Path(folder), names, model, head) if head is not None else None
    if stored_table is None:
        raise ValueError(
            f"{folder}: the embedding of {type(model).__name__} is not among its {len(names)} tensors. "
            "Open it with transformers and save it again."
        )
    if stored_head == stored_table:
        stored_head = None
    is_tied = bool(getattr(model.config.get_text_config(), "tie_word_embeddings", False)) or stored_head is None
    return EmbeddingNames(stored_table, stored_head, is_tied)


def accessors(model: object) -> tuple[object, object]:
    """(embedding, head) as the library names them; None for what it does not name."""
    found = []
    for ask in (model.get_input_embeddings, model.get_output_embeddings):
        try:
            module = ask()
        except (NotImplementedError, AttributeError):
            module = None
        found.append(module if isinstance(getattr(module, "weight", None), Tensor) else None)
    return found[0], found[1]


def auto_class(config: object) -> type | None:
    """The library's Auto class that opens a model of this configuration; None where there is none."""
    import transformers
    from transformers.models.auto import modeling_auto

    names = list(getattr(config, "architectures", None) or [])
    for auto, table in (
        ("AutoModelForCausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"),
        ("AutoModelForSeq2SeqLM", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES"),
        ("AutoModelForMaskedLM", "MODEL_FOR_MASKED_LM_MAPPING_NAMES"),
        ("AutoModelForImageTextToText", "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES"),
        ("AutoModel", "MODEL_MAPPING_NAMES"),
    ):
        known = getattr(modeling_auto, table).get(config.model_type)
        known = () if known is None else (known,) if isinstance(known, str) else tuple(known)
        if known if not names else set(names) & set(known):
            return getattr(transformers, auto)
    return None


def bare_model(folder: str | Path, *, own_code: bool = False) -> object:
    """The model of a folder's configuration without weights: what its parts are called and how they hang together.

    Args:
        own_code: as for `embedding_names`.

    Raises:
        ValueError: a broken configuration, an architecture the library does not know, or one that needs code from the
            folder while `own_code` is off.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=own_code)
        auto = auto_class(config)
        if auto is None and own_code and getattr(config, "auto_map", None):
            auto = AutoModelForCausalLM
        if auto is None:
            names = ", ".join(getattr(config, "architectures", None) or [config.model_type])
            raise ValueError(f"{names} of model type {config.model_type!r} has no class with a vocabulary")
        with torch.device("meta"):
            return auto.from_config(config, trust_remote_code=own_code)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"{folder}: its configuration names model code of its own (auto_map), which would run on this machine; "
                "need a model that the installed transformers knows. If you have read that code and trust it, allow it "
                "with own_code=True (transplant --allow-own-code)."
            ) from None
        raise ValueError(
            f"{folder}: its architecture is not supported here ({reason.rstrip('.')}). Need one that the installed "
            "transformers knows, by the name in config.json. Upgrade transformers, or correct `architectures`."
        ) from None


def _stored_name(folder: Path, names: Mapping[str, str], model: object, module: object) -> str | None:
    """The stored name of a module's weight.

    Some checkpoints leave out the outermost prefix, others add one; and where the library has renamed a weight since,
    the one stored tensor which it no longer has by name and which has the right shape is meant.
    """
    path = next(name for name, other in model.named_modules() if other is module)
    name = f"{path}.weight"
    # Marian asks its encoder for the table, and keeps it under the name both sides share.
    for known in (name, (getattr(model, "all_tied_weights_keys", None) or {}).get(name)):
        if known in names:
            return known
    inner = name.split(".", 1)[-1] if path.count(".") else name
    found = [stored for stored in names if stored == inner or stored.endswith(f".{name}")]
    if not found:
        known = set(model.state_dict())
        prefix = model.base_model_prefix
        strangers = [stored for stored in names if not {stored, f"{prefix}.{stored}"} & known]
        headers = {file: _header(folder / file)[0] for file in {names[stored] for stored in strangers}}
        shape = list(module.weight.shape)
        found = [stored for stored in strangers if headers[names[stored]][stored]["shape"] == shape]
        last = name.split(".")[-2:]
        found = [stored for stored in found if stored.split(".")[-2:] == last] or found
    return found[0] if len(found) == 1 else None


def _check_known(wanted: Iterable[str], names: Mapping[str, str], folder: str | Path) -> None:
    from tokenry.core.choosing import suggest

    for name in wanted:
        if name not in names:
            raise ValueError(
                f"{folder} holds no tensor {name!r} among {len(names)}.{suggest(name, names)} "
                "List them: tensor_names(folder)."
            )


def _index(folder: Path) -> dict:
    """The content of the index of a sharded checkpoint, whose weight_map names a file for each tensor."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        named = index["weight_map"]
        sound = bool(named) and all(isinstance(file, str) for file in named.values())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise ValueError(f"{folder}: {INDEX} does not say which file holds which tensor. Copy the folder again.")
    return index


def _header(path: Path) -> tuple[dict, int]:
    """(the JSON header of a safetensors file, where its data begin)."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > min(LONGEST_HEADER, path.stat().st_size):
            raise ValueError(f"{path} is not a safetensors file, or it is cut short. Copy it again.")
        try:
            header = json.loads(file.read(size))
            tensors = [facts for name, facts in header.items() if name != "__metadata__"]
            end = max((facts["data_offsets"][1] for facts in tensors), default=0)
            whole = all(
                {"dtype", "shape"} <= facts.keys() and 0 <= facts["data_offsets"][0] <= end for facts in tensors
            )
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            whole = False
        if not whole:
            raise ValueError(f"{path}: its header is not that of a safetensors file. Copy it again.") from None
    if 8 + size + end != path.stat().st_size:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, its header says {8 + size + end}. Copy it again.")
    return header, 8 + size


def _rewrite(source: Path, target: Path, tensors: Mapping[str, Tensor], *, drop: set[str]) -> None:
    """Copy one safetensors file with some tensors replaced, added or left out."""
    old, data_at = _header(source)
    metadata = {"__metadata__": old.pop("__metadata__")} if "__metadata__" in old else {}
    order = sorted(old, key=lambda name: old[name]["data_offsets"][0])
    order = [name for name in order if name not in drop or name in tensors] + [n for n in tensors if n not in old]
    new, at = {}, 0
    for name in order:
        if name in tensors:
            tensor = tensors[name]
            facts, size = _facts(name, tensor), tensor.numel() * tensor.element_size()
        else:
            facts = {key: old[name][key] for key in ("dtype", "shape")}
            size = old[name]["data_offsets"][1] - old[name]["data_offsets"][0]
        new[name] = facts | {"data_offsets": [at, at + size]}
        at += size
    header = json.dumps(metadata | new, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with source.open("rb") as reader, target.open("wb") as writer:
        writer.write(len(header).to_bytes(8, "little") + header)
        for name in order:
            if name in tensors:
                _write_tensor(writer, tensors[name])
            else:
                first, last = old[name]["data_offsets"]
                reader.seek(data_at + first)
                _copy_bytes(reader, writer, last - first)


def _facts(name: str, tensor: Tensor) -> dict:
    if tensor.dtype not in TYPE_NAMES:
        raise ValueError(f"{name}: {tensor.dtype} cannot be stored; need one of {', '.join(map(str, TYPE_NAMES))}.")
    return {"dtype": TYPE_NAMES[tensor.dtype], "shape": list(tensor.shape)}


def _write_tensor(writer: object, tensor: Tensor) -> None:
    """The bytes of a tensor in blocks of rows, so that a tensor on another device or in odd strides needs no copy."""
    flat = tensor.detach().reshape(-1) if tensor.is_contiguous() else tensor.detach().contiguous().reshape(-1)
    step = max(1, COPY_BYTES // max(1, flat.element_size()))
    for first in range(0, flat.numel(), step):
        block = flat[first : first + step].cpu()
        writer.write(block.view(torch.uint8).numpy().data)


def _copy_bytes(reader: object, writer: object, size: int) -> None:
    while size > 0:
        block = reader.read(min(size, COPY_BYTES))
        if not block:
            raise ValueError(f"{reader.name} ended {size} bytes too early. Copy it again.")
        writer.write(block)
        size -= len(block)


def _link_or_copy(source: Path, target: Path, *, link: bool) -> None:
    if link:
        with contextlib.suppress(OSError):  # another file system, or one without hard links
            target.unlink(missing_ok=True)
            os.link(source.resolve(), target)
            return
    shutil.copyfile(source, target)


def _write_index(folder: Path, out: Path, placed: Mapping[str, str]) -> None:
    index = _index(folder)
    n_bytes = n_numbers = 0
    for file in dict.fromkeys(placed.values()):
        for name, facts in _header(out / file)[0].items():
            if name != "__metadata__":
                n_bytes += facts["data_offsets"][1] - facts["data_offsets"][0]
                size = 1
                for axis in facts["shape"]:
                    size *= axis
                n_numbers += size
    metadata = index.get("metadata") or {}
    metadata["total_size"] = n_bytes
    if "total_parameters" in metadata:
        metadata["total_parameters"] = n_numbers
    index |= {"metadata": metadata, "weight_map": dict(placed)}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (out / INDEX).write_text(text, encoding="utf-8")
