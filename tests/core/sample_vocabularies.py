"""Small tokenizers in the native format of each library, trained on the sample texts within a second."""

import base64
import io
import json
from functools import cache
from pathlib import Path

import sentencepiece
from sample_texts import script_texts
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tokenry.core.alphabets import from_byte_level
from tokenry.core.patterns import known


@cache
def byte_level_json(pattern: str = "cl100k", size: int = 900) -> str:
    """The tokenizer.json of a byte-level BPE with one special token behind the vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    splits = [pre_tokenizers.Split(Regex(cut), "isolated") for cut in known(pattern)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(script_texts(), trainer)
    tokenizer.add_special_tokens(["<|end|>"])
    return tokenizer.to_str()


def ranks(spec: dict) -> dict[bytes, int]:
    """The ranks of a byte-level spec, special tokens left out."""
    special = {token["content"] for token in spec["added_tokens"]}
    return {from_byte_level(piece): i for piece, i in spec["model"]["vocab"].items() if piece not in special}


def write_ranks(path: Path, table: dict[bytes, int]) -> Path:
    """A tiktoken file."""
    path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in table.items()))
    return path


def write_json(folder: Path, spec: dict | str, **files: dict) -> Path:
    """A folder with tokenizer.json and any other JSON files, given as name=content without .json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(spec if isinstance(spec, str) else json.dumps(spec), encoding="utf-8")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


@cache
def sentencepiece_model(kind: str, **options: object) -> bytes:
    """A SentencePiece model of about 1,300 pieces, as its protobuf; options as its trainer names them."""
    out = io.BytesIO()
    settings = {
        "normalization_rule_name": "identity",
        "vocab_size": 1300,
        "character_coverage": 0.98,
        "hard_vocab_limit": False,
        "num_threads": 1,
        "minloglevel": 2,
        **options,
    }
    sentences = [text for text in script_texts() if text.strip()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=out, model_type=kind, **settings
    )
    return out.getvalue()
