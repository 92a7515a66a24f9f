"""Every operation of a Session equals a full forward pass, on every kind of model, eager and sdpa.

Tolerance: float32 sums in another order. 1e-4 of the largest logit is asserted.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_causal_models import KINDS, N_TOKENS, full_logits, tiny
from tokenry.decoding.trees import Shape, TokenTree, chain
from tokenry.models.session import Session
from tokenry.models.session_support import inspect_attention

MODELS = [(kind, implementation) for kind in KINDS for implementation in ("eager", "sdpa")]
TEXT = [5, 17, 3, 44, 21, 60, 8, 9, 33, 12, 28, 51, 7, 19, 40]  # longer than the sliding window of 9
TREE = TokenTree([11, 4, 25, 38, 9, 9, 50, 2, 31], [-1, 0, 0, 1, 1, 2, 5, 3, 0])


def assert_same(ours: torch.Tensor, full: torch.Tensor) -> None:
    assert ours.shape == full.shape
    assert float((ours - full).abs().max()) <= 1e-4 * float(full.abs().max())


def on_models(test):
    return pytest.mark.parametrize(("kind", "implementation"), MODELS)(test)


@on_models
def test_extending_in_pieces_equals_one_forward(kind, implementation):
    model = tiny(kind, implementation)
    session, full = Session.open(model), full_logits(model, TEXT)
    assert_same(session.extend(TEXT[:4], keep="all"), full[:4])
    assert_same(session.extend(TEXT[4:5]), full[4])
    assert_same(session.extend(TEXT[5:14], keep="all"), full[5:14])
    assert_same(session.extend(TEXT[14:]), full[14])
    assert session.tokens == TEXT
    assert session.n_forwards == 4


@on_models
def test_every_node_of_a_tree_equals_its_path_as_a_text(kind, implementation):
    model = tiny(kind, implementation)
    session = Session.open(model)
    session.extend(TEXT)
    logits = session.verify(TREE)
    for node in range(len(TREE)):
        assert_same(logits[node], full_logits(model, [*TEXT, *TREE.text(node)])[-1])
    assert session.tokens == TEXT


@on_models
def test_an_accepted_path_goes_on_as_its_text(kind, implementation):
    model = tiny(kind, implementation)
    session = Session.open(model)
    session.extend(TEXT)
    session.verify(TREE)
    session.accept([0, 2, 5, 6])
    text = [*TEXT, 11, 25, 9, 50]
    assert session.tokens == text
    assert_same(session.extend([7, 13], keep="all"), full_logits(model, [*text, 7, 13])[-2:])
    assert_same(
        session.verify(TREE), torch.stack([full_logits(model, [*text, 7, 13, *TREE.text(n)])[-1] for n in range(9)])
    )


@on_models
def test_a_tree_grown_layer_by_layer_equals_one_verified_at_once(kind, implementation):
    model = tiny(kind, implementation)
    session, other = Session.open(model), Session.open(model)
    session.extend(TEXT)
    other.extend(TEXT)
    first = session.verify(TREE.first(3))
    second = session.verify(TREE.first(6), known=3)
    third = session.verify(TREE, known=6)
    assert_same(torch.cat([first, second, third]), other.verify(TREE))
    session.accept([0, 1, 3, 7])
    assert_same(session.extend([1]), full_logits(model, [*TEXT, 11, 4, 38, 2, 1])[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_rolling_back_leaves_no_trace(kind):
    model = tiny(kind)
    session = Session.open(model)
    session.extend(TEXT)
    session.verify(TREE)
    session.rollback(6)
    assert session.tokens == TEXT[:9]
    assert_same(session.extend([30, 31], keep="all"), full_logits(model, [*TEXT[:9], 30, 31])[-2:])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_different_lengths_do_not_see_their_padding(kind):
    model = tiny(kind)
    rows = [TEXT, TEXT[3:10], [9]]
    session = Session.open(model, batch=3)
    logits = session.extend(rows)
    session.extend([[1], [2], [3]])
    after = session.extend([[4, 5], [6, 7], [8, 9]])
    for row, tail, first, last in zip(rows, ([1, 4, 5], [2, 6, 7], [3, 8, 9]), logits, after, strict=True):
        assert_same(first, full_logits(model, row)[-1])
        assert_same(last, full_logits(model, [*row, *tail])[-1])
    assert session.rows[2] == [9, 3, 8, 9]


def test_forks_do_not_touch_each_other():
    model = tiny()
    parent = Session.open(model)
    parent.extend(TEXT)
    children = [parent.fork() for _ in range(3)]
    for number, child in enumerate(children):
        assert_same(child.extend([number, 5]), full_logits(model, [*TEXT, number, 5])[-1])
    parent.rollback(3)
    assert_same(parent.extend([50]), full_logits(model, [*TEXT[:-3], 50])[-1])
    for number, child in enumerate(children):
        grandchild = child.fork()
        assert_same(grandchild.extend([40]), full_logits(model, [*TEXT, number, 5, 40])[-1])
        assert_same(child.extend([41]), full_logits(model, [*TEXT, number, 5, 41])[-1])


def test_forks_of_a_verified_tree_accept_different_paths():
    model = tiny()
    session = Session.open(model)
    session.extend(TEXT)
    session.verify(TREE)
    other, third = session.fork(), session.fork()
    session.accept([0, 2, 5])
    other.accept([0, 1, 4])
    third.accept([])
    assert_same(session.extend([6]), full_logits(model, [*TEXT, 11, 25, 9, 6])[-1])
    assert_same(other.extend([6]), full_logits(model, [*TEXT, 11, 4, 9, 6])[-1])
    assert_same(third.extend([6]), full_logits(model, [*TEXT, 6])[-1])


def test_selected_rows_go_on_alone():
    model = tiny()
    session = Session.open(model)
    session.extend(TEXT)
    session.select([0, 0, 0])
    session.extend([[1], [2], [3]])
    session.select([2, 2, 0])
    logits = session.extend([[7], [8], [9]])
    for row, tail in zip(logits, ([3, 7], [3, 8], [1, 9]), strict=True):
        assert_same(row, full_logits(model, [*TEXT, *tail])[-1])
    session.select([1])
    assert session.tokens == [*TEXT, 3, 8]
    assert_same(session.verify(chain([4, 5]))[1], full_logits(model, [*TEXT, 3, 8, 4, 5])[-1])


def test_several_roots_follow_the_text_itself():
    model = tiny()
    session = Session.open(model)
    session.extend(TEXT)
    forest = TokenTree([4, 5, 6, 7], [-1, -1, 1, 0])
    logits = session.verify(forest)
    for node in range(4):
        assert_same(logits[node], full_logits(model, [*TEXT, *forest.text(node)])[-1])


def test_a_tree_may_stand_at_the_very_beginning():
    model = tiny("gemma3")
    logits = Session.open(model).verify(TREE)
    for node in range(len(TREE)):
        assert_same(logits[node], full_logits(model, TREE.text(node))[-1])


@given(data=st.data())
@settings(max_examples=25)
def test_any_course_of_operations_equals_a_full_forward(data):
    """Extend, roll back, verify, accept and fork in any order; the windowed and mixed model is the hardest."""
    model = tiny("gemma3")
    sessions = [Session.open(model)]
    sessions[0].extend([1])
    token = st.integers(0, N_TOKENS - 1)
    for _ in range(data.draw(st.integers(1, 7))):
        session = data.draw(st.sampled_from(sessions))
        what = data.draw(st.sampled_from(("extend", "rollback", "verify", "fork")))
        if what == "extend":
            session.extend(data.draw(st.lists(token, min_size=1, max_size=6)))
        elif what == "rollback":
            session.rollback(data.draw(st.integers(0, len(session) - 1)))
        elif what == "fork":
            sessions.append(session.fork())
        else:
            parents = [-1] + [data.draw(st.integers(0, node - 1)) for node in range(1, data.draw(st.integers(1, 7)))]
            tree = TokenTree([data.draw(token) for _ in parents], parents)
            logits = session.verify(tree)
            node = data.draw(st.integers(0, len(tree) - 1))
            assert_same(logits[node], full_logits(model, [*session.tokens, *tree.text(node)])[-1])
            session.accept(tree.path(node)[: data.draw(st.integers(0, 7))])
    for session in sessions:
        assert_same(session.fork().extend([3]), full_logits(model, [*session.tokens, 3])[-1])


def test_hidden_states_are_those_of_the_forward():
    model = tiny()
    session = Session.open(model, hidden_states=True)
    session.extend(TEXT)
    with torch.inference_mode():
        full = model(input_ids=torch.tensor([TEXT]), output_hidden_states=True).hidden_states
    assert len(session.hidden) == 4
    assert_same(session.hidden[-1][0], full[-1][0])


def test_a_step_copies_no_cache_once_there_is_room():
    session = Session.open(tiny())
    session.extend(TEXT)
    buffers = [layer.buffer.keys.data_ptr() for layer in session._cache.layers]
    for token in range(30):
        session.verify(TREE)
        session.accept([0, 2, 5])
        session.extend([token])
        session.rollback(2)
    assert [layer.buffer.keys.data_ptr() for layer in session._cache.layers] == buffers


def _model(name: str, **settings: object) -> torch.nn.Module:
    import transformers as tf

    small = {
        "vocab_size": 50,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    config = getattr(tf, f"{name}Config")(**{**small, **settings})
    auto = tf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else tf.AutoModelForCausalLM
    return auto.from_config(config).eval()


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("Mamba", {"state_size": 4}, "MambaForCausalLM.*(recurrent|linear)"),
        ("FalconH1", {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 32, "mamba_d_ssm": 32,
                      "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 4}, "FalconH1ForCausalLM.*hybrid"),
        ("Rwkv", {"attention_hidden_size": 32}, "RwkvForCausalLM.*recurrent"),
        ("T5", {"d_model": 16, "num_heads": 2, "d_kv": 8, "d_ff": 16}, "encoder-decoder"),
        ("Bloom", {"n_head": 4}, "BloomForCausalLM"),
    ],
)  # fmt: skip
def test_models_that_cannot_branch_are_refused_by_name(name, settings, told):
    with pytest.raises(ValueError, match=told):
        Session.open(_model(name, **settings)).verify(TREE)


def test_caches_that_cannot_be_rolled_back_are_refused_by_name():
    from transformers import DynamicCache, StaticCache

    model = tiny()
    with pytest.raises(ValueError, match="StaticCache"):
        Session.open(model, cache=StaticCache(config=model.config, max_cache_len=16))
    filled = DynamicCache()
    model(input_ids=torch.tensor([TEXT]), use_cache=True, **{inspect_attention(model).cache_name: filled})
    with pytest.raises(ValueError, match="15 tokens already"):
        Session.open(model, cache=filled)
    Session.open(model, cache=DynamicCache())


def test_models_that_look_ahead_are_refused_at_once():
    """Before the first tree: plain decoding with one would write nonsense without a word."""
    from small_vocabularies import byte_level
    from tokenry.models.tiny import tiny_bert, tiny_llama

    vocab = byte_level(specials=("<|end|>", "<s>", "<pad>"))
    both_ways = tiny_llama(vocab).model
    both_ways.config.is_causal = False
    for model in (both_ways, tiny_bert(vocab).model):
        with pytest.raises(ValueError, match=f"{type(model).__name__} looks at later tokens"):
            Session.open(model)


def test_attention_that_takes_no_mask_is_refused_with_the_way_out(monkeypatch):
    model = tiny()
    monkeypatch.setattr(model.config, "_attn_implementation_internal", "flash_attention_2", raising=False)
    with pytest.raises(ValueError, match="set_attn_implementation"):
        Session.open(model)


def test_attention_that_ignores_the_mask_is_found_out():
    class Deaf(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.config = tiny("llama"), tiny("llama").config

        def get_input_embeddings(self):
            return self.inner.get_input_embeddings()

        def forward(self, input_ids, attention_mask=None, position_ids=None, past_key_values=None, use_cache=True):
            name = inspect_attention(self.inner).cache_name
            return self.inner(input_ids=input_ids, use_cache=use_cache, **{name: past_key_values})

    session = Session.open(Deaf())
    session.extend(TEXT)
    with pytest.raises(ValueError, match="does not follow a 4-D attention mask"):
        session.verify(TREE)


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda s: s.extend([]), "start token"),
        (lambda s: s.extend([61]), "0 to 60"),
        (lambda s: s.extend([-1]), "0 to 60"),
        (lambda s: s.extend(list(range(50)) * 3), "holds 128"),
        (lambda s: s.extend([1], keep="first"), "keep="),
        (lambda s: s.rollback(16), "0 <= n <= 15"),
        (lambda s: s.accept([0]), "verify"),
        (lambda s: (s.verify(TREE), s.accept([0, 3])), "no path"),
        (lambda s: (s.verify(TREE), s.accept([1])), "no path"),
        (lambda s: s.verify(TREE, known=3), "known=3"),
        (lambda s: (s.verify(TREE), s.verify(TREE, known=9)), "at least one new"),
        (lambda s: s.verify(TokenTree([], [])), "at least one new"),
        (lambda s: s.verify(chain([1] * 120)), "levels of a tree"),
        (lambda s: s.select([1]), "batch of 1"),
        (lambda s: (s.select([0, 0]), s.verify(TREE)), "need one row"),
        (lambda s: (s.select([0, 0]), s.extend([[1], [1, 2]])), "only at the start"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(act, told):
    session = Session.open(tiny())
    session.extend(TEXT)
    with pytest.raises(ValueError, match=told):
        act(session)


def test_a_template_is_filled_and_verified_like_any_tree():
    model = tiny()
    shape = Shape.from_ranks([(0,), (1,), (0, 0), (0, 1), (1, 0)])
    tree = shape.filled(np.arange(len(shape)))
    session = Session.open(model)
    session.extend(TEXT)
    assert_same(session.verify(tree)[5], full_logits(model, [*TEXT, 0, 2, 5])[-1])
