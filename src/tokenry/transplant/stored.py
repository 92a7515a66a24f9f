"""The vocabulary-sized tensors of a model folder, of whatever kind the model is, and what keeps it from being moved.

Papers: Training-Free Tokenizer Transplantation via OMP (arXiv 2506.06607).
"""

from pathlib import Path

import numpy as np

from tokenry.core.vocab import Vocab
from tokenry.transplant.planning import Plan
from tokenry.transplant.row_making import check_range

_HEAD_NAMES = ("lm_head.weight", "embed_out.weight", "output.weight", "output_projection.weight")
_BIAS_NAMES = ("final_logits_bias", "lm_head.bias", "predictions.bias", "vocab_projector.bias", "decoder.bias")
_TABLE_NAMES = ("embed", "lm_head", "vocab", "logits", "wte", "word", "shared")


class Stored:
    """The vocabulary-sized tensors of a checkpoint folder.

    Attributes:
        names: "input", "head" and "bias", "bias1", ... -> name in the files, or None.
        tensors: the same keys -> tensor as stored.
        input, head: rows for sums; `head` is None where one matrix serves both.
        biases: name in the files -> bias of the head, (V,) or (1, V).
        copies: further names under which the input rows are stored.
    """

    def __init__(
        self, folder: Path, names: dict[str, str | None], tensors: dict, model: object, *, is_tied: bool
    ) -> None:
        import torch

        self.folder, self.names, self.tensors, self.model = folder, names, tensors, model
        self.dtype = tensors["input"].dtype
        to_array = (lambda t: t.numpy()) if self.dtype == torch.float64 else (lambda t: t.float().numpy())
        arrays = {key: to_array(tensor) for key, tensor in tensors.items()}
        # As the library does: two stored matrices that differ are not tied, whatever the configuration says.
        self.is_tied = is_tied and ("head" not in tensors or torch.equal(tensors["input"], tensors["head"]))
        self.input, self.head = arrays["input"], None if self.is_tied else arrays["head"]
        self.biases = {names[key]: array for key, array in arrays.items() if key.startswith("bias")}
        self.copies: list[str] = []
        self.others: list[str] = []

    @classmethod
    def open(cls, folder: Path, *, own_code: bool = False) -> "Stored":
        """Read the tables of a folder; nothing else of it is loaded.

        Raises:
            FileNotFoundError: no checkpoint there. ValueError: an architecture without an embedding, or broken files.
        """
        import torch

        from tokenry.models.files import bare_model, embedding_names, read_tensor, tensor_names, tensor_shapes

        input_name, head_name, is_tied = embedding_names(folder, own_code=own_code)
        stored = tensor_names(folder)
        if head_name is None:
            # GPT-NeoX stores its head under another name than the model's own.
            head_name = next((name for name in stored if name.rpartition("model.")[2] in _HEAD_NAMES), None)
        names = {"input": input_name, "head": head_name}
        tensors = {key: read_tensor(folder, name) for key, name in names.items() if name}
        n_rows = len(tensors["input"])
        shapes = tensor_shapes(folder)
        own = (head_name or "lm_head.weight").removesuffix("weight") + "bias"
        biases = [
            name for name, shape in shapes.items()
            if (name == own or name.endswith(_BIAS_NAMES)) and shape in ([n_rows], [1, n_rows])
        ]  # fmt: skip
        for n, name in enumerate(biases):
            key = f"bias{n or ''}"
            names[key], tensors[key] = name, read_tensor(folder, name)
        found = cls(folder, names, tensors, bare_model(folder, own_code=own_code), is_tied=is_tied)
        for name, shape in shapes.items():
            is_table = len(shape) == 2 and shape[0] == n_rows and any(part in name.lower() for part in _TABLE_NAMES)
            if is_table and name not in names.values() and "position" not in name:
                same = shape == list(tensors["input"].shape) and torch.equal(
                    read_tensor(folder, name), tensors["input"]
                )
                (found.copies if same else found.others).append(name)
        return found

    @property
    def is_causal(self) -> bool:
        """Whether the model is a plain causal one: one stack, one configuration."""
        return type(self.model).__name__.endswith(("ForCausalLM", "LMHeadModel"))

    def check(self, plan: Plan, to: Vocab) -> None:
        """Refuse a model that this surgery would leave with parts of the old vocabulary.

        Raises:
            ValueError: a decoder with a vocabulary of its own, pictures as codes in the vocabulary, further tables over
                it, positions counted from a pad id that would change, or a head untied in a model that is not causal.
        """
        config, name = self.model.config, f"{self.folder}: {type(self.model).__name__}"
        own = getattr(config, "decoder_vocab_size", None)
        shares = getattr(config, "share_encoder_decoder_embeddings", True)
        is_pair = any(hasattr(getattr(config, part, None), "to_dict") for part in ("encoder", "decoder"))
        if is_pair or not shares or own not in (None, config.get_text_config().vocab_size):
            raise ValueError(
                f"{name} has a vocabulary for its encoder and another for its decoder; a move gives one tokenizer to "
                "both. Need a model that shares one vocabulary."
            )
        if getattr(config, "vocabulary_map", None):
            raise ValueError(
                f"{name} keeps the codes of its pictures in the vocabulary itself (vocabulary_map); a move would cut "
                "them off. Such an architecture is not supported; need one whose pictures come as vectors."
            )
        if self.others:
            raise ValueError(
                f"{name} has another table over the vocabulary, {self.others[0]}, which a move would leave as it is. "
                "Such an architecture is not supported; need a model with one embedding and one head."
            )
        pad = self._counting_pad()
        if pad is not None and to.specials.get("pad") != pad:
            raise ValueError(
                f"{name} counts its positions from the pad id {pad}, and {to.name or 'the new tokenizer'} has pad "
                f"{to.specials.get('pad')}; every position would shift. Give the new tokenizer its pad at id {pad}."
            )
        if plan.untie and self.is_tied and not self.is_causal:
            raise ValueError(
                f"{name} shares one matrix between embedding and head, and method {plan.method!r} makes two; that is "
                "supported for causal models only. Take a method with one map: 'pieces'."
            )

    def _counting_pad(self) -> int | None:
        """The pad id where positions are counted from it, as RoBERTa does."""
        for name, module in self.model.named_modules():
            pad = getattr(module, "padding_idx", None)
            if name.endswith("position_embeddings") and pad is not None:
                return int(pad)
        return None

    def dtype_of(self, name: str) -> object:
        """The number type a tensor is stored in; a bias may have another than the rows."""
        return next((self.tensors[key].dtype for key, own in self.names.items() if own == name), self.dtype)

    def as_stored(self, name: str, array: np.ndarray):
        """A torch tensor of the number type that the checkpoint has under this name."""
        import torch

        dtype = self.dtype_of(name)
        check_range(array, "model", largest=torch.finfo(dtype).max, dtype=str(dtype))
        return torch.from_numpy(np.ascontiguousarray(array)).to(dtype)

    def head_name(self) -> str:
        """Where the head is stored, or would be."""
        if self.names["head"]:
            return self.names["head"]
        from tokenry.models.files import accessors

        head = accessors(self.model)[1]
        return next(name for name, module in self.model.named_modules() if module is head) + ".weight"
