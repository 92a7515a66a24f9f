"""SentencePiece `.model` files (BPE, Unigram, character) as specs that encode as SentencePiece does.

Where the library cannot follow exactly, the difference is counted in `config["conversion_notes"]`. Always different:
the name of a control piece written in a text ("<s>") is matched, as in every tokenizer.json, while SentencePiece reads
it as text, and each stretch between such names is encoded as a text of its own. Unigram scores are summed in 32 bits
there and in 64 bits here, so of two segmentations with equal scores the other may be chosen (Jurassic-2's vocabulary
of 262,144 pieces: 19 of 1,259 texts, all of equal score).

Paper: SentencePiece: A simple and language independent subword tokenizer (arXiv 1808.06226).
"""

import math
import re
from collections import Counter

from tokenry.core.alphabets import METASPACE, byte_of_piece
from tokenry.core.charsmap import normalizer_steps
from tokenry.core.choosing import needs
from tokenry.core.format_ranks import last_merge
from tokenry.core.hf_json import added_tokens, bpe_model, template, whole_spec

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_UNIGRAM, _BPE, _WORD, _CHAR = 1, 2, 3, 4


def spec_from_sentencepiece(data: bytes, where: str, config: dict | None = None) -> tuple[dict, dict]:
    """A SentencePiece model as (spec, config).

    Args:
        data: the protobuf.
        config: what `tokenizer_config.json` beside it says; decides whether bos and eos are added around a text.

    Raises:
        ValueError: not a SentencePiece model, or an option a tokenizer.json cannot express.
        ImportError: without the extra `formats`.
    """
    needs("formats", "sentencepiece", "google.protobuf")
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        raise ValueError(
            f"{where} is not a complete SentencePiece model, and no other tokenizer file we know. Fetch it again?"
        ) from None
    if not proto.pieces:
        raise ValueError(f"{where} holds no SentencePiece pieces. Is it a tokenizer file?")
    pieces = [(piece.piece, piece.score, piece.type) for piece in proto.pieces]
    settings, trainer = proto.normalizer_spec, proto.trainer_spec
    _refuse(trainer, settings, where)
    special = {i: text for i, (text, _, kind) in enumerate(pieces) if kind in (CONTROL, UNKNOWN)}
    roles = {"bos": trainer.bos_id, "eos": trainer.eos_id, "unk": trainer.unk_id, "pad": trainer.pad_id}
    found = {f"{role}_token": pieces[i][0] if 0 <= i < len(pieces) else None for role, i in roles.items()}
    return sentencepiece_spec(
        pieces,
        unigram=trainer.model_type == _UNIGRAM,
        special=special,
        unknown=next((i for i, (_, _, kind) in enumerate(pieces) if kind == UNKNOWN), None),
        charsmap=settings.precompiled_charsmap,
        dummy_prefix=settings.add_dummy_prefix,
        squeeze=settings.remove_extra_whitespaces,
        config={**found, **(config or {})},
    )


def _refuse(trainer: object, settings: object, where: str) -> None:
    if trainer.model_type == _WORD:
        raise ValueError(f"{where} is a SentencePiece word model; BPE, Unigram and character models can be opened.")
    if trainer.treat_whitespace_as_suffix:
        raise ValueError(
            f"{where} was trained with treat_whitespace_as_suffix, which a tokenizer.json cannot express. "
            "Train it again without, or use the sentencepiece library."
        )
    if not settings.escape_whitespaces:
        raise ValueError(f"{where} keeps plain spaces (escape_whitespaces=false), which is not supported.")


def sentencepiece_spec(
    pieces: list[tuple[str, float, int]],
    *,
    unigram: bool,
    special: dict[int, str],
    unknown: int | None,
    charsmap: bytes = b"",
    dummy_prefix: bool = True,
    squeeze: bool = False,
    config: dict | None = None,
) -> tuple[dict, dict]:
    """A spec from the content of a SentencePiece model, wherever it was stored.

    Args:
        pieces: (text, score, type) by id; the types are SentencePiece's numbers.
        special: id -> text of control and unknown pieces.
        charsmap: the precompiled normaliser, empty for none.
        dummy_prefix: whether a space is put before every text.
        squeeze: whether runs of spaces become one and the ends are stripped.
    """
    config, notes = dict(config or {}), []
    model = _unigram_model(pieces, unknown, notes) if unigram else _bpe_model(pieces, unknown, notes)
    defined = [text for text, _, kind in pieces if kind == USER_DEFINED]
    spec = whole_spec(
        model,
        added_tokens=added_tokens(special),
        normalizer=_normalizer(charsmap, dummy_prefix, squeeze),
        pre_tokenizer=_pre_tokenizer(pieces, defined, unigram),
        post_processor=_around(special, config),
        decoder=_decoder(bool(model.get("byte_fallback")), dummy_prefix),
    )
    config["piece_scores"] = [score for _, score, _ in pieces]
    config["unused_token_ids"] = [i for i, (_, _, kind) in enumerate(pieces) if kind == UNUSED]
    config["conversion_notes"] = notes
    return spec, config


