"""`LM`: a causal language model, its tokenizer and its Vocab as one thing that scores, continues and saves text."""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tokenry.core.splitting import segments
from tokenry.core.vocab import Vocab
from tokenry.models.opening import check_model, load_folder, load_pair, quiet_library
from tokenry.models.scoring import Scores, text_nats

DOCUMENTS_BYTES = 1 << 18
"""Text encoded, sorted by length and scored at a time, so that memory does not grow with the data."""
PROBES = ("Once upon a time", "Ünïcode 漢字 \n\t 123", "")
NO_CONTEXT_LIMIT = 1 << 20
DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>")
"""How models without a bos spell what stood between the documents they were trained on."""


@dataclass(eq=False)
class LM:
    """A causal language model with its tokenizer.

    Attributes:
        model: a transformers model with a head that gives the next token.
        tokenizer: its fast tokenizer.
        vocab: the same tokenizer as bytes.
        name: what errors and reports call it.
    """

    model: "torch.nn.Module"
    tokenizer: object
    vocab: Vocab
    name: str = ""

    @classmethod
    def open(
        cls, source: "str | Path | tuple | LM", *, device: str | None = None, dtype: str | torch.dtype | None = None
    ) -> "LM":
        """Open a model and check that it can be used.

        Args:
            source: hub name, folder, `.gguf` file, a pair (model, tokenizer), or an LM (returned as it is).
            device: where it runs; None takes CUDA when there is one, else the CPU. Moves given objects only if named.
            dtype: its number type; None means float32 on a CPU and the stored type elsewhere; "auto" the stored type.

        Raises:
            FileNotFoundError: no such folder, no tokenizer or weights in it, a hub name while the hub is off or away.
            ValueError: not a causal language model, an unknown architecture, fewer rows than ids, NaN or infinite
                weights, missing weights.
        """
        if isinstance(source, LM):
            return source
        if isinstance(source, tuple):
            model, tokenizer = source
            name = getattr(getattr(model, "config", None), "_name_or_path", "") or type(model).__name__
            model = model.to(device) if device else model
            model = model.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype) if dtype else model
        else:
            name = str(source)
            model, tokenizer = load_pair(source, device=device, dtype=dtype)
        vocab = Vocab.open(tokenizer)
        check_model(model, vocab.size, name)
        return cls(model, tokenizer, vocab, name)

    @property
    def device(self) -> torch.device:
        """Where its embedding lies."""
        return self.model.get_input_embeddings().weight.device

    @cached_property
    def bos(self) -> int | None:
        """The id its tokenizer puts in front of a text; None when it puts nothing."""
        spoken = (token.decode("utf-8", "replace") for token in self.vocab.tokens if token)
        for text in ("a", *islice(spoken, 100)):  # a small vocabulary may lack "a", and then nothing can be told
            marked = list(self.tokenizer(text)["input_ids"])
            plain = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
            if plain:
                break
        for size in range(len(marked) - len(plain) + 1):
            if marked[size : size + len(plain)] == plain:
                return int(marked[size - 1]) if size else None
        return None

    @cached_property
    def start(self) -> int:
        """The id from which the first token of a text is predicted.

        `bos`; where the tokenizer puts none in front, the token that separates documents in such models: the one spelt
        as in `DOCUMENT_ENDS` (a chat model declares the end of a turn as its eos), else the declared eos, else bos.

        Raises:
            ValueError: if the tokenizer has none of them.
        """
        specials = {self.vocab.literal(number): number for number in self.vocab.special_ids}
        spelt = (specials.get(literal) for literal in DOCUMENT_ENDS)
        declared = (self.vocab.specials.get(role) for role in ("eos", "bos", "cls", "pad"))
        found = next((number for number in (self.bos, *spelt, *declared) if number is not None), None)
        if found is None:
            raise ValueError(
                f"{self.name}: its tokenizer declares neither bos nor eos, so nothing can stand before a text. "
                "Set one: tokenizer.bos_token = '...'."
            )
        return found

    @cached_property
    def context(self) -> int:
        """Most positions the model was made for; 2**20 when its configuration sets no bound."""
        return context_of(self.model)

    @cached_property
    def adds_space(self) -> bool:
        """Whether encoding puts a space of its own in front of a text (SentencePiece's dummy prefix)."""
        return self.vocab.decode_bytes(self.vocab.encode(["a"])[0]).startswith(b" ")

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids (T,) of each text, `bos` first where the model expects it."""
        found = self.vocab.encode(list(texts))
        if self.bos is None:
            return found
        head = np.array([self.bos], dtype=np.uint32)
        return [np.concatenate([head, ids]) for ids in found]

    def nll(self, texts: Sequence[str], *, batch_tokens: int = 4096) -> list[np.ndarray]:
        """Negative log-likelihood in nats of every token of each text, the start token not counted.

        Texts beyond the context are scored in overlapping windows, each token once, with at least half a context
        before it.

        Returns:
            Per text a float64 array (T,) along `vocab.encode(texts)`.
        """
        _check_texts(texts)
        return self._nats(self.vocab.encode(list(texts)), batch_tokens)

    def score(
        self, documents: Iterable[str], *, max_bytes: int, batch_tokens: int = 4096, progress: object = None
    ) -> Scores:
        """Score documents in pieces of at most `max_bytes` bytes, so that every tokenizer sees equal context in BYTES.

        Each piece stands after the start token. Where the tokenizer adds a space of its own, a piece that opens with
        one gives its own away: the tokens then spell exactly the text.

        Args:
            documents: texts; may be a stream.
            max_bytes: at least 4; best a size that fits the context of every model compared.
            batch_tokens: padded tokens in one forward pass.
            progress: a `core.runs.Progress` (or anything with `add(n)`) that counts scored bytes.

        Returns:
            Scores, one entry a document, in order.
        """
        _check_texts(documents)
        nats, n_bytes, n_tokens = [], [], []

        def finish(group: list[str]) -> None:
            pieces, owners = [], []
            for owner, document in enumerate(group):
                cut = segments(document, max_bytes)
                pieces += [p[1:] if self.adds_space and len(p) > 1 and p[0] == " " else p for p in cut]
                owners += [owner] * len(cut)
            ids = self.vocab.encode(pieces)
            sums = np.array([values.sum() for values in self._nats(ids, batch_tokens, pieces, progress)])
            owners = np.array(owners, dtype=np.int64)
            nats.append(np.bincount(owners, weights=sums, minlength=len(group)))
            sizes = np.array([len(piece) for piece in ids], dtype=np.int64)
            n_tokens.append(np.bincount(owners, weights=sizes, minlength=len(group)).astype(np.int64))
            n_bytes.append(np.array([len(document.encode()) for document in group], dtype=np.int64))

        group, size = [], 0
        for document in documents:
            group.append(document)
            size += len(document)
            if size >= DOCUMENTS_BYTES:
                finish(group)
                group, size = [], 0
        if group or not nats:
            finish(group)
        return Scores(np.concatenate(nats), np.concatenate(n_bytes), np.concatenate(n_tokens))

    def generate(self, prompt: str, *, max_new_tokens: int, temperature: float = 0.0, seed: int = 0) -> str:
        """Continue a prompt; returns prompt and continuation as one text.

        Args:
            prompt: may be empty.
            max_new_tokens: most tokens to add; the model may end earlier.
            temperature: 0 takes the likeliest token, above 0 samples from the whole distribution.
            seed: of the sampling; the global generator is left alone.
        """
        from tokenry.models.generation import generate

        return generate(self, prompt, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)

    def hidden_states(self, ids: Tensor) -> tuple[Tensor, ...]:
        """Hidden states (B, T, D) of ids (B, T): after the embedding, then after each layer; no gradient."""
        with torch.inference_mode():
            return self.model(input_ids=ids.to(self.device), output_hidden_states=True, use_cache=False).hidden_states

    def flops_per_token(self, *, length: int = 256) -> float:
        """Floating-point operations of training on one token in sequences of `length` (see `training.flops`)."""
        from tokenry.models.training import flops

        return flops(self.model, 1, length=length)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write a folder that AutoTokenizer and the Auto class of the model's kind open, and reopen it to check.

        Raises:
            FileExistsError: the folder exists and `overwrite` is off.
            ValueError: what was written does not reopen as the same model; nothing is left behind.
        """
        from tokenry.core.runs import atomic_folder

        with atomic_folder(Path(folder), overwrite=overwrite) as beside:
            with quiet_library():
                self.model.save_pretrained(beside)
                self.tokenizer.save_pretrained(beside)
            self._check_copy(beside)
        return Path(folder)

    def _nats(
        self, ids: list[np.ndarray], batch_tokens: int, pieces: list[str] | None = None, progress: object = None
    ) -> list[np.ndarray]:
        def advance(batch: list) -> None:
            share = ((w.n_scored / len(ids[w.owner]), pieces[w.owner]) for w in batch)
            progress.add(round(sum(part * len(text.encode()) for part, text in share)))

        return text_nats(
            self.model,
            ids,
            start=self.start,
            context=self.context,
            batch_tokens=batch_tokens,
            on_batch=advance if progress is not None else None,
        )

    def _check_copy(self, folder: Path) -> None:
        """Compare tokenizer and logits of a written folder with this model."""
        model, tokenizer = load_folder(folder, device=str(self.device), dtype=self.model.dtype)
        check_model(model, self.vocab.size, str(folder))
        for text in PROBES:
            if tokenizer(text)["input_ids"] != self.tokenizer(text)["input_ids"]:
                raise ValueError(f"{folder}: its tokenizer reopened with other ids for {text!r}; it was not saved.")
        probe_BT = torch.arange(8, device=self.device)[None] % self.vocab.size
        was_training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            ours = self.model(input_ids=probe_BT, use_cache=False).logits
            theirs = model(input_ids=probe_BT, use_cache=False).logits
        self.model.train(was_training)
        if not torch.allclose(ours.double(), theirs.double(), rtol=1e-4, atol=1e-4):
            raise ValueError(
                f"{folder}: the reopened model gives other logits (largest difference "
                f"{float((ours - theirs).abs().max()):.3g}); it was not saved. Something changed beside the weights: "
                "make model.config say what the model is (tie_word_embeddings, rope, sizes)."
            )


def _check_texts(texts: object) -> None:
    if isinstance(texts, str):
        raise ValueError("Got one string where texts are scored; need a list. Put it in brackets: [text].")


def context_of(model: "torch.nn.Module") -> int:
    """Most positions a model was made for; 2**20 when its configuration sets no bound."""
    config = model.config.get_text_config()
    for key in ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"):
        if isinstance(getattr(config, key, None), int):
            return getattr(config, key)
    return NO_CONTEXT_LIMIT


def load(source: object, *, device: str | None = None, dtype: str | torch.dtype | None = None) -> LM:
    """Open a causal language model: `LM.open`."""
    return LM.open(source, device=device, dtype=dtype)


def tokenizer_of(vocab: Vocab) -> object:
    """The library's tokenizer object for a Vocab, made through the files that `vocab.to_hf` writes."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder, quiet_library():
        vocab.to_hf(folder)
        return AutoTokenizer.from_pretrained(folder)
