import json

import numpy as np
import pytest
from sample_vocabularies import byte_level_json

from tokenry.core.vocab import Vocab

BPE = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}


def special(i: int, content: str, **flags: bool) -> dict:
    return (
        {"id": i, "content": content, "special": True, "normalized": False}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        | flags
    )


def test_holes_and_added_tokens_keep_the_ids_they_declare():
    """The library alone would number the added tokens 3 and 4."""
    spec = {"model": BPE, "added_tokens": [special(7, "<s>"), special(9, "word", special=False)]}
    vocab = Vocab.from_spec(spec)
    assert vocab.size == 10
    assert vocab.kinds.tolist() == [0, 0, 0, 3, 3, 3, 3, 2, 3, 0]
    assert vocab.tokens[9] == b"word"
    assert vocab.literal(7) == "<s>"
    assert vocab.literal(3) == ""
    assert vocab.encode(["ab<s>wordab"])[0].tolist() == [2, 7, 9, 2]
    assert vocab.special_ids == {7}
    with pytest.raises(ValueError, match=r"'<s>' claims id 1, which belongs to 'b'"):
        Vocab.from_spec({"model": BPE, "added_tokens": [special(1, "<s>")]})
    with pytest.raises(ValueError, match="declares id 4, the vocabulary gives it 2"):
        Vocab.from_spec({"model": BPE, "added_tokens": [special(4, "ab")]})


def test_tokens_only_the_config_marks_become_added_tokens_as_in_transformers():
    config = {
        "eos_token": "b",
        "pad_token": {"content": "<pad>"},
        "added_tokens_decoder": {"3": {"content": "<pad>", "special": True, "lstrip": True}},
    }
    vocab = Vocab.from_spec({"model": BPE}, config)
    assert vocab.specials == {"eos": 1, "pad": 3}
    assert vocab.encode(["a <pad>b"])[0].tolist()[-2:] == [3, 1]
    assert vocab.special_ids == {1, 3}


def test_roles_come_from_the_config_then_the_template_then_the_names():
    added = [special(3, "<|begin|>"), special(4, "</s>"), special(5, "<pad>")]
    post = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|begin|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {"<|begin|>": {"id": "<|begin|>", "ids": [3], "tokens": ["<|begin|>"]}},
    }
    spec = {"model": BPE, "added_tokens": added, "post_processor": post}
    assert Vocab.from_spec(spec).specials == {"bos": 3, "eos": 4, "pad": 5}
    assert Vocab.from_spec(spec, {"eos_token": "<pad>", "pad_token": None}).specials == {"bos": 3, "eos": 5}
    assert Vocab.from_spec(spec, {"bos_token": "<absent>"}).specials == {"eos": 4, "pad": 5}


def test_a_real_vocabulary_with_more_tokens_behind_its_added_ones_keeps_every_id():
    """What an extended vocabulary looks like: new entries after the special tokens."""
    spec = json.loads(byte_level_json())
    before = Vocab.from_spec(spec)
    vocab = {**spec["model"]["vocab"], "theĠfox": before.size}
    merges = (
        [*spec["model"]["merges"], ["the", "Ġfox"]] if "the" in vocab and "Ġfox" in vocab else spec["model"]["merges"]
    )
    after = Vocab.from_spec({**spec, "model": {**spec["model"], "vocab": vocab, "merges": merges}})
    assert after.tokens[: before.size] == before.tokens
    assert after.tokens[before.size] == b"the fox"
    text = "quick<|end|> fox"
    assert after.encode([text])[0].tolist() == before.encode([text])[0].tolist()
    assert [after.backend.id_to_token(i) for i in range(after.size)] == [after.literal(i) for i in range(after.size)]


def test_a_unigram_model_takes_added_tokens_behind_its_pieces_only():
    model = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]}
    vocab = Vocab.from_spec({"model": model, "added_tokens": [special(2, "<s>")]})
    assert vocab.encode(["a<s>"])[0].tolist() == [1, 2]
    assert np.allclose(vocab.scores, [0, -1, 0])
    with pytest.raises(ValueError, match=r"must follow its 2 pieces"):
        Vocab.from_spec({"model": model, "added_tokens": [special(5, "<s>")]})
