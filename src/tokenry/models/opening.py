"""Open a causal language model from a hub name, a folder or a GGUF file, and refuse a broken one with a sentence."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json", "spiece.model")
PROBE_SECONDS = 5.0


def load_pair(source: str | Path, *, device: str | None = None, dtype: str | torch.dtype | None = None) -> tuple:
    """Load model and tokenizer with the library, in float32 on a CPU and in the stored type elsewhere.

    Args:
        source: hub name, folder, `.gguf` file, or a folder holding one `.gguf` file and no other weights.
        device: "cpu", "cuda", "cuda:1", ...; None takes CUDA when there is one.
        dtype: a torch dtype or its name; "auto" keeps what is stored.

    Returns:
        (model in evaluation mode, tokenizer).

    Raises:
        FileNotFoundError: nothing there: no folder and no reachable hub, a folder without weights or tokenizer.
        ValueError: an architecture that is unknown, needs code from the hub, or is not a causal language model;
            weights that are missing from the files; an unknown device or dtype.
    """
    where, gguf = _locate(source)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.device(device)
    except RuntimeError:
        raise ValueError(f"device {device!r} is not known; need cpu, cuda, cuda:1, or mps.") from None
    if isinstance(dtype, str) and dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ValueError(f"dtype {dtype!r} is not known; need float32, bfloat16 or float16.")
    if dtype is None:
        dtype = torch.float32 if torch.device(device).type == "cpu" else "auto"
    with quiet_library():
        model = _load_model(where, gguf, dtype)
        tokenizer = _load_tokenizer(where, gguf)
    return model.to(device).eval(), tokenizer


def load_folder(
    folder: str | Path, *, own_code: bool = False, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple:
    """Load a model folder of any kind by the library's Auto class for it: causal, encoder, sequence to sequence, VL.

    Args:
        own_code: run model code that lies in the folder. Only for folders you trust.

    Returns:
        (model in evaluation mode; tokenizer).

    Raises:
        FileNotFoundError: no model or no tokenizer in the folder.
        ValueError: an architecture without a class, weights that are missing from the files, or broken ones.
    """
    import transformers

    from tokenry.models.files import auto_class, bare_model

    where, gguf = _locate(Path(folder))
    auto = None if gguf else auto_class(bare_model(where, own_code=own_code).config)
    if not own_code and auto in (None, transformers.AutoModelForCausalLM):
        return load_pair(folder, device=device, dtype=dtype)
    with quiet_library():
        model = _whole(auto or transformers.AutoModelForCausalLM, where, dtype=dtype, trust_remote_code=own_code)
        return model.to(device).eval(), _load_tokenizer(where, None)


def check_model(model: nn.Module, vocab_size: int, name: str, *, causal: bool = True) -> None:
    """Refuse a model that cannot be scored with a vocabulary of `vocab_size` ids.

    Args:
        causal: it must give the next token; off, only rows and numbers are looked at.

    Raises:
        ValueError: not a causal language model, fewer rows than ids, or weights that are NaN or infinite.
    """
    config = getattr(model, "config", None)
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if causal and (config is None or head is None or getattr(config, "is_encoder_decoder", False)):
        raise ValueError(
            f"{name}: {type(model).__name__} is not a causal language model (it has no head that gives the next "
            "token). Give a model that AutoModelForCausalLM opens."
        )
    rows = {"embedding": model.get_input_embeddings().weight.shape[0]}
    rows |= {} if head is None else {"head": head.weight.shape[0]}
    for what, n_rows in rows.items():
        if n_rows < vocab_size:
            raise ValueError(
                f"{name}: the {what} has {n_rows} rows and the tokenizer {vocab_size} ids; every id needs a row. "
                "Give the tokenizer this model was trained with, or enlarge the model: resize_token_embeddings."
            )
    for key, tensor in model.named_parameters():
        if tensor.device.type != "meta" and tensor.is_floating_point() and not torch.isfinite(tensor.sum()):
            broken = int((~torch.isfinite(tensor)).sum())
            if broken:
                raise ValueError(
                    f"{name}: {broken} of {tensor.numel()} numbers of {key} are NaN or infinite; need finite weights. "
                    "The file or the training run is damaged: take an earlier checkpoint."
                )


@contextlib.contextmanager
def quiet_library() -> Iterator[None]:
    """Silence the library's bars and hints; its errors still come through."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _locate(source: str | Path) -> tuple[str, str | None]:
    """(folder or hub name, name of the GGUF file in it or None)."""
    path = Path(source).expanduser()
    if path.is_file():
        if path.suffix != ".gguf":
            raise ValueError(f"{source} is a file; need a model folder, a .gguf file or a hub name. Name its folder.")
        return str(path.parent), path.name
    if path.is_dir():
        return str(path), _check_folder(path)
    if isinstance(source, Path) or str(source).count("/") > 1 or str(source).startswith((".", "~", "/")):
        raise FileNotFoundError(f"{source}: there is no such folder. Check the path, or give a hub name owner/model.")
    _check_hub(str(source))
    return str(source), None


