"""The vocabulary inside a GGUF file (llama.cpp) as a spec: byte-level BPE, SentencePiece BPE, Unigram, WordPiece.

A GGUF names its pre-tokeniser instead of holding it; the names are mapped to the patterns of the original
tokenizers, whose NFC step (Qwen) is put back, though llama.cpp leaves it out.
"""

import lzma
import mmap
import struct
import warnings
from pathlib import Path

from tokenry.core.choosing import suggest
from tokenry.core.format_sentencepiece import CONTROL, UNKNOWN, UNUSED, USER_DEFINED, sentencepiece_spec
from tokenry.core.format_wordpiece import wordpiece_spec
from tokenry.core.gguf_header import read_metadata
from tokenry.core.hf_json import MAX_BYTES, added_tokens, bpe_model, template, whole_spec
from tokenry.core.patterns import LLAMA_CPP_NAMES, WHOLE_WORD_FIRST, byte_level, known, split_pretokenizer

_ROLE_KEYS = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",
    "pad": "padding_token_id",
    "cls": "cls_token_id",
    "mask": "mask_token_id",
}
_NFC = ("qwen2", "qwen35")


def spec_from_gguf(path: Path) -> tuple[dict, dict]:
    """The tokenizer of a GGUF file as (spec, config).

    Raises:
        ValueError: a damaged file, a file without a vocabulary, an unknown kind or pre-tokeniser.
    """
    fields = _read_fields(path)
    kind, tokens = fields.get("model"), fields.get("tokens")
    if not kind or not tokens:
        raise ValueError(f"{path} is a GGUF file without a vocabulary (tokenizer.ggml.tokens). Pass one that has it.")
    build = {"gpt2": _byte_level, "llama": _sentencepiece, "t5": _sentencepiece, "bert": _wordpiece}.get(kind)
    if build is None:
        raise ValueError(f"{path} has a tokenizer of kind {kind!r}; known are gpt2, llama, t5 and bert.")
    if len(set(tokens)) != len(tokens):
        raise ValueError(f"{path} holds the same token twice; need one entry for each string.")
    types = list(fields.get("token_type") or ())
    fields["token_type"] = types if len(types) == len(tokens) else [1] * len(tokens)
    config = {"chat_template": fields.get("chat_template")}
    for role, key in _ROLE_KEYS.items():
        i = fields.get(key)
        if isinstance(i, int) and 0 <= i < len(tokens):
            config[f"{role}_token"] = tokens[i]
    return build(fields, config, str(path))


def _read_fields(path: Path) -> dict:
    """The tokenizer.* metadata under the last part of their names."""
    try:
        if path.suffix == ".xz":
            with lzma.open(path) as packed:
                found = read_metadata(packed.read(MAX_BYTES), prefix="tokenizer.")
        else:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                found = read_metadata(view, prefix="tokenizer.")
    except (ValueError, struct.error, lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{path} is not a complete GGUF file: {error}. Fetch it again.") from None
    return {name.rsplit(".", 1)[-1]: value for name, value in found.items()}


def _byte_level(fields: dict, config: dict, where: str) -> tuple[dict, dict]:
    tokens, types = fields["tokens"], fields["token_type"]
    name = fields.get("pre")
    if name is None:
        warnings.warn(f"{where} does not name its pre-tokeniser; llama.cpp's default is used.", stacklevel=2)
        name = "default"
    if name not in LLAMA_CPP_NAMES:
        raise ValueError(
            f"{where} names the pre-tokeniser {name!r}, which is not known here.{suggest(name, LLAMA_CPP_NAMES)} "
            "Open the tokenizer.json of the original model instead."
        )
    ours = LLAMA_CPP_NAMES[name]
    special = {i: token for i, token in enumerate(tokens) if types[i] in (CONTROL, UNKNOWN)}
    literal = {i: token for i, token in enumerate(tokens) if types[i] == USER_DEFINED}
    spec = whole_spec(
        bpe_model(
            {token: i for i, token in enumerate(tokens)},
            [merge.split(" ") for merge in fields.get("merges") or []],
            ignore_merges=name in WHOLE_WORD_FIRST,
        ),
        added_tokens=[*added_tokens(special), *added_tokens(literal, special=False)],
        normalizer={"type": "NFC"} if ours in _NFC else None,
        pre_tokenizer=split_pretokenizer(known(ours)),
        post_processor=_around(fields, config, bos=name in WHOLE_WORD_FIRST) or byte_level(use_regex=False),
        decoder=byte_level(use_regex=False),
    )
    return spec, {**config, "unused_token_ids": _unused(types)}


def _unused(types: list[int]) -> list[int]:
    return [i for i, kind in enumerate(types) if kind == UNUSED]


def _around(fields: dict, config: dict, *, bos: bool = False, eos: bool = False) -> dict | None:
    """Special tokens around a text, where the file or, for older files, llama.cpp's default asks for them."""
    ends = []
    for role, default in (("bos", bos), ("eos", eos)):
        token = config.get(f"{role}_token")
        wanted = fields.get(f"add_{role}_token", default) and token is not None
        ends.append((token, fields["tokens"].index(token)) if wanted else None)
    return template(*ends) if any(ends) else None


def _sentencepiece(fields: dict, config: dict, where: str) -> tuple[dict, dict]:
    unigram = fields["model"] == "t5"
    scores, types = fields.get("scores"), fields["token_type"]
    if scores is None:
        raise ValueError(f"{where} has a {fields['model']} vocabulary without scores, so its merges cannot be told.")
    # The files spell user-defined pieces with spaces, all others with metaspaces.
    texts = [
        token.replace(" ", "▁") if kind == USER_DEFINED else token
        for token, kind in zip(fields["tokens"], types, strict=True)
    ]
    special = {i: text for i, text in enumerate(texts) if types[i] in (CONTROL, UNKNOWN)}
    spec, found = sentencepiece_spec(
        [(text, float(score), kind) for text, score, kind in zip(texts, scores, types, strict=True)],
        unigram=unigram,
        special=special,
        unknown=next((i for i, kind in enumerate(types) if kind == UNKNOWN), fields.get("unknown_token_id")),
        charsmap=bytes(fields.get("precompiled_charsmap") or b""),
        dummy_prefix=fields.get("add_space_prefix", True),
        squeeze=fields.get("remove_extra_whitespaces", False),
        config=config,
    )
    return {**spec, "post_processor": _around(fields, config, bos=not unigram, eos=unigram)}, found


def _wordpiece(fields: dict, config: dict, where: str) -> tuple[dict, dict]:
    """llama.cpp marks word starts with a metaspace and leaves the ## of continuations out."""

    def entry(token: str) -> str:
        if token.startswith("[") and token.endswith("]"):
            return token
        return token[1:] if token.startswith("▁") and token != "▁" else f"##{token}"

    named = {key: value for key, value in config.items() if value is not None}
    return wordpiece_spec([entry(token) for token in fields["tokens"]], where, named)
