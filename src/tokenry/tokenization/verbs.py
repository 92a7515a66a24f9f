"""What the tokenizer verbs write: a folder AutoTokenizer opens, its report, and run.json, all or nothing."""

from pathlib import Path

from tokenry.core.report import Report, TokenSample
from tokenry.core.runs import atomic_folder, write_run
from tokenry.core.vocab import Kind, Vocab

_KIND_NAMES = {Kind.NORMAL: "normal", Kind.BYTE: "byte", Kind.SPECIAL: "special", Kind.UNUSED: "unused"}


def train_to_folder(
    source: list[str], out: Path, *, reading: dict, overwrite: bool = False, like: str | None = None, **options
) -> Report:
    """Train a tokenizer on `source` and write it to `out`; returns a Report of what was made.

    Args:
        source: paths as `core.tables.stream` takes them.
        out: folder to create; refused when it exists unless `overwrite`.
        reading: `limit`, `text`, `skip_bad` of the reader.
        like: tokenizer whose pre-tokeniser, normaliser and specials are kept.
        options: the keywords of `tokenization.train.train`.

    Raises:
        ValueError, FileNotFoundError: from reading or training. FileExistsError: `out` exists.
    """
    from tokenry.tokenization.train import train

    with atomic_folder(out, overwrite=overwrite) as folder:
        model = Vocab.open(like) if like else None
        vocab = train(source, like=model, **reading, **options)
        vocab.to_hf(folder)
        write_run(
            folder, verb="tokenizer train", arguments={**options, "like": like, **reading}, seed=None, inputs=source
        )
    facts = {
        "vocab_size": vocab.size,
        "n_merges": len(vocab.merges),
        "family": vocab.family,
        "fingerprint": vocab.fingerprint,
        "folder": str(out),
    }
    return Report(kind="tokenizer-train", title=f"Tokenizer of {vocab.size:,} entries", facts=facts)


def extend_to_folder(
    tokenizer: str, source: list[str], out: Path, *, reading: dict, overwrite: bool = False, **options
) -> Report:
    """Extend `tokenizer` by tokens learned from `source`, write it to `out`, and return the Extension's Report."""
    from tokenry.tokenization.extend import extend

    with atomic_folder(out, overwrite=overwrite) as folder:
        extension = extend(Vocab.open(tokenizer), source, **reading, **options)
        extension.vocab.to_hf(folder)
        extension.report.save(folder / "report")
        write_run(
            folder, verb="tokenizer extend", arguments={**options, **reading}, seed=None, inputs=[tokenizer, *source]
        )
    extension.report.facts["folder"] = str(out)
    return extension.report


def split_report(tokenizer: str, text: str) -> Report:
    """How `tokenizer` cuts `text`: one row a token with id, text, bytes and kind, and the tokens in colour."""
    import pyarrow as pa

    vocab = Vocab.open(tokenizer)
    ids = [int(i) for i in vocab.encode([text])[0]]
    pieces = [vocab.tokens[i] for i in ids]
    shown = [
        vocab.literal(i) if p is None else p.decode("utf-8", "backslashreplace")
        for i, p in zip(ids, pieces, strict=True)
    ]
    table = pa.table(
        {
            "id": ids,
            "token": shown,
            "bytes": ["" if p is None else p.hex(" ") for p in pieces],
            "kind": [_KIND_NAMES[int(vocab.kinds[i])] for i in ids],
        }
    )
    n_bytes = len(text.encode())
    facts = {
        "n_tokens": len(ids),
        "n_bytes": n_bytes,
        "bytes_per_token": n_bytes / len(ids) if ids else 0.0,
        "round_trip": vocab.decode(ids) == text,
    }
    return Report(
        kind="tokenizer-split",
        title=f"{vocab.name or tokenizer}: {len(ids)} tokens",
        facts=facts,
        tables={"tokens": table},
        samples=[TokenSample(title="tokens", rows=[(vocab.name or "text", shown)])],
    )
