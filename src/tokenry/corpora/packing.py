"""Turn documents into arrays of token ids that training maps from disk, and take them apart again.

A packed corpus is a folder: `packed.json` (what it is), `tokenizer/` (opens anywhere), and for each shard a folder with
`ids.npy`, `offsets.npy` (see `core.shards`) and `documents.parquet` (id and source of each document). Any program reads
`numpy.load(".../ids.npy", mmap_mode="r")`; ours draws batches from `models.batches.PackedShards`.

Paper: Dolma: an Open Corpus of Three Trillion Tokens for Language Model Pretraining Research (arXiv 2402.00159), the
toolkit's `tokens`. Its arrays have no header and its index is compressed text; ours are .npy with an index in .npy.
"""

import functools
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.hashing import fingerprint, stable_hash
from tokenry.core.report import Report
from tokenry.core.runs import atomic_folder, atomic_write, check_folder, describe_input, write_run
from tokenry.core.shards import MANIFEST, ShardWriter, kind_of, read_manifest, read_shard
from tokenry.core.vocab import Vocab
from tokenry.corpora.engine import Engine, Mapped, map_once, open_engine
from tokenry.corpora.units import Reading

__all__ = ["ENDS", "Packing", "pack_corpus", "unpack"]

ENDS = ("eos", "bos", "both", "none")
_ROLES = {"eos": ("eos",), "bos": ("bos",), "both": ("bos", "eos"), "none": ()}
_WRITTEN_ROWS = 1024


@dataclass(frozen=True)
class Packing:
    """How documents become arrays.

    Attributes:
        ends: what stands around each document: "eos" behind it, "bos" before it, "both" or "none".
        shuffled: documents in a random order over the whole corpus; else in its own.
        shard_tokens: a shard ends with the document that passes this.
        length: `ids.npy` has rows of so many tokens, and the end of a shard is padded; None writes one flat array. A
            document may run over several rows.
        special: a special token that is written in a text becomes this token; else it is plain text, so that no
            document can end itself.
        seed: of the order.
    """

    ends: str = "eos"
    shuffled: bool = True
    shard_tokens: int = 1 << 28
    length: int | None = None
    special: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ends not in ENDS:
            raise ValueError(f"ends={self.ends!r}; need one of {', '.join(ENDS)}.")
        if self.shard_tokens < 1 or (self.length is not None and self.length < 2):
            raise ValueError(
                f"shards of {self.shard_tokens} tokens, rows of {self.length}; need at least 1, and rows of at least "
                "2 tokens (one to see, one to learn)."
            )

    def marks(self, vocab: Vocab) -> tuple[int | None, int | None]:
        """The ids before and behind each document, None for none.

        Raises:
            ValueError: the vocabulary has no such token.
        """
        roles = _ROLES[self.ends]
        if missing := [role for role in roles if role not in vocab.specials]:
            have = ", ".join(f"{role} {vocab.literal(one)}" for role, one in vocab.specials.items()) or "none"
            raise ValueError(
                f"{vocab.name} has no {missing[0]} token (it has {have}). Take another of --ends {', '.join(ENDS)}."
            )
        return tuple(vocab.specials[role] if role in roles else None for role in ("bos", "eos"))


