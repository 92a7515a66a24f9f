import random
import unicodedata
from functools import cache

import pytest
import sentencepiece
from sample_texts import flores_texts, script_texts, udhr_texts
from sample_vocabularies import sentencepiece_model
from sentencepiece import sentencepiece_model_pb2
from tokenizers import normalizers

from tokenry.core.charsmap import lookup, normalizer_steps
from tokenry.core.hf_json import whole_spec
from tokenry.core.vocab import Vocab

RULES = ["nfkc", "nmt_nfkc", "nfkc_cf", "nmt_nfkc_cf"]
# The characters the steps use as marks of their own; a text never holds these noncharacters.
RESERVED = {"\ufdd0", "\ufdd1", "\ufdd2"}


@cache
def rule(name: str) -> tuple[bytes, sentencepiece.SentencePieceNormalizer]:
    proto = sentencepiece_model(
        "char", normalization_rule_name=name, add_dummy_prefix=False, remove_extra_whitespaces=False
    )
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(proto)
    return model.normalizer_spec.precompiled_charsmap, sentencepiece.SentencePieceNormalizer(model_proto=proto)


def ours(charsmap: bytes) -> normalizers.Normalizer:
    model = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
    steps = {"type": "Sequence", "normalizers": normalizer_steps(charsmap)}
    return Vocab.from_spec(whole_spec(model, normalizer=steps)).backend.normalizer


def differing(name: str, texts: list[str]) -> list[str]:
    charsmap, native = rule(name)
    normalizer = ours(charsmap)
    return [
        text
        for text in texts
        if normalizer.normalize_str(text).replace("▁", " ") != native.normalize(text).replace("▁", " ")
    ]


@pytest.mark.parametrize("name", RULES)
def test_texts_are_normalised_as_by_sentencepiece_composed_and_decomposed(name):
    texts = script_texts()
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        texts = texts + [unicodedata.normalize(form, text) for text in script_texts()]
    assert [text for text in differing(name, texts) if not exempt(name, text)] == []


def exempt(name: str, text: str) -> bool:
    """Folding tables leave a decomposed letter with an iota subscript unfolded and composed; here it is folded."""
    return name.endswith("_cf") and "\u0345" in text


def test_the_plain_step_of_the_library_differs_on_decomposed_text():
    charsmap, native = rule("nmt_nfkc")
    plain, texts = normalizers.Precompiled(charsmap), [unicodedata.normalize("NFD", text) for text in script_texts()]
    lost = [text for text in texts if plain.normalize_str(text) != native.normalize(text).replace("▁", " ")]
    assert len(lost) >= 5


def test_marks_in_any_order_are_composed_as_by_sentencepiece():
    random_marks = random.Random(0)
    # Without U+0344, which stands for two marks at once: the table leaves what it makes uncomposed.
    marks = [chr(i) for i in range(0x300, 0x346) if i != 0x344]
    texts = [
        "".join(
            random_marks.choice("aeiouAEOsnzα") + "".join(random_marks.choices(marks, k=random_marks.randrange(4)))
            for _ in range(5)
        )
        for _ in range(2000)
    ]
    assert len(differing("nmt_nfkc", texts)) <= 2


def test_single_entries_are_looked_up():
    charsmap, _ = rule("nmt_nfkc")
    expected = {"ﬁ": "fi", "e\u0301": "é", "か\u3099": "が", "\u1112\u1161\u11ab": "한", "\t": " ", "\x01": ""}
    assert {key: lookup(charsmap, key) for key in expected} == expected
    assert [lookup(charsmap, key) for key in ("a", "ab", "e\u0301\u0301", "한")] == [None] * 4
    assert lookup(rule("nmt_nfkc_cf")[0], "Ａ") == "a"


def test_a_table_cut_short_is_refused():
    charsmap, _ = rule("nmt_nfkc")
    for size in (2, 4, 2000, len(charsmap) // 2):
        with pytest.raises(ValueError, match="cut short"):
            normalizer_steps(charsmap[:size])
    assert normalizer_steps(b"") == []


@pytest.mark.slow  # all 1.1 million code points, and 204 language-scripts in four normal forms
@pytest.mark.parametrize("name", RULES)
def test_every_code_point_and_many_languages_are_normalised_as_by_sentencepiece(name, shared_data):
    characters = [chr(i) for i in range(1, 0x110000) if not 0xD800 <= i < 0xE000 and chr(i) not in RESERVED]
    assert differing(name, characters) == []
    texts = flores_texts(shared_data, per_language=5) + udhr_texts(shared_data)
    for form in ("NFC", "NFD", "NFKD"):
        changed = [unicodedata.normalize(form, text) for text in texts]
        assert [text for text in differing(name, changed) if not exempt(name, text)] == []
    assert differing(name, texts) == []
