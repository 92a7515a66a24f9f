"""Read and write the content of a Hugging Face `tokenizer.json`: entries, merges, roles, the folder around it.

Everything here works on the parsed dictionary (`spec`), without the tokenizers library.
"""

import json
import re
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tokenry.core.alphabets import byte_of_piece, from_byte_level, from_metaspace

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
MAX_BYTES = 256 * 2**20
MAX_IDS = 2**24
MAX_HOLES = 2**20

_UNUSED_NAME = re.compile(r"\[unused\d+\]|<unused\d+>|\[PAD\d+\]|\[UNUSED_TOKEN_\d+\]")
_KEPT_CONFIG = (
    "chat_template",
    "model_max_length",
    "padding_side",
    "truncation_side",
    "model_input_names",
    *("add_bos_token", "add_eos_token"),
    "extra_special_tokens",
    "unused_token_ids",
    "superwords",
)


@dataclass(frozen=True)
class Spec:
    """A tokenizer as read from any format.

    Attributes:
        spec: the content of an equivalent `tokenizer.json`.
        config: the content of `tokenizer_config.json`, completed from the files beside it.
        name: what to call it in messages and reports.
    """

    spec: dict
    config: dict
    name: str


@dataclass(frozen=True)
class Entries:
    """What a spec says about each id 0..V-1.

    Attributes:
        literals: stored string, None for a hole.
        data: bytes the id adds to a text, None for control tokens and unused ids.
        special: bool (V,), control tokens.
        byte: bool (V,), byte-fallback pieces such as "<0x0A>".
        scores: float64 (V,) or None.
    """

    literals: list[str | None]
    data: list[bytes | None]
    special: np.ndarray
    byte: np.ndarray
    scores: np.ndarray | None


def parse_json(data: bytes, where: str) -> dict:
    """Parse a JSON object of bounded size.

    Raises:
        ValueError: naming `where`, when it is over 256 MiB, not JSON or not an object.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"{where} holds {len(data):,} bytes; a tokenizer file has at most {MAX_BYTES:,}. Wrong file?")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON ({error}). Is the file complete, and is it a tokenizer?") from None
    if not isinstance(content, dict):
        raise ValueError(f"{where} holds a JSON {type(content).__name__}, a tokenizer file holds an object.")
    return content


_DAMAGE = (TypeError, KeyError, AttributeError, IndexError, UnicodeError, OverflowError, RecursionError, struct.error)


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn what a field of a wrong type or a cut-off file does to a reader into one sentence about the file.

    Raises:
        ValueError: for such an error inside the block; the reader's own errors pass.
    """
    try:
        yield
    except _DAMAGE as error:
        raise ValueError(
            f"{where} does not hold what its format promises ({type(error).__name__}: {str(error)[:200]}). Is it the "
            "complete file, as published? Fetch it again."
        ) from error


def check_spec(spec: dict, where: str) -> None:
    """Refuse a JSON object which is not a `tokenizer.json`.

    Raises:
        ValueError: when there is no `model` with a vocabulary, or its type is unknown.
    """
    model = spec.get("model")
    if not isinstance(model, dict) or "vocab" not in model:
        keys = ", ".join(sorted(map(str, spec))[:6]) or "nothing"
        raise ValueError(
            f"{where} is not a tokenizer.json: it has no model with a vocab, but {keys}. "
            "Pass the folder or file of a tokenizer."
        )
    kind = model_type(spec)
    if kind not in ("BPE", "Unigram", "WordPiece", "WordLevel"):
        raise ValueError(f"{where} has a model of type {kind!r}; known are BPE, Unigram, WordPiece and WordLevel.")
    vocab = model["vocab"]
    shape = list if kind == "Unigram" else dict
    if not isinstance(vocab, shape) or not vocab:
        raise ValueError(f"{where} has a {kind} model whose vocab is {'empty' if not vocab else type(vocab).__name__}.")
    _check_ids(spec, where)


def _check_ids(spec: dict, where: str) -> None:
    vocab, added = spec["model"]["vocab"], spec.get("added_tokens") or []
    if isinstance(vocab, list) and not all(isinstance(e, list | tuple) and len(e) == 2 for e in vocab):
        raise ValueError(f"{where} has a Unigram vocab whose entries are not [piece, score] pairs.")
    if not all(isinstance(token, dict) and isinstance(token.get("content"), str) for token in added):
        raise ValueError(f"{where} has added_tokens without content; need objects with id and content.")
    ids = [token.get("id") for token in added] + (list(vocab.values()) if isinstance(vocab, dict) else [])
    wrong = next((i for i in ids if not isinstance(i, int) or not 0 <= i < MAX_IDS), None)
    if wrong is not None or any(i is None for i in ids):
        raise ValueError(f"{where} gives a token the id {wrong!r}; need whole numbers from 0 to {MAX_IDS - 1:,}.")
    if isinstance(vocab, dict) and len(set(vocab.values())) != len(vocab):
        twice = Counter(vocab.values()).most_common(1)[0][0]
        names = [piece for piece, i in vocab.items() if i == twice][:3]
        raise ValueError(f"{where} gives the id {twice} to {', '.join(map(repr, names))}; need one entry for an id.")
    if ids and max(ids) - len(set(ids)) > MAX_HOLES:
        raise ValueError(
            f"{where} names {len(set(ids)):,} ids and numbers them up to {max(ids):,}; more than {MAX_HOLES:,} holes "
            "are no vocabulary. Is an id wrong?"
        )