def pack_corpus(
    source: object,
    out: str | Path,
    *,
    tokenizer: object,
    packing: Packing = Packing(),
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
) -> Report:
    """Encode every document and write the ids as shards; the folder appears whole or not at all.

    Encoding runs on the engine and goes on where it was cut off, by the same call. Documents without a text are
    counted and left out: they would be ends of nothing.

    Args:
        source: documents, as `core.tables.stream` reads them.
        out: the folder to make.
        tokenizer: what `Vocab.open` opens.
        packing: how.
        reading: how the documents are read.
        engine: an engine or its name.

    Raises:
        ValueError: the vocabulary lacks a token that shall stand around documents. FileExistsError: `out` is there.
    """
    engine, target = open_engine(engine), Path(out)
    check_folder(target.parent)
    if target.exists():
        raise FileExistsError(f"{out} exists already. Give another --out, or remove it first.")
    vocab = Vocab.open(tokenizer)
    marks = packing.marks(vocab)
    settings = (packing.ends, packing.shuffled, packing.special, packing.seed if packing.shuffled else 0)
    key = fingerprint("pack", 1, vocab.fingerprint, settings, reading.text, reading.skip_bad, describe_input(source))
    scratch = target.parent / f".{target.name}.packing"
    encoder = functools.partial(encode_batch, packing=packing)
    reading = replace(reading, columns=())
    mapped = map_once(engine, source, encoder, out=scratch / "ids", key=key, reading=reading, label="encoding",
                      setup=functools.partial(Vocab.open, vocab))  # fmt: skip
    files = mapped.parts
    if packing.shuffled:
        files = [scratch / "shuffled.parquet"]
        engine.sort(mapped.folder, ["order"], files[0], drop=True)
    with atomic_folder(target) as part:
        shards, n_left_out = _write_shards(files, part, vocab, packing)
        record = _record(vocab, packing, shards, marks=marks, n_documents=mapped.n_out)
        atomic_write(part / MANIFEST, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        vocab.to_hf(part / "tokenizer")
        told = {**packing.__dict__, "tokenizer": vocab.name, "fingerprint": vocab.fingerprint}
        write_run(part, verb="corpus pack", arguments=told, seed=packing.seed, inputs=[source])
    shutil.rmtree(scratch)
    return _report(record, mapped, n_left_out)


def encode_batch(batch: pa.RecordBatch, vocab: Vocab, *, packing: Packing) -> pa.RecordBatch:
    """Ids of each document of a batch, possibly none, as bytes; null where there is no text; and its place in the
    order."""
    kind, (before, behind) = kind_of(vocab.size), packing.marks(vocab)
    head, tail = (np.array([] if one is None else [one], kind) for one in (before, behind))
    texts = batch.column("text").cast(pa.string()).to_pylist()
    rows = [row for row, text in enumerate(texts) if text]
    made: list[bytes | None] = [None] * len(texts)
    for row, ids in zip(rows, vocab.encode([texts[row] for row in rows], plain=not packing.special), strict=True):
        made[row] = np.concatenate([head, ids.astype(kind), tail]).tobytes() if len(ids) else None
    columns = {"id": batch.column("id"), "source": batch.column("source"), "ids": pa.array(made, pa.binary())}
    if packing.shuffled:
        # Of equal hashes the documents are equal, too, and then their order does not matter.
        order = [stable_hash(f"{packing.seed} {name} ".encode() + (ids or b""))
                 for name, ids in zip(batch.column("id").to_pylist(), made, strict=True)]  # fmt: skip
        columns["order"] = pa.array(np.array(order, np.uint64).view(np.int64))
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _write_shards(files: list[Path], out: Path, vocab: Vocab, packing: Packing) -> tuple[list[dict], int]:
    """The shards of all documents, in order; and how many documents were left out."""
    import pyarrow.parquet as pq

    shards, n_left_out, shard = [], 0, None
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=_WRITTEN_ROWS):
            n_left_out += batch.column("ids").null_count
            batch = batch.filter(batch.column("ids").is_valid())
            while batch.num_rows:
                shard = shard or _Shard(out / f"shard-{len(shards):05d}", vocab.size, packing, vocab.specials)
                batch = batch.slice(shard.add(batch))
                if shard.is_full:
                    shards.append(shard.close())
                    shard = None
    if shard is not None:
        shards.append(shard.close())
    return shards, n_left_out


