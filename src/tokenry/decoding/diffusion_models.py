"""Open a masked-diffusion model: what hides a token, whether predictions are shifted, folders of own code.

Papers: LLaDA (arXiv 2502.09992); Dream (arXiv 2508.15487), whose predictions stand one place to the left because it
was made from an autoregressive model.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from tokenry.models.lm import LM
from tokenry.models.opening import check_model, load_folder, load_pair, model_folder, quiet_library
from tokenry.models.scoring import is_masked


@dataclass(frozen=True)
class DiffusionSpec:
    """How a model fills hidden places.

    Attributes:
        mask: id that hides a token.
        shift: the prediction for a place is the model's output one place before it (Dream).
        tail: ids that stand behind the text all along (BERT's separator).
    """

    mask: int
    shift: bool = False
    tail: tuple[int, ...] = ()

    @classmethod
    def of(cls, lm: LM, *, mask: int | None = None, shift: bool | None = None) -> "DiffusionSpec":
        """Read it from the configuration and the tokenizer; what is given wins.

        Raises:
            ValueError: no mask id anywhere, or one without a row in the embedding.
        """
        config = lm.model.config
        known = (mask, getattr(config, "mask_token_id", None), lm.vocab.specials.get("mask"))
        found = next((number for number in known if number is not None), None)
        n_rows = lm.model.get_input_embeddings().weight.shape[0]
        if found is None or not 0 <= found < n_rows:
            got = "no mask token in its configuration or tokenizer" if found is None else f"mask id {found}"
            raise ValueError(
                f"{lm.name}: {got}, and {n_rows} rows of the embedding; decoding by diffusion needs the id that hid "
                "tokens in training. Name it: --with mask=ID. A model that was never trained to fill hidden tokens "
                "writes by --strategy plain."
            )
        shifts = str(getattr(config, "model_type", "")).lower().startswith("dream") if shift is None else shift
        tail = lm.vocab.specials.get("sep") if is_masked(lm.model) else None
        return cls(int(found), bool(shifts), () if tail is None else (tail,))


def open_diffusion(
    source: object, *, own_code: bool = False, device: str | None = None, dtype: str | torch.dtype | None = None
) -> LM:
    """Open what decodes by diffusion: a bidirectional causal class, a masked class (BERT), or a folder of own code.

    Args:
        source: what `LM.open` takes.
        own_code: run model code that lies in the folder (LLaDA, Dream). Only for folders you have read and trust.
        device, dtype: as for `LM.open`.

    Raises:
        FileNotFoundError, ValueError: as for `LM.open`, or a folder that needs its own code while that is off.
    """
    if not isinstance(source, str | Path):
        return LM.open(source, device=device, dtype=dtype)
    folder = model_folder(source) if own_code or Path(source).expanduser().is_dir() else Path(source)
    config = folder / "config.json"
    if not config.is_file():
        return LM.open(source, device=device, dtype=dtype)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if _names_code(config):
        if not own_code:
            raise ValueError(
                f"{source}: its configuration names model code of its own (auto_map), which would run on this machine. "
                "If you have read that code and trust it, allow it: --with allow-own-code=true."
            )
        pair = _with_own_code(folder, device, dtype)
    elif _is_masked_class(config):
        pair = load_folder(folder, device=device, dtype=_number_type(dtype, device))
    else:
        pair = load_pair(source, device=device, dtype=dtype)
    lm = LM.open(pair)
    lm.name = str(source)
    return lm


def _with_own_code(folder: Path, device: str, dtype: str | torch.dtype | None) -> tuple[nn.Module, object]:
    import transformers

    with quiet_library():
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True)
        classes = ("AutoModelForMaskedLM", "AutoModelForCausalLM", "AutoModel")
        auto = next((name for name in classes if name in config.auto_map), "AutoModelForCausalLM")
        options = {"config": config, "dtype": _number_type(dtype, device), "trust_remote_code": True}
        model, facts = getattr(transformers, auto).from_pretrained(folder, output_loading_info=True, **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    if facts["missing_keys"]:
        first = sorted(facts["missing_keys"])[0]
        raise ValueError(f"{folder}: weights are missing from the files (first: {first}). Give the complete folder.")
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"{folder}: its tokenizer {type(tokenizer).__name__} has no tokenizer.json form; need one. Put the "
            "tokenizer.json of the model it was made from (for Dream: Qwen2.5) beside it."
        )
    check_model(model, 0, str(folder))
    return model.to(device).eval(), tokenizer


def _number_type(dtype: str | torch.dtype | None, device: str) -> object:
    if dtype is None:
        return torch.float32 if torch.device(device).type == "cpu" else "auto"
    return getattr(torch, dtype) if isinstance(dtype, str) and dtype != "auto" else dtype


def _names_code(config: Path) -> bool:
    import json

    return bool(json.loads(config.read_text(encoding="utf-8")).get("auto_map"))


def _is_masked_class(config: Path) -> bool:
    """Whether the configuration names a class that fills gaps."""
    import json

    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as KNOWN

    known = {name for names in KNOWN.values() for name in ([names] if isinstance(names, str) else names)}
    return bool(known.intersection(json.loads(config.read_text(encoding="utf-8")).get("architectures") or []))