def _bpe_model(pieces: list[tuple[str, float, int]], unknown: int | None, notes: list[str]) -> dict:
    """The merges scores imply: each piece's last join when SentencePiece encodes it, best score first."""
    vocab = {text: i for i, (text, _, _) in enumerate(pieces)}
    joined = (NORMAL, USER_DEFINED, UNUSED)
    ranks = {text: -score for text, score, kind in pieces if kind in joined}
    found = {text: last_merge(text, ranks) for text, _, kind in pieces if kind in (NORMAL, UNUSED) and len(text) > 1}
    merges = {text: pair for text, pair in found.items() if pair and pair[0] in vocab and pair[1] in vocab}
    # Equal scores: the leftmost pair wins there, the first merge here. The longest first lets a run of spaces grow
    # from the left in the same way.
    ordered = sorted(merges, key=lambda text: (ranks[text], -len(text), vocab[text]))
    tied = Counter(ranks[text] for text in merges if text.strip(METASPACE))
    n_tied = sum(count for count in tied.values() if count > 1)
    if n_tied:
        notes.append(
            f"{n_tied} pieces share a score with another: where two compete the library may join another first"
        )
    lost = sum(1 for text, pair in found.items() if pair and text not in merges)
    if lost:
        notes.append(f"{lost} pieces hold a character which is no piece itself: the library never reaches them")
    n_unused = sum(1 for _, _, kind in pieces if kind == UNUSED)
    if n_unused:
        notes.append(f"{n_unused} unused pieces are cut again by SentencePiece, and kept whole by the library")
    has_user_defined = any(kind == USER_DEFINED for _, _, kind in pieces)
    stuck = sum(1 for pair in found.values() if pair is None)
    if has_user_defined and stuck:
        notes.append(
            f"{stuck} pieces no merge reaches are used when a whole stretch between user-defined pieces is one"
        )
    return bpe_model(
        vocab,
        [list(merges[text]) for text in ordered],
        unk_token=None if unknown is None else pieces[unknown][0],
        fuse_unk=True,
        byte_fallback=_has_all_bytes(pieces),
        # User-defined pieces stand alone after the pre-tokeniser and are looked up whole.
        ignore_merges=has_user_defined,
    )


def _has_all_bytes(pieces: list[tuple[str, float, int]]) -> bool:
    return len({byte_of_piece(text) for text, _, kind in pieces if kind == BYTE} - {None}) == 256


def _unigram_model(pieces: list[tuple[str, float, int]], unknown: int | None, notes: list[str]) -> dict:
    """Scores as SentencePiece's lattice uses them.

    A user-defined piece always wins there by a bonus on its length in bytes. Byte, control and unused pieces are not
    in its lattice; in the library every entry is, so they get a score too low to be chosen over single characters.
    """
    normal = [score for _, score, kind in pieces if kind == NORMAL] or [0.0]
    highest, never = max(normal), 16 * (min(normal) - 10.0)
    vocab = []
    for text, score, kind in pieces:
        if kind == USER_DEFINED:
            score = len(text.encode()) * highest - 0.1
        elif kind in (BYTE, UNUSED):
            score = never
        vocab.append([text, score if math.isfinite(score) else never])
    if unknown is None:
        raise ValueError("this Unigram model has no unknown piece, which the library needs.")
    if any(kind == UNUSED for _, _, kind in pieces):
        notes.append("unused pieces are kept out by a very low score instead of being absent")
    return {"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": _has_all_bytes(pieces)}


def _normalizer(charsmap: bytes, dummy_prefix: bool, squeeze: bool) -> dict:
    """The steps of SentencePiece's normaliser in its order."""
    steps = normalizer_steps(charsmap)
    if squeeze:
        steps += [_replace(r"\A +", ""), _replace(r" {2,}", " ")]
    if dummy_prefix:
        steps.append({"type": "Prepend", "prepend": METASPACE})
    steps.append({"type": "Replace", "pattern": {"String": " "}, "content": METASPACE})
    if squeeze:
        steps.append(_replace(rf"{METASPACE}+\z", ""))
    return {"type": "Sequence", "normalizers": steps}


def _replace(regex: str, content: str) -> dict:
    return {"type": "Replace", "pattern": {"Regex": regex}, "content": content}


def _pre_tokenizer(pieces: list[tuple[str, float, int]], defined: list[str], unigram: bool) -> dict | None:
    """Cuts which SentencePiece does not make but which cannot change its result.

    BPE: user-defined pieces stand alone. Unigram: words, where no piece spans two; and inside a literal "<0x0A>", so
    that the library does not take it for the byte piece of that name.
    """
    if not unigram:
        if not defined:
            return None
        return _split("|".join(re.escape(text) for text in sorted(defined, key=len, reverse=True)))
    usable = [text for text, _, kind in pieces if kind in (NORMAL, USER_DEFINED)]
    cuts = []
    if any(kind == BYTE for _, _, kind in pieces) and not any("<0" in text for text in usable):
        cuts.append(_split(r"(?<=<)(?=0x[0-9A-F]{2}>)"))
    if METASPACE in usable and not any(METASPACE in text[1:] for text in usable):
        cuts.append({"type": "Metaspace", "replacement": METASPACE, "prepend_scheme": "never", "split": True})
    return {"type": "Sequence", "pretokenizers": cuts} if cuts else None


def _split(regex: str) -> dict:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def _around(special: dict[int, str], config: dict) -> dict | None:
    """Special tokens put around a text: as the config says, else as the class it names does; none for a bare file."""
    llama = str(config.get("tokenizer_class", "")).startswith(("Llama", "CodeLlama", "Gemma"))
    ids = {text: i for i, text in special.items()}
    ends = []
    for role, default in (("bos", llama), ("eos", False)):
        text = config.get(f"{role}_token")
        text = text.get("content") if isinstance(text, dict) else text
        wanted = config.get(f"add_{role}_token", default)
        ends.append((text, ids[text]) if wanted and text in ids else None)
    return template(*ends) if any(ends) else None


def _decoder(byte_fallback: bool, dummy_prefix: bool) -> dict:
    steps = [{"type": "Replace", "pattern": {"String": METASPACE}, "content": " "}]
    if byte_fallback:
        steps.append({"type": "ByteFallback"})
    steps.append({"type": "Fuse"})
    if dummy_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}
