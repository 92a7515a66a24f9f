"""Ids in configurations follow their token, by role first; what has no counterpart is said."""

import numpy as np

from small_vocabularies import byte_level, permuted
from tokenry.core.vocab import Vocab
from tokenry.transplant.configs import moved_ids, unknown_in_template, with_conventions
from tokenry.transplant.planning import plan


def moved(config, old, new, *, n_rows=None, generation=True):
    return moved_ids(config, plan(old, new), old=old, to=new, n_rows=n_rows or new.size, generation=generation)


def test_a_list_of_stop_ids_keeps_its_order_and_gains_the_new_eos():
    old = byte_level("english", 300, ("<|end|>", "<|start|>", "<|pad|>", "<stop>"))
    new = permuted(byte_level("english", 300, ("<|end|>", "<|start|>", "<|pad|>", "<stop>")), np.arange(300)[::-1])
    stop, end = next(i for i in new.special_ids if new.literal(i) == "<stop>"), new.specials["eos"]
    old_stop = next(i for i in old.special_ids if old.literal(i) == "<stop>")
    assert moved({"eos_token_id": [old_stop]}, old, new).values["eos_token_id"] == [stop, end]
    assert moved({"eos_token_id": old_stop}, old, new).values["eos_token_id"] == [end, stop]
    assert moved({"eos_token_id": old_stop}, old, new, generation=False).values["eos_token_id"] == end


def test_the_identity_changes_no_id(old):
    config = {"bos_token_id": None, "eos_token_id": [5, old.specials["eos"]], "pad_token_id": 7, "suppress_tokens": [3]}
    found = moved(config, old, old)
    assert not found.lost
    assert {**config, **found.values} == {**config, "eos_token_id": [5, old.specials["eos"]]}


def test_an_id_without_a_counterpart_is_lost_loudly(old):
    german = byte_level("german", 400)
    only_english = old.index[b" shells"][0]
    assert german.index.get(b" shells") is None
    found = moved({"decoder_start_token_id": only_english, "begin_suppress_tokens": [only_english]}, old, german)
    assert found.values == {"decoder_start_token_id": None, "begin_suppress_tokens": None, "eos_token_id": 0}
    assert found.lost == [f"decoder_start_token_id: {only_english} of the old vocabulary has no token in the new one"]


def test_too_many_ids_without_a_token_are_not_listed_but_said(old, new):
    found = moved({}, old, new, n_rows=new.size + 5000)
    assert "suppress_tokens" not in found.values
    assert "too many to list" in found.lost[0]
    assert moved({}, old, new, n_rows=new.size + 2).values["suppress_tokens"] == [new.size, new.size + 1]


def test_templates_are_carried_only_where_there_is_none(old):
    assert with_conventions(old, old, None) is old
    carried = with_conventions(old, old, "{{ x }}")
    assert carried.config["chat_template"] == "{{ x }}"
    assert with_conventions(carried, old, "other") is carried
    assert "chat_template" not in old.config


def test_template_tokens_that_the_new_vocabulary_lacks_are_found_in_every_form():
    old = byte_level("english", 300, ("<|end|>", "<|im_start|>"))
    new = Vocab.from_spec(byte_level("english", 300).spec, {}, "new")
    for template in (
        "<|im_start|>user<|end|>",
        {"default": "<|im_start|>"},
        [{"name": "d", "template": "<|im_start|>"}],
    ):
        assert unknown_in_template(template, old, new) == ["<|im_start|>"]
    assert unknown_in_template(None, old, new) == []
