"""Hypernetworks on disk: our own folders, and the published ones (never unpickled).

Paper: Zero-Shot Tokenizer Transfer (arXiv 2405.07883).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tokenry.core.vocab import Vocab
from tokenry.transplant.hypernet import HypernetConfig, Hypernetwork
from tokenry.transplant.matching import rows_fingerprint
from tokenry.transplant.surface_forms import N_BYTES

WEIGHTS, SHAPE = "hypernet.safetensors", "hypernet.json"
FORMAT = 1
LARGEST = 32 * 2**30
"""Bytes of a msgpack file that is read: it must fit in memory at once."""
# What a published network may not have, and why rows would be wrong without it.
_UNKNOWN = {
    "hn_embed_target_priors": "reads the log-probability of each token",
    "hn_add_inter_token_attention": "lets tokens attend to each other",
    "hn_concat_last_hidden_state": "reads all positions at once",
}
_PARTS = {  # ours -> theirs
    "project.0": "input_projection.0",
    "project.1": "input_projection.1",
    "norm": "model.embeddings.LayerNorm",
    "head_in.0": "output_projection.0",
    "head_in.1": "output_projection.1",
    "head_out.0": "output_projection_out.0",
    "head_out.1": "output_projection_out.1",
    "head_bias": "bias_projection",
}
_PROJECTOR = {"up": "dense1", "down": "dense2", "norm": "ln"}
_LAYER = {
    "out": "attention.output.dense",
    "norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "last_norm": "output.LayerNorm",
}
_SCALERS = {"read": "in_scaler", "write_in": "scaler", "write_out": "out_scaler"}


def save(network: Hypernetwork, folder: str | Path, *, overwrite: bool = False) -> None:
    """Write a network to a folder; see `Hypernetwork.save`.

    Raises:
        ValueError: it does not know its source vocabulary. FileExistsError: the folder is there.
    """
    from safetensors.torch import save_file

    from tokenry.core.runs import atomic_folder, atomic_write

    if not network.fingerprint:
        raise ValueError(
            "This hypernetwork does not know the vocabulary it was made for, so nobody could check it later; "
            "make it with Hypernetwork.for_vocab."
        )
    facts = {
        "format": FORMAT,
        "fingerprint": network.fingerprint,
        "n_old": network.n_old,
        "tied": network.source_out is None,
        "config": asdict(network.config),
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with atomic_folder(folder, overwrite=overwrite) as part:
        save_file(tensors, part / WEIGHTS)
        atomic_write(part / SHAPE, json.dumps(facts, indent=2, sort_keys=True))


def load(folder: str | Path, *, vocab: Vocab | None = None) -> Hypernetwork:
    """Open what `save` wrote; see `Hypernetwork.load`.

    Raises:
        FileNotFoundError: no such folder, or a published network, which `read_published` opens.
        ValueError: it belongs to another vocabulary, or its files are damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    if not (folder / SHAPE).is_file() or not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(
            f"{folder} holds no hypernetwork ({SHAPE} and {WEIGHTS}). Train one: tokenry hypernet train; a published "
            "one is read by tokenry.transplant.hypernet_files.read_published and saved here once."
        )
    try:
        facts = json.loads((folder / SHAPE).read_text(encoding="utf-8"))
        config = _config(facts["config"])
        fingerprint, n_old, tied = str(facts["fingerprint"]), int(facts["n_old"]), bool(facts["tied"])
        tensors = load_file(folder / WEIGHTS)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise ValueError(f"{folder} is no whole hypernetwork ({error!r}). Copy it again, or train it anew.") from None
    if vocab is not None and rows_fingerprint(vocab) != fingerprint:
        raise ValueError(
            f"The hypernetwork in {folder} was made for another vocabulary ({n_old:,} ids, rows {fingerprint}) than "
            f"{vocab.name} ({vocab.size:,} ids, rows {rows_fingerprint(vocab)}). A hypernetwork serves one base "
            "model and its fine-tuned relatives: take that model, or train one for this."
        )
    sources = [tensors.get("source_in"), None if tied else tensors.get("source_out")]
    if sources[0] is None or len(sources[0]) != n_old:
        raise ValueError(f"{folder}: {WEIGHTS} has not the {n_old} source rows {SHAPE} names. Copy the folder again.")
    bias = tensors.get("source_bias")
    network = Hypernetwork(*sources, config, source_bias=bias, fingerprint=fingerprint)
    # Which rows the scales were set on was settled when it was made.
    network.ordinary = tensors.get("ordinary", network.ordinary)
    _fill(network, tensors, folder)
    return network.eval()


