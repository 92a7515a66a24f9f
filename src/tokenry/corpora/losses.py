"""What several models think of every document: negative log-likelihoods as signals, one sidecar for each model.

The same table serves predictive strength, perplexity filters, differences of models (Moore-Lewis, RHO) and tokenizer
comparisons. Nats are kept, with the characters and bytes they are to be divided by: models with other tokenizers
compare per character (one language) or per byte (several scripts).

Papers: Predictive Data Selection (arXiv 2503.00808) for the use; Language Modeling is Compression (arXiv 2309.10668)
for bits per byte.
"""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import suggest
from tokenry.core.hashing import fingerprint
from tokenry.core.intervals import ratio_interval
from tokenry.core.report import Report
from tokenry.core.runs import describe_input
from tokenry.corpora.engine import Engine, Mapped, open_engine, read_mapped
from tokenry.corpora.sidecars import columns_of, read_signals
from tokenry.corpora.units import Reading

if TYPE_CHECKING:
    from tokenry.models.lm import LM

__all__ = ["Losses", "Windows", "document_losses", "document_nats", "losses_report", "read_losses"]

# Axes: D documents, N models.

SIZES = "sizes"
_NAME = re.compile(r"[a-z0-9_][a-z0-9_-]*")


@dataclass(frozen=True)
class Windows:
    """How a model reads documents.

    Attributes:
        context: most positions of a window, start token included; None for what the model was made for, 2048 at most.
        stride: new tokens in each window after the first; None for half a window. Every token is scored once and sees
            at least context - stride positions before it; 1 costs a pass for each token and gives the most context.
        batch_tokens: padded tokens in one pass.
        device: where the model runs; None takes a GPU when there is one.
        dtype: its number type; logits are reduced in float32 or better whatever it is.
    """

    context: int | None = None
    stride: int | None = None
    batch_tokens: int = 4096
    device: str | None = None
    dtype: str | None = None


@dataclass(frozen=True, eq=False)
class Losses:
    """The table of losses of a corpus.

    Attributes:
        ids: of the documents (D,).
        models: names (N,).
        nats_DN: negative log-likelihood; nan where a document has no text.
        chars_D, bytes_D: sizes of the texts.
        sources: of the documents (D,).
        sizes: the sidecar whose rows these are.
    """

    ids: list[str]
    models: list[str]
    nats_DN: np.ndarray
    chars_D: np.ndarray
    bytes_D: np.ndarray
    sources: list[str]
    sizes: Mapped

    def bits(self, per: str = "chars", *, shortest: int = 0) -> np.ndarray:
        """Bits per character or per byte (D, N); nan for documents of fewer than `shortest` characters."""
        if per not in ("chars", "bytes"):
            raise ValueError(f"bits per {per!r}; need chars (one language) or bytes (several scripts).")
        size_D = (self.chars_D if per == "chars" else self.bytes_D).astype(np.float64)
        size_D[(size_D == 0) | (self.chars_D < shortest)] = np.nan
        return self.nats_DN / np.log(2) / size_D[:, None]


def document_nats(lm: "LM", texts: list[str], *, windows: Windows = Windows()) -> tuple[np.ndarray, np.ndarray]:
    """Negative log-likelihood of whole documents, each alone after the start token.

    (The PreSelect release reads one stream of all documents, so that a document sees the end of the one before.)

    Returns:
        nats (D,) float64 and scored tokens (D,) int64; both 0 for an empty text.

    Raises:
        ValueError: a context below 2.
    """
    from tokenry.models.scoring import text_nats

    context = windows.context or min(lm.context, 2048)
    if context < 2:
        raise ValueError(f"a context of {context}; need 2 positions, the start and a token.")
    ids = lm.vocab.encode(texts)
    found = text_nats(
        lm.model, ids, start=lm.start, context=min(context, lm.context), stride=windows.stride,
        batch_tokens=windows.batch_tokens,
    )  # fmt: skip
    return np.array([one.sum() for one in found]), np.array([len(one) for one in ids], np.int64)


def losses_of(batch: pa.RecordBatch, lm: "LM", *, name: str, windows: Windows) -> pa.RecordBatch:
    """`id`, `loss.NAME.nats` and `loss.NAME.tokens` of a batch, possibly none; null for a document without a text."""
    texts = batch.column("text").to_pylist()
    nats_D, tokens_D = document_nats(lm, [text or "" for text in texts], windows=windows) if texts else ([], [])
    missing = np.array([text is None for text in texts], bool)
    version = {"version": "1"}
    fields = [pa.field("id", pa.string()), pa.field(f"loss.{name}.nats", pa.float64(), metadata=version),
              pa.field(f"loss.{name}.tokens", pa.int64(), metadata=version)]  # fmt: skip
    arrays = [batch.column("id").cast(pa.string()), pa.array(nats_D, pa.float64(), mask=missing),
              pa.array(tokens_D, pa.int64(), mask=missing)]  # fmt: skip
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def sizes_of(batch: pa.RecordBatch) -> pa.RecordBatch:
    """`id`, `loss.chars`, `loss.bytes`, `loss.source` of a batch."""
    import pyarrow.compute as pc

    text, names = batch.column("text"), ["id", "loss.chars", "loss.bytes", "loss.source"]
    sizes = [pc.fill_null(count(text), 0).cast(pa.int64()) for count in (pc.utf8_length, pc.binary_length)]
    source = batch.column("source").cast(pa.string())
    return pa.RecordBatch.from_arrays([batch.column("id").cast(pa.string()), *sizes, source], names=names)


