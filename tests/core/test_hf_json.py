import numpy as np
import pytest

from tokenry.core.hf_json import alphabet_of, entries, family_of, merge_table, model_type, template, whole_spec

BPE = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}


@pytest.mark.parametrize(
    ("spec", "alphabet", "family"),
    [
        ({"model": BPE, "pre_tokenizer": LEVEL}, "byte-level", "byte-level"),
        ({"model": BPE, "decoder": {"type": "Sequence", "decoders": [LEVEL]}}, "byte-level", "byte-level"),
        ({"model": BPE, "normalizer": REPLACE}, "metaspace", "metaspace"),
        ({"model": {**BPE, "byte_fallback": True}}, "metaspace", "metaspace"),
        ({"model": BPE}, "plain", "other"),
        (
            {"model": {"vocab": [["a", 0.0]], "unk_id": 0}, "pre_tokenizer": {"type": "Metaspace"}},
            "metaspace",
            "unigram",
        ),
        ({"model": {"type": "WordPiece", "vocab": {"a": 0}}}, "wordpiece", "wordpiece"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}}}, "plain", "other"),
    ],
)
def test_the_family_is_told_from_the_parts(spec, alphabet, family):
    assert (alphabet_of(spec), family_of(spec)) == (alphabet, family)


def test_old_files_leave_the_type_of_the_model_out():
    assert model_type({"model": {"vocab": {"a": 0}, "merges": []}}) == "BPE"
    assert model_type({"model": {"vocab": [["a", 0.0]]}}) == "Unigram"
    assert model_type({"model": {"vocab": {"a": 0}, "continuing_subword_prefix": "##"}}) == "WordPiece"
    assert model_type({"model": {"vocab": {"a": 0}}}) == "WordLevel"


def test_merges_are_ids_and_a_continuation_prefix_is_dropped_from_the_result():
    assert merge_table({"model": BPE}).tolist() == [[0, 1, 2]]
    assert merge_table({"model": {**BPE, "merges": []}}).shape == (0, 3)
    model = {"vocab": {"a": 0, "##b": 1, "ab": 2}, "merges": [["a", "##b"]], "continuing_subword_prefix": "##"}
    assert merge_table({"model": model}).tolist() == [[0, 1, 2]]


def test_each_id_is_laid_out():
    model = {
        "type": "Unigram",
        "unk_id": 0,
        "byte_fallback": True,
        "vocab": [["?", 0.0], ["<0x0A>", -1.0], ["▁x", -2.0]],
    }
    added = [
        {"id": 3, "content": "▁", "special": False, "normalized": True},
        {"id": 4, "content": "▁", "special": False},
    ]
    laid = entries({"model": model, "added_tokens": added}, {"unused_token_ids": [2]})
    assert laid.data == [None, b"\n", None, b" ", "▁".encode()]
    assert laid.byte.tolist() == [False, True, False, False, False]
    assert laid.special.tolist() == [True, False, False, False, False]
    assert np.allclose(laid.scores, [0, -1, -2, 0, 0])


def test_a_template_wraps_one_text_and_two():
    both = template(("[CLS]", 1), ("[SEP]", 2))
    names = [next(iter(item.values()))["id"] for item in both["pair"]]
    assert names == ["[CLS]", "A", "[SEP]", "B", "[SEP]"]
    bos = template(("<s>", 1), None)
    assert [next(iter(item.values()))["id"] for item in bos["pair"]] == ["<s>", "A", "<s>", "B"]
    assert whole_spec(BPE, post_processor=bos)["decoder"] is None


def test_a_run_of_spaces_that_is_a_piece_and_an_added_token_is_spaces():
    # Gemma lists its runs of spaces twice; merges reach them from the spaces of a text, so spaces are what they add.
    added = {"id": 3, "content": "▁▁", "special": False, "normalized": False}
    model = {"type": "BPE", "vocab": {"a": 0, "▁": 1, "b": 2, "▁▁": 3}, "merges": ["▁ ▁"], "byte_fallback": True}
    found = entries({"model": model, "normalizer": REPLACE, "added_tokens": [added]}, {})
    assert found.data[3] == b"  "
    other = {**added, "content": "▁x", "id": 4}
    assert entries({"model": model, "normalizer": REPLACE, "added_tokens": [other]}, {}).data[4] == "▁x".encode()