def read_published(
    folder: str | Path, source_in: np.ndarray | Tensor, source_out: np.ndarray | Tensor | None = None, *, vocab: Vocab
) -> Hypernetwork:
    """Open a hypernetwork in the layout of `benjamin/zett-hypernetwork-*`; its own code is never run.

    Such a folder holds no source rows: they are those of the model it was made for.

    Args:
        folder: with `config.json` and `model.safetensors` (or shards), or `flax_model.msgpack` (needs the package
            msgpack). A `pytorch_model.bin` is a pickle and not read.
        source_in, source_out: rows of that model.
        vocab: its vocabulary.

    Returns:
        The network; a bias it makes is kept, and lost where the model has no bias of its head. Its languages have
        their names where its configuration lists them.

    Raises:
        FileNotFoundError: files that are missing. ImportError: msgpack is missing.
        ValueError: a network with parts that are not known here, or for other rows.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} has no config.json; need the folder of a published hypernetwork.")
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    told = [f"{key} ({why})" for key, why in _UNKNOWN.items() if facts.get(key)]
    if facts.get("hn_model_type", "roberta") != "roberta":
        told.append(f"hn_model_type {facts['hn_model_type']!r}")
    if not facts.get("hn_embed_using_source_embeddings", False):
        told.append("no source embeddings read")
    if told:
        raise ValueError(f"{folder} is a hypernetwork of a kind that is not read: {'; '.join(told)}.")
    theirs = _published_tensors(folder)
    config = _published_config(facts, theirs, folder)
    known = int(facts.get("original_vocab_size", vocab.size))
    if bool(facts.get("separate_out_embeddings")) != (source_out is not None) or known > len(source_in):
        raise ValueError(
            f"{folder} was made for {known:,} ids and {'two matrices' if source_out is None else 'one matrix'}; got "
            f"{len(source_in):,} source rows and {'one' if source_out is None else 'two'}. Give those of its base."
        )
    network = Hypernetwork.for_vocab(vocab, source_in, source_out, config=config)
    _fill(network, _from_published(network, theirs, facts, vocab), folder)
    return network.eval()


def _config(values: dict) -> HypernetConfig:
    known = {field.name for field in fields(HypernetConfig)}
    if set(values) - known:
        raise ValueError(f"The hypernetwork has settings this version does not know: {sorted(set(values) - known)}.")
    values = values | {"language_names": tuple(values.get("language_names", ()))}
    return HypernetConfig(**values)


def _fill(network: Hypernetwork, tensors: Mapping[str, Tensor], folder: Path) -> None:
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    got = {name: tuple(value.shape) for name, value in tensors.items()}
    wrong = sorted(name for name in {*wanted, *got} if wanted.get(name) != got.get(name))
    if wrong:
        raise ValueError(
            f"{folder}: {len(wrong)} weights do not fit its configuration (first: {wrong[0]}, {got.get(wrong[0])} "
            f"there, {wanted.get(wrong[0])} needed). The folder is damaged or of another version."
        )
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{folder}: {name} holds NaN or infinite numbers. Train it anew, or copy it again.")
    network.load_state_dict(dict(tensors))


def _published_config(facts: dict, theirs: Mapping[str, Tensor], folder: Path) -> HypernetConfig:
    try:
        hidden = int(facts["hn_hidden_size"])
        return HypernetConfig(
            width=int(facts["n_embd"]),
            layers=int(facts.get("hn_n_layers", 3)),
            hidden=hidden,
            heads=int(facts.get("hn_num_attention_heads") or hidden // 64),
            inner=int(facts["hn_intermediate_size"]),
            pieces=int(facts.get("hn_surface_maxlen", 16)),
            bias="bias_projection.weight" in theirs,
            **_languages(facts, theirs),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder}/config.json lacks {error}; need the file of a published hypernetwork.") from None


def _languages(facts: dict, theirs: Mapping[str, Tensor]) -> dict:
    if not facts.get("hn_embed_lang_id"):
        return {}
    number, names = len(theirs["lang_embeddings.weight"]), facts.get("langs") or []
    return {"languages": number, "language_names": tuple(map(str, names)) if len(names) == number else ()}


def _from_published(network: Hypernetwork, theirs: Mapping[str, Tensor], facts: dict, vocab: Vocab) -> dict:
    """Our names for a published network's weights."""
    theirs, out = dict(theirs), dict(network.state_dict())
    if facts.get("hn_single_head") and network.head_out is not None:
        _split_head(theirs, network.config.width)
    try:
        for mine in list(out):
            part, _, leaf = mine.rpartition(".")
            name = _published_name(part)
            if name is not None:
                out[mine] = theirs[f"{name}.{leaf}"].float()
        for i in range(network.config.layers):
            place = f"model.encoder.layer.{i}.attention.self"
            for leaf in ("weight", "bias"):
                out[f"layers.{i}.qkv.{leaf}"] = torch.cat(
                    [theirs[f"{place}.{part}.{leaf}"].float() for part in ("query", "key", "value")]
                )
        # The type vector is added at every place that has a position: one table does both.
        positions = theirs["model.embeddings.position_embeddings.weight"][: network.config.pieces].float()
        out["positions.weight"] = positions + theirs["model.embeddings.token_type_embeddings.weight"][:1].float()
        if network.language is not None:
            out["language.weight"] = theirs["lang_embeddings.weight"].float()
        for mine, name in _SCALERS.items():
            if f"{mine}.scale" in out:
                is_there = bool(facts.get("hn_rescale_embeddings"))
                scale, shift = (theirs[f"{name}.{leaf}"][0] if is_there else None for leaf in "wb")
                out[f"{mine}.scale"] = scale.float() if is_there else torch.ones_like(out[f"{mine}.scale"])
                out[f"{mine}.shift"] = shift.float() if is_there else torch.zeros_like(out[f"{mine}.shift"])
        # Their rows stand for the bytes the vocabulary lacks, in order; what follows are pieces of their own.
        missing = [value for value in range(N_BYTES) if bytes([value]) not in vocab.index]
        rows = theirs["fallback_embeddings.weight"].float()[: len(missing)]
        fallback = out["fallback.weight"].clone()
        fallback[missing[: len(rows)]] = rows
        out["fallback.weight"] = fallback
    except KeyError as error:
        raise ValueError(f"The published hypernetwork has no weight {error}; need all of them.") from None
    return out