class _Shard:
    """One shard being written: arrays of ids, and a table of whose they are."""

    def __init__(self, folder: Path, vocab_size: int, packing: Packing, specials: dict[str, int]) -> None:
        import pyarrow.parquet as pq

        folder.mkdir()
        self._room, self._folder = packing.shard_tokens, folder
        self._ids = ShardWriter(folder, vocab_size=vocab_size, length=packing.length, pad=specials.get("pad", 0))
        schema = pa.schema([("id", pa.string()), ("source", pa.string())])
        self._names = pq.ParquetWriter(folder / "documents.parquet", schema, compression="zstd")

    @property
    def is_full(self) -> bool:
        return self._ids.n_tokens >= self._room

    def add(self, batch: pa.RecordBatch) -> int:
        """Write documents of a batch up to the one that fills the shard; how many they were."""
        import pyarrow.compute as pc

        ids, itemsize = batch.column("ids"), self._ids.kind.itemsize
        sizes = pc.binary_length(ids).to_numpy() // itemsize
        n = min(int(np.searchsorted(self._ids.n_tokens + np.cumsum(sizes), self._room)) + 1, len(sizes))
        first = np.frombuffer(ids.buffers()[1], np.int32)[ids.offset]
        n_ids = int(sizes[:n].sum())
        self._ids.add(np.frombuffer(ids.buffers()[2], self._ids.kind, n_ids, first), sizes[:n])
        self._names.write_batch(batch.slice(0, n).select(["id", "source"]))
        return n

    def close(self) -> dict[str, object]:
        self._ids.close()
        self._names.close()
        return {"name": self._folder.name, "documents": self._ids.n_documents, "tokens": self._ids.n_tokens}


def _record(
    vocab: Vocab, packing: Packing, shards: list[dict], *, marks: tuple[int | None, int | None], n_documents: int
) -> dict[str, object]:
    return {
        "format": 1,
        "vocabulary": {"name": vocab.name, "size": vocab.size, "fingerprint": vocab.fingerprint},
        "dtype": kind_of(vocab.size).name,
        "bos": marks[0],
        "eos": marks[1],
        "pad": vocab.specials.get("pad", 0),
        "length": packing.length,
        "order": f"shuffled with seed {packing.seed}" if packing.shuffled else "of the corpus",
        "special tokens in texts": "matched" if packing.special else "plain text",
        "read": n_documents,
        "documents": sum(shard["documents"] for shard in shards),
        "tokens": sum(shard["tokens"] for shard in shards),
        "shards": shards,
    }


def _report(record: dict, mapped: Mapped, n_left_out: int) -> Report:
    n_marks = sum(record[name] is not None for name in ("bos", "eos"))
    facts = {
        "documents": record["documents"], "tokens": record["tokens"],
        "tokens a document": round(record["tokens"] / max(1, record["documents"]) - n_marks, 2),
        "without a text": n_left_out, **mapped.losses, "dtype": record["dtype"], "order": record["order"],
        "vocabulary": f"{record['vocabulary']['name']} ({record['vocabulary']['fingerprint']})",
    }  # fmt: skip
    warnings = [f"{n_left_out:,} documents without a text are left out."] if n_left_out else []
    return Report(
        kind="packing",
        title="Packed documents",
        facts=facts,
        tables={"shards": pa.Table.from_pylist(record["shards"])} if record["shards"] else {},
        verdict=f"{record['tokens']:,} tokens of {record['documents']:,} documents in {len(record['shards'])} shards.",
        warnings=warnings + [f"{n:,} {what}." for what, n in mapped.losses.items()],
        notes=["Tokens include those put around documents; 'tokens a document' does not."],
    )


def unpack(folder: str | Path) -> Iterator[tuple[str, np.ndarray]]:
    """Id and token ids of each document, as the tokenizer gave them: without what was put around.

    Raises:
        FileNotFoundError, ValueError: it is no packed corpus, or damaged.
    """
    import pyarrow.parquet as pq

    record = read_manifest(folder)
    head, tail = (record[name] is not None for name in ("bos", "eos"))
    for shard in record["shards"]:
        ids, offsets = read_shard(Path(folder) / shard["name"])
        names = pq.read_table(Path(folder) / shard["name"] / "documents.parquet", columns=["id"]).column("id")
        if len(names) != len(offsets) - 1:
            raise ValueError(f"{folder}/{shard['name']} names {len(names)} documents and holds {len(offsets) - 1}.")
        for name, first, last in zip(names.to_pylist(), offsets[:-1], offsets[1:], strict=True):
            yield name, ids[first + head : last - tail]
