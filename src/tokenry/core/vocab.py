"""What every tokenizer truly is: an id for some bytes, its merges or scores, its special tokens by role.

Vocabularies are compared by bytes, never by stored strings.
"""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from tokenry.core import hf_json
from tokenry.core.alphabets import METASPACE, to_byte_level
from tokenry.core.special_tokens import named_tokens, settle_added_tokens, special_roles
from tokenry.core.trie import ByteTrie

_BATCH = 1024


class Kind:
    """What an id stands for."""

    NORMAL = 0
    BYTE = 1  # a byte-fallback piece, "<0x0A>"
    SPECIAL = 2  # a control token: bos, eos, a chat mark; also the unknown token
    UNUSED = 3  # a hole, or a reserved entry no text reaches


@dataclass(frozen=True, eq=False)
class Vocab:
    """A vocabulary. Open one with `Vocab.open`.

    Attributes:
        tokens: id -> bytes it adds to a text; None for SPECIAL and UNUSED ids. A metaspace is a space; a WordPiece
            word start carries its space (b" dog"), a continuation does not.
        kinds: uint8 (V,), see `Kind`.
        merges: int32 (M, 3), left id, right id, result id, in priority order; (0, 3) when the model is not BPE.
        scores: float64 (V,), Unigram log-probabilities, or the scores of a SentencePiece file; None without.
        specials: role (bos eos pad unk mask cls sep) -> id, only those present.
        family: "byte-level", "metaspace", "wordpiece", "unigram" or "other".
        spec: the content of an equivalent `tokenizer.json`.
        config: the content of `tokenizer_config.json`, completed from the files beside it.
        name: what to call it in messages.
    """

    tokens: tuple[bytes | None, ...]
    kinds: np.ndarray
    merges: np.ndarray
    scores: np.ndarray | None
    specials: dict[str, int]
    family: str
    spec: dict
    config: dict
    name: str

    @classmethod
    def open(cls, source: object) -> "Vocab":
        """Open any tokenizer.

        Args:
            source: a Vocab, a `tokenizers.Tokenizer`, a fast tokenizer of transformers, or the path or hub name of
                a Hugging Face folder, `tokenizer.json`, SentencePiece `.model`, tiktoken ranks, `tekken.json`,
                WordPiece `vocab.txt` or GGUF file; any of the files may be `.xz`. Options of single formats (the
                split pattern of a rank file) are taken by `tokenry.core.formats.read_spec`.

        Raises:
            FileNotFoundError: nothing there, or a hub name while the hub cannot be reached.
            ValueError: the content is not a tokenizer we know, with what was found.
        """
        if isinstance(source, Vocab):
            return source
        from tokenry.core.formats import read_spec

        read = read_spec(source)
        return cls.from_spec(read.spec, read.config, read.name)

    @classmethod
    def from_spec(cls, spec: dict, config: dict | None = None, name: str = "") -> "Vocab":
        """Build from the content of a `tokenizer.json`.

        Every added token keeps the id it declares, even behind a hole, and special tokens which only `config` names
        become added tokens, as transformers does on opening. Truncation and padding are dropped.

        Args:
            config: content of `tokenizer_config.json`; `bos_token_id` and the like are understood too.

        Raises:
            ValueError: when it is not a tokenizer, or its merges or ids contradict its vocabulary.
        """
        name = name or "tokenizer"
        with hf_json.reading(name):
            return cls._laid_out(spec, dict(config or {}), name)

    @classmethod
    def _laid_out(cls, spec: dict, config: dict, name: str) -> "Vocab":
        hf_json.check_spec(spec, name)
        spec = settle_added_tokens(spec, config)
        laid = hf_json.entries(spec, config)
        kinds = np.full(len(laid.data), Kind.NORMAL, np.uint8)
        kinds[np.fromiter((data is None for data in laid.data), bool, len(laid.data))] = Kind.UNUSED
        kinds[laid.byte] = Kind.BYTE
        kinds[laid.special] = Kind.SPECIAL
        return cls(
            tokens=tuple(laid.data),
            kinds=kinds,
            merges=hf_json.merge_table(spec),
            scores=laid.scores if laid.scores is not None else _file_scores(config, len(kinds)),
            specials=special_roles(spec, config, laid),
            family=hf_json.family_of(spec),
            spec=spec,
            config=config,
            name=name,
        )

    def __getstate__(self) -> dict[str, object]:
        # What is made from the fields is made again elsewhere: a pickled Tokenizer forgets `encode_special_tokens`.
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def __repr__(self) -> str:
        return f"Vocab({self.name!r}, {self.family}, {self.size:,} ids, {len(self.merges):,} merges)"

    @property
    def size(self) -> int:
        """Number of ids, holes included: the rows a model needs."""
        return len(self.tokens)

    @cached_property
    def backend(self) -> Tokenizer:
        """The tokenizer of the library, without truncation, padding or merge dropout.

        Raises:
            ValueError: when the library refuses the spec.
        """
        spec = self.spec
        if spec["model"].get("dropout"):
            spec = {**spec, "model": {**spec["model"], "dropout": None}}
        try:
            return Tokenizer.from_str(json.dumps(spec, ensure_ascii=False))
        except Exception as error:
            raise ValueError(f"{self.name}: the tokenizers library cannot open this tokenizer ({error}).") from None

    @cached_property
    def plain_backend(self) -> Tokenizer:
        """As `backend`, but a special token that somebody wrote in a text is plain text."""
        own = Tokenizer.from_str(self.backend.to_str())
        own.encode_special_tokens = True
        own.no_truncation()
        own.no_padding()
        return own

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the whole behaviour: everything in the spec, and the special tokens by role."""
        return _digest(self.spec, self.specials)

    @cached_property
    def pretokenizer_fingerprint(self) -> str:
        """16 hex digits of how text is cut before the model: normaliser, pre-tokeniser, alphabet, added tokens."""
        added = [[token["content"], token.get("normalized")] for token in self.spec["added_tokens"]]
        return _digest(self.spec.get("normalizer"), self.spec.get("pre_tokenizer"), self.family, added)

    @cached_property
    def byte_lengths(self) -> np.ndarray:
        """int32 (V,), bytes each id adds to a text; 0 for SPECIAL and UNUSED."""
        return np.fromiter((len(token or b"") for token in self.tokens), np.int32, self.size)

    @cached_property
    def index(self) -> dict[bytes, list[int]]:
        """Bytes -> every id with those bytes, NORMAL before BYTE, then by id."""
        found: dict[bytes, list[int]] = {}
        for kind in (Kind.NORMAL, Kind.BYTE):
            for i in np.flatnonzero(self.kinds == kind).tolist():
                found.setdefault(self.tokens[i], []).append(i)
        return found

    @cached_property
    def _literals(self) -> list[str]:
        literals = [""] * self.size
        for i, piece in hf_json.model_pieces(self.spec):
            literals[i] = piece
        for token in self.spec["added_tokens"]:
            literals[token["id"]] = token["content"]
        return literals

    def literal(self, token_id: int) -> str:
        """The stored string of an id ("Ġthe", "▁the", "<s>"); "" for a hole."""
        return self._literals[token_id]

    @cached_property
    def special_ids(self) -> set[int]:
        """Every control token: added tokens marked special, and the unknown token."""
        return set(np.flatnonzero(self.kinds == Kind.SPECIAL).tolist())

    @cached_property
    def trie(self) -> ByteTrie:
        """All NORMAL and BYTE tokens by their bytes; among equals NORMAL is found."""
        return ByteTrie.build(self.tokens, preference=self.kinds.tolist())

    def encode(self, texts: Sequence[str], *, plain: bool = False) -> list[np.ndarray]:
        """Ids of each text as uint32, without adding bos or the like.

        Args:
            texts: a list.
            plain: a special token written in a text is plain text; else it is matched.
        """
        if isinstance(texts, str):
            raise ValueError("encode takes a list of texts, got one string; write encode([text])[0].")
        out, backend = [], self.plain_backend if plain else self.backend
        for start in range(0, len(texts), _BATCH):
            batch = backend.encode_batch_fast(list(texts[start : start + _BATCH]), add_special_tokens=False)
            out += [np.array(encoding.ids, np.uint32) for encoding in batch]
        return out

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids by the library's decoder; special tokens are written out."""
        return self.backend.decode(_checked(ids, self.size), skip_special_tokens=False)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of ids end to end. SPECIAL and UNUSED ids add nothing; a dummy leading space stays."""
        return b"".join(self.tokens[i] or b"" for i in _checked(ids, self.size))

    def decompose(self, data: bytes) -> list[int]:
        """Segment exactly these bytes: no normaliser, no pre-tokeniser, no dummy prefix, no special tokens.

        The model itself segments (merges, Viterbi, longest match). What it cannot spell so is cut into the fewest
        tokens, byte pieces included. Returns an empty list when the vocabulary cannot spell `data` at all.
        """
        if not data:
            return []
        ids = self._model_segments(data)
        if ids is not None and all(self.tokens[i] is not None for i in ids) and self.decode_bytes(ids) == data:
            return ids
        return self.trie.segment(data)

    def _model_segments(self, data: bytes) -> list[int] | None:
        kind = hf_json.model_type(self.spec)
        if kind == "WordPiece":
            return self.trie.segment(data, greedy=True) or None
        if kind == "WordLevel" or self.spec["model"].get("end_of_word_suffix"):
            return None
        alphabet = self._alphabet
        if alphabet == "byte-level":
            return self._tokenize(to_byte_level(data))
        ids: list[int] = []
        for run in _valid_runs(data):
            if isinstance(run, str):
                ids += self._tokenize(run.replace(" ", METASPACE) if alphabet == "metaspace" else run)
            elif (byte := self._byte_ids.get(run[0])) is not None:
                ids.append(byte)
            else:
                return None
        return ids

    def _tokenize(self, text: str) -> list[int]:
        return [token.id for token in self._model.tokenize(text)]

    @cached_property
    def _model(self) -> object:
        return self.backend.model

    @cached_property
    def _alphabet(self) -> str:
        return hf_json.alphabet_of(self.spec)

    @cached_property
    def _byte_ids(self) -> dict[int, int]:
        return {self.tokens[i][0]: i for i in np.flatnonzero(self.kinds == Kind.BYTE).tolist()}

    def to_hf(self, folder: str | Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json`, which AutoTokenizer opens and encodes with identically.

        Special tokens by role, the chat template and what is added around a text are carried along. One exception is
        outside our hands: beside a `config.json` of a qwen2 or qwen3_5 model, transformers 5 puts Qwen's normaliser and
        cuts in place of these; a vocabulary that has others must be opened with `PreTrainedTokenizerFast`.
        """
        self.backend  # noqa: B018  (a spec the library refuses must not be written)
        marked = {token["content"] for token in self.spec["added_tokens"]}
        roles = {role: self.literal(i) for role, i in self.specials.items() if self.literal(i) in marked}
        config = self.config | {"extra_special_tokens": named_tokens(self.config, self.spec)}
        hf_json.write_folder(Path(folder), self.spec, config=config, roles=roles)


