"""Scores by script: they add up to the whole, and each byte counts where it stands."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import small_model

from small_vocabularies import byte_level
from tokenry.core.splitting import script_of
from tokenry.core.vocab import Vocab
from tokenry.data import demo_model
from tokenry.models.lm import LM
from tokenry.transplant.scoring import measure
from tokenry.transplant.script_scores import byte_scripts, measure_scripts, whole

LETTERS = st.text(st.sampled_from("ab cß 12.\nкот αβ\u0301 漢字"), max_size=60)


@pytest.fixture(scope="module", params=["bytes", "its own space"])
def lm(request):
    """A byte-level tokenizer, and the carried one, which puts a space in front of every text."""
    return small_model("llama", byte_level("both", 420) if request.param == "bytes" else Vocab.open(demo_model()))


@settings(max_examples=25, deadline=None)
@given(st.lists(LETTERS, min_size=12, max_size=14))
def test_the_scripts_of_a_document_add_up_to_its_score(lm, texts):
    texts = [text or "a" for text in texts]
    apart, together = whole(measure_scripts(lm, texts, segment_bytes=32)), measure(lm, texts, segment_bytes=32)
    np.testing.assert_allclose(apart.nats, together.nats, rtol=1e-9)
    assert (apart.n_bytes == together.n_bytes).all()
    assert (apart.n_tokens == together.n_tokens).all()


@given(LETTERS)
def test_every_byte_has_the_script_of_its_character_and_space_that_of_what_follows(text):
    names, codes = byte_scripts(text)
    assert len(codes) == len(text.encode())
    at = 0
    for place, char in enumerate(text):
        own = {names[code] for code in codes[at : at + len(char.encode())]}
        at += len(char.encode())
        assert len(own) == 1
        follows = text[place + 1 :].lstrip()
        expected = (follows[:1] or char) if char.isspace() else char
        if script_of(expected) != "Inherited" and not expected.isspace():
            assert own == {script_of(expected)}


def test_a_token_across_two_scripts_counts_for_both_by_its_bytes(lm):
    text = "кот the"
    [ids], [nats] = lm.vocab.encode([text]), lm.nll([text])
    sizes = lm.vocab.byte_lengths[ids].astype(np.int64)
    sizes[0] -= sizes.sum() - len(text.encode())  # its own space is no byte of the text
    if not sizes[0]:
        sizes, nats = sizes[1:], np.concatenate([[nats[0] + nats[1]], nats[2:]])
    spread = np.repeat(nats / sizes, sizes)
    found = measure_scripts(lm, [text], segment_bytes=64)
    assert float(found["Cyrillic"].nats[0]) == pytest.approx(spread[:6].sum())
    assert float(found["Latin"].nats[0]) == pytest.approx(spread[6:].sum())
    assert [int(found[name].n_bytes[0]) for name in ("Cyrillic", "Latin")] == [6, 4]


def test_a_script_that_the_model_was_never_shown_costs_more_than_its_own():
    """Effect: the stories model on Latin and Cyrillic letters of one document."""
    text = "Once upon a time there was a little girl. Жила-была девочка в лесу."
    found = measure_scripts(LM.open(demo_model()), [text], segment_bytes=512)
    bits = {name: found[name].bits_per_byte().value for name in ("Latin", "Cyrillic")}
    # A bit and a half a byte was measured for such English; unseen letters cost more than a uniform byte's 8 bits.
    assert bits["Latin"] < 4
    assert bits["Cyrillic"] > 8