def document_losses(
    source: object,
    models: Mapping[str, str | Path],
    out: str | Path,
    *,
    windows: Windows = Windows(),
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
) -> list[Mapped]:
    """Score every document with every model, one model after the other.

    Args:
        source: documents.
        models: name (lower case) -> hub name or folder.
        out: gets a sidecar for each model, `OUT/NAME`, and `OUT/sizes`. Those that are there from an earlier run of
            the same documents, model files and settings are left, so a model can be added.
        windows: how documents are cut.
        reading: how they are read.
        engine: every worker loads the model.

    Raises:
        ValueError: a name that cannot be part of a signal's name; a sidecar there was made otherwise.
    """
    if not models or (wrong := [name for name in models if not _NAME.fullmatch(name) or name == SIZES]):
        raise ValueError(
            f"models named {', '.join(wrong) if models else 'not at all'}; need NAME=PATH, the name in lower case "
            "letters, digits, _ and -."
        )
    engine = open_engine(engine)

    def run(name: str, function: Callable, *, key: str, setup: Callable | None = None) -> Mapped:
        folder = Path(out) / name
        if folder.exists():
            there = read_mapped(folder)
            if there.key == key:
                return there
            raise ValueError(
                f"{folder} is there, of other documents, models or settings. Give another --out, or remove it."
            )
        return engine.map(source, function, folder, key=key, setup=setup, reading=reading, label=f"loss: {name}")

    described = [reading.text, reading.skip_bad, describe_input(source)]
    made = [run(SIZES, sizes_of, key=fingerprint("loss sizes", 2, described))]
    for name, path in models.items():
        how = [windows.context, windows.stride, windows.dtype]
        function = functools.partial(losses_of, name=name, windows=windows)
        setup = functools.partial(_open, str(path), windows.device, windows.dtype)
        key = fingerprint("losses", 2, described, name, describe_input(path), how)
        made.append(run(name, function, key=key, setup=setup))
    return made


def _open(path: str, device: str | None, dtype: str | None) -> "LM":
    from tokenry.models.lm import LM

    return LM.open(path, device=device, dtype=dtype)


def read_losses(folder: str | Path, models: list[str] | None = None) -> Losses:
    """The whole table of losses; numbers fit where texts do not.

    Args:
        folder: the `out` of `document_losses`.
        models: which, in this order; None takes all by name.

    Raises:
        FileNotFoundError: there are no losses. ValueError: an unknown model, or sidecars of other documents.
    """
    folder = Path(folder)
    there = sorted(one.name for one in folder.iterdir() if (one / "manifest.json").is_file()) if folder.is_dir() else []
    known = [name for name in there if name != SIZES and f"loss.{name}.nats" in columns_of([folder / name])]
    if SIZES not in there or not known:
        raise FileNotFoundError(f"no losses in {folder}. Make them: tokenry corpus losses DOCS --model NAME=PATH.")
    for name in models or ():
        if name not in known:
            raise ValueError(f"no losses of {name!r} in {folder}.{suggest(name, known)} There are: {', '.join(known)}.")
    sizes, columns = read_signals(folder / SIZES), []
    for name in models or known:
        table = read_signals(folder / name, [f"loss.{name}.nats"])
        if table.column("id") != sizes.column("id"):
            raise ValueError(f"{folder / name} was made from other documents than {folder / SIZES}. Score them again.")
        columns.append(table.column(1).to_numpy(zero_copy_only=False).astype(np.float64))
    return Losses(
        sizes.column("id").to_pylist(), list(models or known), np.column_stack(columns),
        sizes.column("loss.chars").to_numpy(), sizes.column("loss.bytes").to_numpy(),
        sizes.column("loss.source").to_pylist(), read_mapped(folder / SIZES),
    )  # fmt: skip


def losses_report(losses: Losses) -> Report:
    """Bits per byte and per character of every model over the corpus, the best first."""
    report = Report("corpus losses", "what the models think of the documents", facts={"documents": len(losses.ids)})
    rows = []
    for place, name in enumerate(losses.models):
        known_D = ~np.isnan(losses.nats_DN[:, place])
        bits_D = losses.nats_DN[known_D, place] / np.log(2)
        if not losses.bytes_D[known_D].sum():
            continue
        per_byte = ratio_interval(bits_D, losses.bytes_D[known_D])
        rows.append({"model": name, "bits per byte": per_byte.value, "low": per_byte.low, "high": per_byte.high,
                     "bits per character": float(bits_D.sum() / losses.chars_D[known_D].sum())})  # fmt: skip
    report.tables["models"] = pa.Table.from_pylist(sorted(rows, key=lambda row: row["bits per byte"]))
    return report
