"""Characters that survive are those of the library's own round trip, block by block."""

import unicodedata

from audited_tokenizers import byte_level, unigram, word_piece

from tokenry.tokenization.counting import count
from tokenry.tokenization.unicode_coverage import probe, probe_characters, unicode_coverage


def test_byte_level_keeps_every_character_and_pays_its_bytes_at_most():
    chars, _ = probe_characters()
    survives, n_tokens = probe(byte_level(), chars)
    assert survives.all()
    assert (n_tokens <= [len(char.encode()) for char in chars]).all()


def test_survival_equals_the_plain_round_trip():
    vocab = unigram()
    chars, _ = probe_characters()
    some = chars[::20]
    survives, _ = probe(vocab, some)
    unknown = vocab.specials["unk"]
    for char, kept in zip(some, survives.tolist(), strict=True):
        ids = vocab.backend.encode(f"a{char}b", add_special_tokens=False).ids
        assert kept == (unknown not in ids and vocab.backend.decode(ids, skip_special_tokens=False) == f"a{char}b")


def test_blocks_and_planes_add_up_and_lost_ones_are_named():
    found = unicode_coverage(count(word_piece(), [("x", "")]))
    blocks, planes = found.tables["unicode_blocks"], found.tables["unicode_planes"]
    assert sum(blocks["n"]) == sum(planes["n"]) == found.facts["unicode_characters_tried"]
    assert sum(blocks["survive"]) == found.facts["unicode_characters_kept"]
    assert found.facts["unicode_blocks_lost"] == sum(n == 0 for n in blocks["survive"]) > 0
    assert found.warnings


def test_probes_are_assigned_characters_of_their_block():
    chars, blocks = probe_characters()
    assert all(unicodedata.category(char) not in ("Cn", "Cs", "Co", "Cc") for char in chars)
    assert {b for c, b in zip(chars, blocks, strict=True) if 0x400 <= ord(c) < 0x500} == {"Cyrillic"}
    assert max(blocks.count(block) for block in ("Basic Latin", "CJK Unified Ideographs")) == 24
