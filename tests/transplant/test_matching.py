"""Matching by bytes: classes, duplicates, byte fallback, specials; and what it gains on real tokenizers."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from small_vocabularies import byte_level, permuted, spec_of
from tokenry.core.vocab import Kind, Vocab
from tokenry.transplant.matching import BYTE_FALLBACK, CLASSES, EXACT, match, raw_overlap, rows_fingerprint


def metaspace(pieces: list[str], *, bytes_too: bool = True, specials=("<unk>", "<s>", "</s>"), roles=None) -> Vocab:
    """A sentencepiece-like vocabulary of these pieces in this order, without merges."""
    names = list(specials) + ([f"<0x{b:02X}>" for b in range(256)] if bytes_too else []) + pieces
    tokenizer = Tokenizer(
        models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=[], unk_token="<unk>", byte_fallback=bytes_too)
    )
    tokenizer.add_special_tokens(list(specials))
    spec = spec_of(tokenizer)
    spec["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    spec["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}
    ]}  # fmt: skip
    roles = roles or {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return Vocab.from_spec(spec, roles, "metaspace")


def test_a_vocabulary_matches_itself_id_by_id(old):
    found = match(old, old)
    assert np.array_equal(found.new_to_old, np.arange(old.size))
    assert np.array_equal(found.head_to_old, np.arange(old.size))
    assert found.classes["unmatched"] == 0


def test_a_permuted_vocabulary_matches_by_its_permutation(old):
    order = np.random.default_rng(3).permutation(old.size)
    assert np.array_equal(match(old, permuted(old, order)).new_to_old, order)


def test_word_starts_and_accents_meet_across_families_by_bytes_only(old):
    other = metaspace(["▁the", "é", "the", "▁zzz"])
    found = match(old, other)
    first = other.size - 4
    assert old.tokens[found.new_to_old[first]] == b" the"
    assert found.klass[first] == EXACT
    # "é" is two byte tokens in the byte-level vocabulary unless it was learned.
    assert found.new_to_old[first + 3] == -1
    assert raw_overlap(old, other) < found.classes["exact bytes"] + found.classes["byte-fallback"]


def test_byte_pieces_meet_byte_pieces_and_letters_meet_letters():
    other = metaspace(["A", "B"])
    found = match(other, other)
    piece, byte = other.size - 2, 3 + 0x41
    assert other.tokens[piece] == other.tokens[byte] == b"A"
    assert found.new_to_old[piece] == piece
    assert found.new_to_old[byte] == byte
    assert found.klass[byte] == BYTE_FALLBACK


def test_byte_pieces_cross_over_to_a_byte_level_vocabulary(old):
    other = metaspace([])
    found = match(old, other)
    for byte in (0x0A, 0x41, 0xE2):
        assert found.klass[3 + byte] == BYTE_FALLBACK
        assert old.tokens[found.new_to_old[3 + byte]] == bytes([byte])
    back = match(other, old)
    assert other.kinds[back.new_to_old[old.index[b"A"][0]]] == Kind.BYTE


def test_no_duplicate_loses_its_row():
    # "▁" and " " stand for the same byte in this alphabet, so one vocabulary holds it twice.
    old = metaspace(["▁a", "b"], bytes_too=False)
    new = metaspace(["b", "▁a", " a"], bytes_too=False)
    same = [i for i in range(new.size) if new.tokens[i] == b" a"]
    found = match(old, new)
    assert len(same) == 2
    assert (found.new_to_old[same] == old.index[b" a"][0]).all()


def test_specials_match_by_role_and_then_by_text():
    old = byte_level("english", 300, ("<|end|>", "<|start|>", "<|pad|>", "<tool>"))
    new = byte_level("english", 300, ("</s>", "<s>", "<none>", "<tool>", "<other>"))
    found = match(old, new)
    named = {new.literal(i): old.literal(found.new_to_old[i]) if found.new_to_old[i] >= 0 else None for i in range(5)}
    assert named == {"</s>": "<|end|>", "<s>": "<|start|>", "<none>": "<|pad|>", "<tool>": "<tool>", "<other>": None}
    assert found.classes["special role"] == 3
    assert found.classes["special text"] == 1
    assert found.classes["unmatched"] == 1


def test_one_token_for_start_and_end_is_read_as_start_and_predicted_as_end():
    old = byte_level("english", 300, ("<|end|>", "<|start|>"))
    new = Vocab.from_spec(old.spec, {"bos_token": "<|end|>", "eos_token": "<|end|>"}, "one")
    i = new.specials["bos"]
    found = match(old, new)
    assert found.new_to_old[i] == old.specials["bos"]
    assert found.head_to_old[i] == old.specials["eos"]


def test_anchors_leave_out_specials_bytes_and_half_characters(old):
    new_ids, old_ids = match(old, old).anchors(old, old)
    kept = {old.tokens[i] for i in old_ids}
    assert np.array_equal(new_ids, old_ids)
    assert b" the" in kept
    assert b"\xc3" not in kept
    assert None not in kept


def test_counts_cover_every_id_once(old, new):
    found = match(old, new)
    assert sum(found.classes.values()) == new.size
    assert list(found.classes) == list(CLASSES)
    assert ((found.new_to_old >= 0) == ~np.isin(found.klass, (0, 5))).all()


def test_the_fingerprint_of_rows_ignores_templates_and_sees_order(old):
    other = Vocab.from_spec(old.spec, {**old.config, "chat_template": "{{ messages }}"}, "chat")
    assert rows_fingerprint(other) == rows_fingerprint(old)
    assert rows_fingerprint(permuted(old, np.arange(old.size)[::-1])) != rows_fingerprint(old)


# Measured, by bytes against by string: GPT-2 21,241 / 8,020, Claude 25,369 / 10,177, Qwen 29,235 / 10,566.
REAL = {
    "gpt2": ("openai/r50k_base.tiktoken.xz", 2.4),
    "claude": ("claude/tokenizer.json.xz", 2.4),
    "qwen2.5": ("qwen2.5/tokenizer.json.xz", 2.4),
}


@pytest.mark.slow  # opens production tokenizers of 32k to 152k ids: about 2 s each
@pytest.mark.parametrize("name", REAL)
def test_real_vocabularies_share_far_more_bytes_than_strings(shared_data, name):
    file, factor = REAL[name]
    mistral = Vocab.open(shared_data / "tokenizers/mistral/tokenizer.model.v1.xz")
    other = Vocab.open(shared_data / "tokenizers" / file)
    found = match(mistral, other)
    by_bytes = sum(n for key, n in found.classes.items() if key not in ("unmatched", "unused"))
    assert by_bytes > factor * raw_overlap(mistral, other)