def _check_folder(path: Path) -> str | None:
    """Check that the folder can be opened; the name of its GGUF file if that is all there is."""
    weights = [*path.glob("*.safetensors"), *path.glob("pytorch_model*.bin")]
    ggufs = sorted(path.glob("*.gguf"))
    if not weights and len(ggufs) == 1:
        return ggufs[0].name
    if not weights and ggufs:
        raise ValueError(f"{path} holds {len(ggufs)} GGUF files; need one. Name the file itself: {ggufs[0]}.")
    if not (path / "config.json").is_file() or not weights:
        what = "no config.json" if not (path / "config.json").is_file() else "no weights (*.safetensors)"
        raise FileNotFoundError(f"{path} is not a model folder: {what}. Give the folder that save_pretrained wrote.")
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        raise FileNotFoundError(
            f"{path} holds a model without a tokenizer; need one of {', '.join(TOKENIZER_FILES)} beside it. "
            "Save its tokenizer there: tokenizer.save_pretrained(folder)."
        )
    return None


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:
        return False


def _check_hub(name: str) -> None:
    """Say at once that a hub name cannot be had, instead of after the library's retries."""
    if _is_cached(name):
        return
    from huggingface_hub import constants

    if constants.is_offline_mode():
        raise FileNotFoundError(
            f"{name}: not a folder here, not in the cache, and the hub is switched off (HF_HUB_OFFLINE). "
            "Give a folder, or unset HF_HUB_OFFLINE and download it once."
        )
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        HfApi().model_info(name, timeout=PROBE_SECONDS)
    except (HfHubHTTPError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"{name}: not a folder here, and the hub refuses it ({reason}). "
            "Check the spelling, or log in: hf auth login."
        ) from None
    except Exception as error:  # each version of the hub client has its own network errors
        raise FileNotFoundError(
            f"{name}: not a folder here, and the hub is unreachable ({type(error).__name__}). "
            "Give a folder, or try again with a network."
        ) from None


def _load_model(where: str, gguf: str | None, dtype: str | torch.dtype) -> nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    if gguf:
        from tokenry.core.choosing import needs

        needs("formats", "gguf")
        model = AutoModelForCausalLM.from_pretrained(where, gguf_file=gguf, dtype=dtype)
        # Dequantised on load: the mark would make save_pretrained and later loads treat it as quantised.
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        if hasattr(model, "hf_quantizer"):
            del model.hf_quantizer
        return model
    try:
        config = AutoConfig.from_pretrained(where, trust_remote_code=False)
    except ValueError as error:
        raise ValueError(
            f"{where}: its architecture is not supported here ({str(error).splitlines()[0]}). Need one that the "
            "installed transformers knows, without code from the hub. Upgrade transformers, or convert the model."
        ) from None
    _check_architecture(where, config)
    return _whole(AutoModelForCausalLM, where, config=config, dtype=dtype, trust_remote_code=False)


def _whole(auto: type, where: str, **options) -> nn.Module:
    """Open with an Auto class and refuse a model some of whose weights would be random."""
    model, facts = auto.from_pretrained(where, output_loading_info=True, **options)
    # An encoder is often saved without the pooler, which the library then makes anew; no token passes through it.
    missing = sorted(key for key in facts["missing_keys"] if "pooler." not in f".{key}")
    if missing:
        raise ValueError(
            f"{where}: {len(missing)} weights are not in the files (first: {missing[0]}) and would be random. "
            "Give the complete folder."
        )
    return model


def _check_architecture(where: str, config: object) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    names = list(getattr(config, "architectures", None) or [])
    known = set()
    for value in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        known.update([value] if isinstance(value, str) else value)
    is_causal = (
        any(name in known for name in names) if names else config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    )
    if not is_causal or getattr(config, "is_encoder_decoder", False):
        what = ", ".join(names) or config.model_type
        raise ValueError(
            f"{where}: {what} is not a causal language model; need one that gives the next token (…ForCausalLM). "
            "Other kinds are not scored here; tokenry transplant without --eval moves their folders."
        )


def _load_tokenizer(where: str, gguf: str | None) -> object:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(where, **({"gguf_file": gguf} if gguf else {}))
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"{where}: its tokenizer {type(tokenizer).__name__} has no tokenizer.json form; need one. "
            "Convert it with transformers.convert_slow_tokenizer and save the result there."
        )
    return tokenizer


def model_folder(source: str | Path) -> Path:
    """The folder of a checkpoint on this machine; a hub name is downloaded (weights, configuration, tokenizer).

    Raises:
        FileNotFoundError: nothing there, or the hub cannot be reached.
        ValueError: a GGUF file, whose tensors cannot be replaced in place.
    """
    where, gguf = _locate(source)
    if gguf is not None:
        raise ValueError(
            f"{source} is a GGUF file; need safetensors. "
            f"Convert it first: tokenry.load({str(source)!r}).save('folder')."
        )
    if Path(where).is_dir():
        return Path(where)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(where, allow_patterns=["*.safetensors", "*.json", "*.model", "*.jinja", "*.txt"]))
