"""Small real files of every tokenizer format, and what opening a damaged one may do."""

import base64
import json
import lzma
import tempfile
import warnings
from functools import cache
from pathlib import Path

from sample_vocabularies import byte_level_json, ranks, sentencepiece_model
from test_format_gguf import write_byte_level

from tokenry.core.vocab import Vocab

NAMES = ("tokenizer.json", "x.tiktoken", "tekken.json", "x.model", "vocab.txt", "x.gguf", "merges.txt", "x.json.xz")
EXPECTED = (ValueError, FileNotFoundError, ImportError)
SMALL_VOCAB = {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ġa": 4}


@cache
def contents() -> tuple[bytes, ...]:
    """A valid file for each of `NAMES`."""
    spec = json.loads(byte_level_json(size=270))
    table = "".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks(spec).items())
    tokens = [bytes([byte]) for byte in range(256)] + [b"ab"]
    tekken = {
        "config": {"pattern": r"\w+|\s", "default_vocab_size": 260, "default_num_special_tokens": 3},
        "vocab": [{"rank": i, "token_bytes": base64.b64encode(token).decode()} for i, token in enumerate(tokens)],
    }
    text = json.dumps(spec).encode()
    with tempfile.TemporaryDirectory() as folder:
        gguf = write_byte_level(Path(folder) / "x.gguf", "gpt2", "gpt-2").read_bytes()
    words = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##b\nab\n"
    merges = "#version: 0.2\na b\nĠ a\n".encode()
    model = sentencepiece_model("bpe", vocab_size=700)
    return (text, table.encode(), json.dumps(tekken).encode(), model, words, gguf, merges, lzma.compress(text))


def open_file(name: str, content: bytes, folder: Path) -> str:
    """Open one file and encode with it; returns what came out: "Vocab", or the name of an expected error.

    The folder is empty again afterwards.
    """
    target = folder / name
    target.write_bytes(content)
    if name == "merges.txt":
        (folder / "vocab.json").write_text(json.dumps(SMALL_VOCAB))
        target = folder
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Vocab.open(target).encode(["a b"])
        return "Vocab"
    except EXPECTED as error:
        if isinstance(error, UnicodeError):
            raise  # a ValueError by descent, but no sentence
        return type(error).__name__
    finally:
        for left in folder.iterdir():
            left.unlink()