def model_type(spec: dict) -> str | None:
    """The model's type; old files leave it out, so it is told from the content."""
    model = spec["model"]
    if model.get("type"):
        return model["type"]
    if isinstance(model["vocab"], list):
        return "Unigram"
    if "merges" in model:
        return "BPE"
    return "WordPiece" if "continuing_subword_prefix" in model else "WordLevel"


def parts(node: dict | None) -> Iterator[dict]:
    """Every leaf of a normalizer, pre-tokenizer or decoder, sequences flattened."""
    if not node:
        return
    inner = next((node[key] for key in ("normalizers", "pretokenizers", "decoders", "processors") if key in node), None)
    if inner is None:
        yield node
        return
    for child in inner:
        yield from parts(child)


def alphabet_of(spec: dict) -> str:
    """How entries spell bytes: "byte-level", "metaspace", "wordpiece" or "plain"."""
    leaves = [leaf for key in ("normalizer", "pre_tokenizer", "decoder") for leaf in parts(spec.get(key))]
    types = {leaf["type"] for leaf in leaves}
    if "ByteLevel" in types:
        return "byte-level"
    if model_type(spec) == "WordPiece":
        return "wordpiece"
    replaces = any(
        leaf["type"] == "Replace" and "▁" in (leaf.get("content"), _literal_pattern(leaf)) for leaf in leaves
    )
    falls_back = spec["model"].get("byte_fallback") and " " not in spec["model"]["vocab"]
    if "Metaspace" in types or replaces or falls_back:
        return "metaspace"
    return "plain"


def _literal_pattern(leaf: dict) -> str | None:
    pattern = leaf.get("pattern")
    return pattern.get("String") if isinstance(pattern, dict) else pattern


def family_of(spec: dict) -> str:
    """ "byte-level", "metaspace", "wordpiece", "unigram" or "other"."""
    kind, alphabet = model_type(spec), alphabet_of(spec)
    if kind == "Unigram":
        return "unigram"
    if kind == "WordPiece":
        return "wordpiece"
    return alphabet if kind == "BPE" and alphabet != "plain" else "other"


def model_pieces(spec: dict) -> list[tuple[int, str]]:
    """(id, stored string) of every entry of the model, added tokens not included."""
    vocab = spec["model"]["vocab"]
    if isinstance(vocab, list):
        return [(i, entry[0]) for i, entry in enumerate(vocab)]
    return [(i, piece) for piece, i in vocab.items()]


def entries(spec: dict, config: dict) -> Entries:
    """Lay out every id of a spec: string, bytes, kind, score."""
    pieces, added = model_pieces(spec), spec.get("added_tokens") or []
    size = 1 + max([i for i, _ in pieces] + [token["id"] for token in added])
    literals: list[str | None] = [None] * size
    data: list[bytes | None] = [None] * size
    special, byte = np.zeros(size, bool), np.zeros(size, bool)
    unused = set(config.get("unused_token_ids") or ())
    spell = _speller(spec)
    for i, piece in pieces:
        literals[i] = piece
        if i not in unused and not _UNUSED_NAME.fullmatch(piece):
            data[i] = spell(piece)
    for i, piece in pieces if has_byte_pieces(spec) else ():
        if (value := byte_of_piece(piece)) is not None:
            data[i], byte[i] = bytes((value,)), True
    for token in added:
        i = token["id"]
        # Gemma's runs of spaces are added tokens and pieces, which merges reach from real spaces.
        own = data[i] if literals[i] == token["content"] and alphabet_of(spec) == "metaspace" else None
        literals[i] = token["content"]
        special[i] = bool(token.get("special"))
        hidden = special[i] or i in unused or _UNUSED_NAME.fullmatch(token["content"])
        data[i] = None if hidden else own or _added_bytes(token, spec)
    unk = unknown_id(spec)
    if unk is not None:
        special[unk], data[unk] = True, None
    return Entries(literals, data, special, byte & ~special, _scores(spec, size))


def _speller(spec: dict):
    """The function from a stored model entry to its bytes."""
    alphabet, model = alphabet_of(spec), spec["model"]
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    if alphabet == "wordpiece":
        return lambda piece: _word_piece(piece, prefix or "##")
    inner = {"byte-level": from_byte_level, "metaspace": from_metaspace}.get(
        alphabet, lambda piece: piece.encode("utf-8", "surrogatepass")
    )
    if not prefix and not suffix:
        return inner

    def spell(piece: str) -> bytes:
        ends = bool(suffix) and piece.endswith(suffix)
        piece = piece.removesuffix(suffix) if ends else piece
        return inner(piece.removeprefix(prefix)) + (b" " if ends else b"")

    return spell


