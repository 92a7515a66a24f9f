"""Vectors for strings from a sentence encoder: a folder that transformers opens, or any function that makes them.

Papers: Sentence-BERT (arXiv 1908.10084) for the mean over the tokens.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tokenry.core.hashing import fingerprint
from tokenry.core.vocab import Vocab

__all__ = ["Encode", "embed", "open_encoder"]

Encode = Callable[[list[str]], np.ndarray]
BATCH = 64
"""Strings in one pass of an encoder."""
MOST_TOKENS = 512
"""An encoder reads so many tokens of a string."""


def open_encoder(encoder: object, *, device: str | None = None, dtype: str | None = None) -> tuple[Encode, str]:
    """A function from strings to vectors, and a key of what it is.

    Args:
        encoder: a folder or hub name of any encoder that transformers opens (a sentence-transformers folder, a masked
            or a causal language model): hidden states of its last layer, mean over the tokens; or a function of a list
            of strings that returns one row each; or an object with such an `encode`.
        device, dtype: of the model.

    Returns:
        The function and a key, equal for equal content: "" for a function, of which nothing can be said.

    Raises:
        FileNotFoundError: no such folder. ValueError: neither path nor function.
    """
    if isinstance(encoder, str | Path):
        return _Transformer(encoder, device=device, dtype=dtype), _folder_key(encoder)
    if callable(encoder):
        return encoder, ""
    if callable(getattr(encoder, "encode", None)):
        return encoder.encode, ""
    raise ValueError(
        f"The encoder is a {type(encoder).__name__}; need the path of a sentence encoder, or a function from a list of "
        "strings to an array with one row each."
    )


def embed(encode: Encode, strings: list[str], *, key: str = "", cache: str | Path | None = None) -> np.ndarray:
    """Vectors (n, h) float32 of strings; each different string is encoded once.

    Args:
        key: of the encoder's content; with `cache`, what was encoded before is read from that folder.
        cache: folder for vectors, one file for each encoder and set of strings; None, or an empty key, keeps nothing.

    Raises:
        ValueError: the encoder returned another number of rows, or numbers that are not finite.
    """
    distinct = list(dict.fromkeys(strings))
    place = {string: i for i, string in enumerate(distinct)}
    file = Path(cache) / f"{fingerprint(key, *distinct)}.npy" if cache is not None and key else None
    if file is not None and file.is_file():
        found = np.load(file, allow_pickle=False)
    else:
        found = _checked(encode(distinct), len(distinct)) if distinct else np.zeros((0, 1), np.float32)
        if file is not None:
            _keep(file, found)
    if len(found) != len(distinct):
        raise ValueError(f"{file} holds {len(found)} vectors for {len(distinct)} strings; delete it and run again.")
    return found[[place[string] for string in strings]]


class _Transformer:
    """Mean over the tokens of the last hidden states of an encoder, a decoder, or the encoder of both."""

    def __init__(self, source: str | Path, *, device: str | None, dtype: str | None) -> None:
        from tokenry.core.choosing import needs

        needs("models", "torch", "transformers")
        import torch
        import transformers as tf

        folder = _encoder_folder(source)
        try:
            model = tf.AutoModel.from_pretrained(folder, dtype=dtype or "float32", trust_remote_code=False)
        except OSError as error:
            raise FileNotFoundError(
                f"{source}: no sentence encoder to open there ({str(error).splitlines()[0]}). Give a folder that "
                "transformers' AutoModel opens, with its tokenizer."
            ) from None
        model = model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model
        self.torch, self.model = torch, model.to(device or "cpu").eval()
        self.vocab = Vocab.open(folder)

    def __call__(self, strings: list[str]) -> np.ndarray:
        torch = self.torch
        # With the special tokens it was trained with around a text, which Vocab.encode leaves away.
        ids = [e.ids[:MOST_TOKENS] or [0] for e in self.vocab.backend.encode_batch_fast(strings)]
        order = np.argsort([len(found) for found in ids], kind="stable")
        out = None
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                part = order[start : start + BATCH].tolist()
                width = max(len(ids[i]) for i in part)
                batch = torch.zeros(len(part), width, dtype=torch.long)
                mask = torch.zeros(len(part), width, dtype=torch.long)
                for row, i in enumerate(part):
                    batch[row, : len(ids[i])] = torch.tensor(ids[i])
                    mask[row, : len(ids[i])] = 1
                batch, mask = batch.to(self.model.device), mask.to(self.model.device)
                states = self.model(input_ids=batch, attention_mask=mask).last_hidden_state.float()
                pooled = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
                out = np.zeros((len(strings), pooled.shape[1]), np.float32) if out is None else out
                out[part] = pooled.cpu().numpy()
        return np.zeros((0, 1), np.float32) if out is None else out


def _encoder_folder(source: str | Path) -> str:
    """The folder of the transformer: older sentence-transformers folders keep it one level down."""
    from tokenry.models.opening import model_folder

    folder = Path(model_folder(source))
    below = folder / "0_Transformer"
    return str(below if below.is_dir() and not (folder / "config.json").is_file() else folder)


def _folder_key(source: str | Path) -> str:
    """Changes when weights or tokenizer do: names, sizes and contents of the small files, dates of the large."""
    folder, parts = Path(_encoder_folder(source)), []
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix in (".json", ".txt", ".model", ".safetensors", ".bin"):
            stat = file.stat()
            small = file.read_bytes() if stat.st_size < 2**21 else stat.st_mtime_ns
            parts += [file.name, stat.st_size, small]
    return fingerprint(*parts)


def _checked(found: object, n: int) -> np.ndarray:
    found = np.asarray(found, dtype=np.float32)
    if found.ndim != 2 or len(found) != n:
        raise ValueError(f"The encoder returned shape {found.shape} for {n} strings; need one row of numbers each.")
    if not np.isfinite(found).all():
        raise ValueError("The encoder returned NaN or infinite numbers; need finite vectors. Try dtype float32.")
    return found


def _keep(file: Path, found: np.ndarray) -> None:
    import io

    from tokenry.core.runs import atomic_write

    file.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.save(buffer, found, allow_pickle=False)
    atomic_write(file, buffer.getvalue())