def _file_scores(config: dict, size: int) -> np.ndarray | None:
    """Scores a SentencePiece BPE file carried beside the merges."""
    scores = config.get("piece_scores")
    if scores is None:
        return None
    return np.concatenate([np.asarray(scores, np.float64), np.zeros(size - len(scores))])


def _digest(*contents: object) -> str:
    from hashlib import blake2b

    text = json.dumps(contents, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _checked(ids: Iterable[int], size: int) -> list[int]:
    """Ids as plain integers.

    Raises:
        ValueError: for an id outside 0..size-1.
    """
    plain = ids.tolist() if isinstance(ids, np.ndarray) else [int(i) for i in ids]
    if plain and not (min(plain) >= 0 and max(plain) < size):
        bad = next(i for i in plain if not 0 <= i < size)
        raise ValueError(f"id {bad} is outside this vocabulary of {size:,} ids. Was it encoded by another tokenizer?")
    return plain


def _valid_runs(data: bytes) -> list[str | bytes]:
    """Cut bytes into runs of valid UTF-8 (as str) and single bytes that are not."""
    runs: list[str | bytes] = []
    start = 0
    while start < len(data):
        try:
            runs.append(data[start:].decode("utf-8"))
            break
        except UnicodeDecodeError as error:
            if error.start:
                runs.append(data[start : start + error.start].decode("utf-8"))
            start += error.start
            runs.append(data[start : start + 1])
            start += 1
    return runs


def check_vocab(vocab: Vocab, texts: Sequence[str]) -> None:
    """The laws of a vocabulary.

    Ids, kinds and bytes agree; encoding stays in range and its bytes spell the normalised text (one leading space
    aside; where a pre-tokeniser drops spaces, all space aside); `decompose` spells exactly what it was given.
    Texts with an unknown or a special token in them are only checked for range.
    """
    assert len(vocab.kinds) == len(vocab.byte_lengths) == vocab.size
    empty = np.fromiter((token is None for token in vocab.tokens), bool, vocab.size)
    assert (empty == (vocab.kinds >= Kind.SPECIAL)).all()
    assert all(0 <= i < vocab.size for i in vocab.specials.values())
    assert all(vocab.tokens[i] == data for data, ids in vocab.index.items() for i in ids)
    left, right, result = vocab.merges.T
    sample = np.linspace(0, len(vocab.merges) - 1, min(200, len(vocab.merges))).astype(int)
    if vocab.family in ("byte-level", "metaspace") and not vocab.spec["model"].get("end_of_word_suffix"):
        for row in sample:
            parts = [vocab.tokens[i] for i in (left[row], right[row], result[row])]
            assert None in parts or parts[0] + parts[1] == parts[2]
    for text, ids in zip(texts, vocab.encode(texts), strict=True):
        assert (ids < vocab.size).all()
        if any(vocab.kinds[i] >= Kind.SPECIAL for i in ids):
            continue
        normalised = text if vocab.backend.normalizer is None else vocab.backend.normalizer.normalize_str(text)
        assert _loose(vocab, vocab.decode_bytes(ids)) == _loose(vocab, normalised.encode("utf-8", "replace"))
        data = text.encode("utf-8")
        pieces = vocab.decompose(data)
        assert vocab.decode_bytes(pieces) == data if pieces else not data or not _spells_bytes(vocab)


def _spells_bytes(vocab: Vocab) -> bool:
    return all(bytes([byte]) in vocab.index for byte in range(256))


def _loose(vocab: Vocab, data: bytes) -> bytes:
    """Bytes without what the law forgives."""
    if vocab._alphabet in ("metaspace", "byte-level"):
        data = data.replace(METASPACE.encode(), b" ") if vocab._alphabet == "metaspace" else data
        return data.removeprefix(b" ")
    return unicodedata.normalize("NFC", data.decode("utf-8", "replace")).translate(_NO_SPACE).encode()


_NO_SPACE = dict.fromkeys(map(ord, " \t\n\r\x0b\x0c\x85\xa0"))