def _word_piece(piece: str, prefix: str) -> bytes:
    inside = piece.startswith(prefix) and len(piece) > len(prefix)
    return (piece[len(prefix) :] if inside else " " + piece).encode("utf-8", "surrogatepass")


def _added_bytes(token: dict, spec: dict) -> bytes:
    """An added token matches its own text; a normalised one is matched after spaces became metaspaces."""
    spaced = token.get("normalized") and alphabet_of(spec) == "metaspace"
    return from_metaspace(token["content"]) if spaced else token["content"].encode("utf-8", "surrogatepass")


def has_byte_pieces(spec: dict) -> bool:
    """Whether entries like "<0x0A>" stand for bytes."""
    return bool(spec["model"].get("byte_fallback")) or any(
        leaf["type"] == "ByteFallback" for leaf in parts(spec.get("decoder"))
    )


def unknown_id(spec: dict) -> int | None:
    """The id the model gives what it cannot spell."""
    model = spec["model"]
    if isinstance(model["vocab"], list):
        return model.get("unk_id")
    return model["vocab"].get(model.get("unk_token"))


def _scores(spec: dict, size: int) -> np.ndarray | None:
    vocab = spec["model"]["vocab"]
    if not isinstance(vocab, list):
        return None
    scores = np.zeros(size)
    scores[: len(vocab)] = [entry[1] for entry in vocab]
    return scores


def merge_table(spec: dict) -> np.ndarray:
    """The merges as ids, int32 (M, 3): left, right, result, in priority order; (0, 3) when there are none.

    Both stored forms are read: "a b" and ["a", "b"].

    Raises:
        ValueError: naming the first merge with a part or a result outside the vocabulary.
    """
    model = spec["model"]
    merges, vocab = model.get("merges") or [], model["vocab"]
    if not merges:
        return np.zeros((0, 3), np.int32)
    skip = len(model.get("continuing_subword_prefix") or "")
    rows = np.empty((len(merges), 3), np.int32)
    for row, merge in enumerate(merges):
        try:
            left, right = merge.split(" ") if isinstance(merge, str) else merge
            rows[row] = vocab[left], vocab[right], vocab[left + right[skip:]]
        except (KeyError, ValueError, TypeError):
            raise ValueError(
                f"merge {row} is {merge!r}: need two known entries whose union is known too. Is the file complete?"
            ) from None
    return rows


def bpe_model(vocab: dict[str, int], merges: list[list[str]], **options: object) -> dict:
    """The `model` of a BPE spec; options as the library names them."""
    defaults = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    }
    return {**defaults, **options, "vocab": vocab, "merges": merges}


def whole_spec(model: dict, **parts_by_name: object) -> dict:
    """A complete spec around a model; parts not given are None."""
    names = ("truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    return {"version": "1.0", **{name: parts_by_name.get(name) for name in names}, "model": model}


def added_token(i: int, content: str) -> dict:
    """A special token as an entry of a spec's `added_tokens`, matched only as it is written."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": i, "content": content, **flags, "special": True}


def added_tokens(contents: dict[int, str], *, special: bool = True, normalized: bool = False) -> list[dict]:
    """Entries for a spec's `added_tokens`, by id."""
    return [added_token(i, contents[i]) | {"special": special, "normalized": normalized} for i in sorted(contents)]


def template(before: tuple[str, int] | None, after: tuple[str, int] | None) -> dict:
    """A post-processor that puts special tokens, given as (string, id), before and after a text."""

    def around(sequences: tuple[str, ...]) -> list[dict]:
        items: list[dict] = []
        for kind, name in enumerate(sequences):
            start = [] if before is None or (kind and after) else [_special_item(before[0], kind)]
            end = [] if after is None else [_special_item(after[0], kind)]
            items += [*start, {"Sequence": {"id": name, "type_id": kind}}, *end]
        return items

    tokens = {text: {"id": text, "ids": [i], "tokens": [text]} for text, i in filter(None, (before, after))}
    return {
        "type": "TemplateProcessing",
        "single": around(("A",)),
        "pair": around(("A", "B")),
        "special_tokens": tokens,
    }


def _special_item(text: str, kind: int) -> dict:
    return {"SpecialToken": {"id": text, "type_id": kind}}


def write_folder(folder: Path, spec: dict, *, config: dict, roles: dict[str, str]) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` so that AutoTokenizer opens them.

    Args:
        roles: role -> stored string of the special token.
    """
    kept = {key: config[key] for key in _KEPT_CONFIG if config.get(key) not in (None, [], {})}
    kept |= {f"{role}_token": content for role, content in roles.items()}
    # This name is an alias of TokenizersBackend in transformers 5 and the only one transformers 4 knows.
    kept |= {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": bool(config.get("clean_up_tokenization_spaces", False)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("tokenizer.json", spec), ("tokenizer_config.json", kept)):
        text = json.dumps(content, ensure_ascii=False, indent=1 if name == "tokenizer_config.json" else None)
        partial = folder / f".{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)