def _published_name(part: str) -> str | None:
    """Their name of one of our modules; None where it is put together otherwise."""
    if part.startswith("layers."):
        _, number, leaf = part.split(".", 2)
        return f"model.encoder.layer.{number}.{_LAYER[leaf]}" if leaf in _LAYER else None
    for mine, name in _PARTS.items():
        if part == mine:
            return name
        if part.startswith(f"{mine}."):
            return f"{name}.{_PROJECTOR[part[len(mine) + 1 :]]}"
    return None


def _split_head(theirs: dict[str, Tensor], width: int) -> None:
    """One head for both matrices as two: the same block, and half of the last layer each."""
    for name in [name for name in theirs if name.startswith("output_projection.")]:
        leaf = name.removeprefix("output_projection.")
        value = theirs[name]
        if leaf.startswith("1."):
            theirs[name], value = value[:width], value[width:]
        theirs[f"output_projection_out.{leaf}"] = value


def _published_tensors(folder: Path) -> dict[str, Tensor]:
    from tokenry.models.files import read_tensor, tensor_names

    if (folder / "model.safetensors").is_file() or (folder / "model.safetensors.index.json").is_file():
        return {name: read_tensor(folder, name) for name in tensor_names(folder)}
    if (folder / "flax_model.msgpack").is_file():
        return _read_flax(folder / "flax_model.msgpack")
    raise FileNotFoundError(
        f"{folder} has neither model.safetensors nor flax_model.msgpack; need one of them. A pytorch_model.bin is a "
        "pickle, which may run code: save it as safetensors first, where you trust it."
    )


def _read_flax(path: Path) -> dict[str, Tensor]:
    """The tensors of a flax file under the names of the PyTorch port."""
    try:
        import msgpack
    except ImportError:
        raise ImportError(
            f"{path} is a msgpack file; reading it needs the package msgpack: pip install msgpack."
        ) from None
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes; at most {LARGEST:,} are read.")
    try:
        tree = msgpack.unpackb(path.read_bytes(), ext_hook=_flax_value, raw=False, strict_map_key=True)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise ValueError(f"{path} is no flax weights file ({error}). Copy it again.") from None
    out: dict[str, Tensor] = {}
    _flatten(tree.get("params", tree) if isinstance(tree, dict) else tree, (), out)
    return out


def _flax_value(code: int, data: bytes) -> Tensor:
    """An array of a flax file: its shape, its type by name, its numbers; nothing else is known."""
    import msgpack

    if code != 1:
        raise ValueError(f"an entry of kind {code}; need arrays")
    shape, kind, numbers = msgpack.unpackb(data, raw=True)
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    types = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}
    if kind not in types or any(not isinstance(n, int) or n < 0 for n in shape):
        raise ValueError(f"an array of type {kind!r} and shape {shape}; need floats of at most 32 bits")
    flat = np.frombuffer(numbers, types[kind])
    if flat.size != math.prod(shape):
        raise ValueError(f"an array of shape {list(shape)} with {flat.size} numbers")
    if kind == "bfloat16":  # the upper half of a float32
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return torch.from_numpy(flat.astype(np.float32).reshape(shape))


def _flatten(tree: object, path: tuple[str, ...], out: dict[str, Tensor]) -> None:
    if isinstance(tree, Tensor):
        names, value = list(path), tree
        if names[-1] == "kernel":
            value = value.T.contiguous()
        names[-1] = {"kernel": "weight", "scale": "weight", "embedding": "weight"}.get(names[-1], names[-1])
        names = [name.removeprefix("layers_") for name in names]
        if "lang_embedding" in names:
            names = ["lang_embeddings", "weight"]
        out[".".join(names)] = value
        return
    if isinstance(tree, dict) and tree.get("__msgpack_chunked_array__"):
        chunks, shape = tree.get("chunks", {}), tree.get("shape", {})
        parts = [chunks[str(i)].reshape(-1) for i in range(len(chunks))]
        _flatten(torch.cat(parts).reshape([shape[str(i)] for i in range(len(shape))]), path, out)
        return
    if not isinstance(tree, dict):
        raise ValueError(f"An entry {'.'.join(path)!r} of a flax weights file is no array and no group of them.")
    for name, part in tree.items():
        _flatten(part, (*path, str(name)), out)
