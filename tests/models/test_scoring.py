"""Windows cover every id once, groups keep to their budget, the sliced head equals the whole."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.vocab import Vocab
from tokenry.data import demo_model
from tokenry.models import scoring
from tokenry.models.scoring import Scores, grouped, split_head, windows
from tokenry.models.tiny import tiny_llama


@given(st.integers(0, 200), st.integers(2, 40))
def test_every_id_is_scored_once_with_half_a_context_before_it(n, context):
    ids = np.arange(100, 100 + n, dtype=np.uint32)
    found = windows(ids, start=7, context=context)
    scored = np.concatenate([window.ids[-window.n_scored :] for window in found]) if found else np.zeros(0)
    np.testing.assert_array_equal(scored, ids)
    for window in found:
        assert window.ids[0] == 7
        assert 2 <= len(window.ids) <= context
        assert 1 <= window.n_scored < len(window.ids)
        if window.place:
            assert len(window.ids) - 1 - window.n_scored >= (context - 1) // 2
        assert window.place == window.ids[-window.n_scored] - 100


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_groups_hold_each_sequence_once_within_the_budget(sizes, batch_tokens):
    groups = list(grouped(sizes, batch_tokens))
    assert sorted(int(index) for group in groups for index in group) == list(range(len(sizes)))
    for group in groups:
        padded = len(group) * max(sizes[index] for index in group)
        assert padded <= batch_tokens or len(group) == 1


@pytest.fixture(scope="module")
def lm():
    return tiny_llama(Vocab.open(demo_model()), spread=0.3)


def test_the_head_in_slices_equals_the_whole(lm, monkeypatch):
    text = ["Once upon a time there was a dog. " * 4]
    whole = lm.nll(text)[0]
    monkeypatch.setattr(scoring, "LOGITS_AT_ONCE", 512 * 3)
    np.testing.assert_allclose(lm.nll(text)[0], whole, rtol=1e-5)


def test_no_cube_of_logits_is_held(lm, monkeypatch):
    """With slices of 8 rows no tensor of the head's output has more."""
    monkeypatch.setattr(scoring, "LOGITS_AT_ONCE", 512 * 8)
    seen = []
    hook = lm.model.lm_head.register_forward_hook(lambda module, args, output: seen.append(output.numel()))
    lm.nll(["Once upon a time there was a dog. " * 6] * 4, batch_tokens=4096)
    hook.remove()
    # The probe of `split_head` runs the head over 2 x 5 positions.
    assert len(seen) > 20
    assert max(seen) <= 512 * 10


class Capped(torch.nn.Module):
    """A head that is not all: logits are capped afterwards, as in Gemma 2."""

    def __init__(self, model):
        super().__init__()
        self.inner, self.base_model, self.dtype, self.config = model, model.base_model, model.dtype, model.config

    def get_input_embeddings(self):
        return self.inner.get_input_embeddings()

    def get_output_embeddings(self):
        return self.inner.get_output_embeddings()

    def forward(self, **inputs):
        found = self.inner(**inputs)
        found.logits = 3 * torch.tanh(found.logits / 3)
        return found


def test_a_model_that_does_more_than_its_head_is_asked_whole(lm):
    capped = Capped(lm.model).eval()
    with torch.no_grad():
        assert split_head(lm.model) is not None
        assert split_head(capped) is None
    ids = lm.vocab.encode(["Once upon a time"])
    (nats,) = scoring.text_nats(capped, ids, start=1, context=512, batch_tokens=64)
    sequence = torch.tensor([[1, *ids[0].tolist()]])
    with torch.no_grad():
        log_p = torch.log_softmax(capped(input_ids=sequence).logits[0, :-1], dim=-1)
    expected = -log_p.gather(1, sequence[0, 1:, None])[:, 0].double().numpy()
    np.testing.assert_allclose(nats, expected, atol=1e-5)


def test_a_model_that_looks_ahead_is_refused():
    from transformers import BertConfig, BertLMHeadModel

    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = BertLMHeadModel(BertConfig(vocab_size=60, is_decoder=False, initializer_range=0.5, **shape)).eval()
    with torch.no_grad(), pytest.raises(ValueError, match="looks at later tokens"):
        split_head(bert)


def test_ratios_are_of_sums_over_documents():
    scores = Scores(np.array([2.0, 4.0]) * np.log(2), np.array([2, 8]), np.array([1, 4]))
    assert scores.bits_per_byte().value == pytest.approx(0.6)
    assert scores.bytes_per_token().value == pytest.approx(2.0)
