"""Vectors for strings: a sentence encoder by path, a function, counts over your text, or the model's own rows.

They say which tokens mean the like where two vocabularies share none; only the first needs weights of another model.

Papers: TokenAdapt (arXiv 2505.09738); fastText's words as bags of their parts (arXiv 1607.04606) for counts.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from tokenry.core.hashing import fingerprint
from tokenry.core.vocab import Kind, Vocab

Encode = Callable[[list[str]], np.ndarray]
BATCH = 64
"""Strings in one pass of an encoder."""
SHORTEST, LONGEST = 3, 5
"""Parts of words that have a vector in `counted_encoder`, in characters, the marks of word borders included."""
MOST_TOKENS = 512
"""An encoder reads so many tokens of a string; tokens of a vocabulary are far shorter."""


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


def row_encoder(vocab: Vocab, rows: np.ndarray) -> Encode:
    """The offline encoder: a string is the mean of the model's own rows of its pieces, less the mean row.

    Rows of most models share one long direction, which would make every cosine near 1; it is taken off.
    """
    ordinary = np.flatnonzero(vocab.kinds == Kind.NORMAL)
    centre = rows[ordinary].mean(axis=0, dtype=np.float64) if ordinary.size else 0.0

    def encode(strings: list[str]) -> np.ndarray:
        out = np.zeros((len(strings), rows.shape[1]))
        for n, string in enumerate(strings):
            if ids := vocab.decompose(string.encode()):
                out[n] = rows[ids].mean(axis=0, dtype=np.float64) - centre
        return out

    return encode


def counted_encoder(texts: Iterable[str], *, width: int = 100, min_count: int = 3, seed: int = 0) -> Encode:
    """An encoder counted on your text: vectors of words from their company, of other strings from their parts.

    A word that occurs often enough has its own vector (see word_vectors.word_vectors) beside those of its parts of 3
    to 5 characters; the vector of a part is the mean of the words it occurs in, by their counts. A string is the mean
    over its words. What holds no known part has a vector of zeros.

    Raises:
        ValueError: when fewer than two words occur `min_count` times.

    Paper: words as bags of their parts, arXiv 1607.04606, here from counts instead of training.
    """
    from tokenry.transplant.word_vectors import word_vectors

    known = word_vectors(texts, width=width, min_count=min_count, seed=seed)
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(known.matrix.shape[1]))
    mass: dict[str, float] = defaultdict(float)
    for word, row, count in zip(known.words, known.matrix.astype(np.float64), known.counts, strict=True):
        for part in set(word_parts(word, starts=True, ends=True)):
            sums[part] += count * row
            mass[part] += count

    def vector(string: str) -> np.ndarray:
        found = []
        for n, word in enumerate(words := string.split()):
            if word in known.index:
                found.append(known.matrix[known.index[word]].astype(np.float64))
            starts, ends = n > 0 or string[:1].isspace(), n < len(words) - 1
            parts = [sums[p] / mass[p] for p in word_parts(word, starts=starts, ends=ends) if p in mass]
            if parts:
                found.append(np.mean(parts, axis=0))
        return np.mean(found, axis=0) if found else np.zeros(known.matrix.shape[1])

    return lambda strings: np.stack([vector(string) for string in strings])


def word_parts(word: str, *, starts: bool, ends: bool) -> list[str]:
    """Runs of 3 to 5 characters of a word; "<" marks its start and ">" its end where those are known."""
    marked = "<" * starts + word + ">" * ends
    return [marked[i : i + n] for n in range(SHORTEST, LONGEST + 1) for i in range(len(marked) - n + 1)]


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
