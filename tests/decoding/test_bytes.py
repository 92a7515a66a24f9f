"""The byte model against a closed form, brute force, a peer, and its own laws."""

import functools
from fractions import Fraction
from itertools import pairwise, product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from small_vocabularies import ENGLISH, byte_level
from tokenry.core import hf_json
from tokenry.core.vocab import Vocab
from tokenry.decoding.bytes import TARGETS, ByteLM
from tokenry.decoding.bytes_contexts import Context
from tokenry.decoding.bytes_tokens import END
from tokenry.models.generation import end_ids
from tokenry.models.lm import LM
from tokenry.models.tiny import tiny_llama
from tokenry.tokenization.train import train

ALPHA, BETA, START_A = Fraction(2, 7), Fraction(3, 5), Fraction(1, 3)


@functools.cache
def model(kind: str = "byte-level") -> LM:
    vocab = train(ENGLISH, size=400, style="metaspace") if kind == "metaspace" else byte_level("english", 340)
    return tiny_llama(vocab, spread=0.25, width=32)


@functools.cache
def byte_lm(kind: str = "byte-level", target: str = "canonical", beam: int = 0) -> ByteLM:
    return ByteLM(model(kind), target=target, beam=beam)


def toy_law(last: str) -> dict[str, Fraction]:
    """The token model that a two-state Markov chain over A and B induces under the vocabulary AA, A, B."""
    stay = 1 - ALPHA
    return {
        "": {"AA": START_A * stay, "A": START_A * ALPHA, "B": 1 - START_A},
        "B": {"AA": BETA * stay, "A": BETA * ALPHA, "B": 1 - BETA},
        "AA": {"AA": stay * stay, "A": stay * ALPHA, "B": ALPHA},
        "A": {"AA": Fraction(0), "A": Fraction(0), "B": Fraction(1)},
    }[last]


class ToyRunner:
    """Asks the toy instead of a model."""

    def __init__(self, lm, before, on_logits):
        self.before, self.on_logits, self.root = before, on_logits, Context(None, -1, 0.0, ())
        self.names = lm.names

    def run(self, wanted, live=()):
        for context in wanted:
            law = toy_law(self.names[context.token] if context.parent else "")
            values = [law.get(name, Fraction(0)) for name in self.names]
            self.on_logits([context], torch.tensor([[float(value) for value in values]], dtype=torch.float64).log())


class ToyByteLM(ByteLM):
    runner = ToyRunner


@pytest.mark.parametrize("target", TARGETS)
def test_the_closed_form_of_a_markov_chain_comes_back(target):
    """All 510 strings of length 1 to 8: the truth is the chain's own probability, in rationals."""
    vocab_ids = {"A": 0, "B": 1, "AA": 2}
    decoder = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    spec = hf_json.whole_spec(hf_json.bpe_model(vocab_ids, [["A", "A"]]), decoder=decoder, added_tokens=[])
    vocab = Vocab.from_spec(spec)
    lm = SimpleNamespace(vocab=vocab, names=list(vocab_ids), start=0, adds_space=False, context=64, model=None)
    toy = ToyByteLM(lm, target=target, beam=0)
    states = {"": toy.start()}
    for size in range(1, 9):
        for letters in product("AB", repeat=size):
            text = "".join(letters)
            truth = START_A if text[0] == "A" else 1 - START_A
            for a, b in pairwise(text):
                truth *= {"AA": 1 - ALPHA, "AB": ALPHA, "BA": BETA, "BB": 1 - BETA}[a + b]
            state = states[text] = states[text[:-1]].advance(text[-1].encode())
            assert np.exp(state.log_p) == pytest.approx(float(truth), rel=1e-10)
    assert np.exp(states["BA"].next_log_p[ord("B")]) == pytest.approx(float(ALPHA))  # asked by tokens it would be 1


def brute(lm: LM, text: bytes, law, before: list[int]) -> float:
    """P of all token strings that cover a text, every context by a full forward."""
    ends = set(end_ids(lm))

    @functools.cache
    def asked(context):
        with torch.inference_mode():
            logits = lm.model(input_ids=torch.tensor([[*before, *context]]), use_cache=False).logits[0, -1]
        return law(context, torch.softmax(logits[: lm.vocab.size].double(), -1).numpy())

    def below(context, done, p):
        rest, total = text[done:], 0.0
        for token, data in enumerate(lm.vocab.tokens):
            if data and token not in ends and (data.startswith(rest) or rest.startswith(data)):
                share = p * asked(context)[token]
                if data.startswith(rest):
                    total += share
                elif share:
                    total += below((*context, token), done + len(data), share)
        return total

    return below((), 0, 1.0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", ["byte-level", "metaspace"])
def test_brute_force_over_all_covers_agrees(kind, target):
    lm, exact = model(kind), byte_lm(kind, target)
    ordinary_V = np.array([data is not None for data in lm.vocab.tokens])
    ends = list(end_ids(lm))

    def law(context, p_V):
        keep_V, end = ordinary_V.copy(), True
        if target != "all":
            tail = ()
            for token in context:
                tail = exact.viability.step(tail, token)
            mask_V, end = exact.viability.mask(tail)
            keep_V &= mask_V
        keep_V[ends] = end
        return p_V * keep_V / (1.0 if target == "restricted" else p_V[keep_V].sum())

    space = b" " if lm.adds_space else b""
    for text in (b" ho", b"a  1")[target != "all" :]:  # masks of many contexts take their time
        want = brute(lm, space + text, law, [lm.start]) / (brute(lm, space, law, [lm.start]) if space else 1.0)
        assert exact.start().advance(text).log_p == pytest.approx(np.log(want), abs=1e-4)


TEXTS = st.lists(
    st.sampled_from(["the", " c", "a", "  ", "1", "8", "'s", "\n", "s", " sea", "é"]), min_size=1, max_size=5
)


@settings(max_examples=8)
@given(parts=TEXTS, target=st.sampled_from(["canonical", "all"]), kind=st.sampled_from(["byte-level", "metaspace"]))
def test_probabilities_of_all_next_bytes_and_the_end_add_up(parts, target, kind):
    """P(x) = sum over b of P(x b) + P(x, end), for the proper targets."""
    data = "".join(parts).encode()[: 4 if target == "all" else 12]
    state = byte_lm(kind, target).start().advance(data)
    assert float(np.exp(state.masses).sum()) == pytest.approx(1.0, abs=1e-9)
    byte = int(state.next_log_p[:END].argmax())
    after = state.advance(byte)
    assert after.log_p - state.log_p == pytest.approx(float(state.next_log_p[byte]), abs=1e-6)


@settings(max_examples=4)
@given(parts=TEXTS)
def test_reading_a_known_text_is_writing_it_byte_by_byte(parts):
    """The slow twin: one call a byte; the fast paths run many contexts at once."""
    text = "the cat's 12  8 " + "".join(parts)
    exact = byte_lm()
    slow = exact.start().advance(text.encode())
    *_, fast = exact.states(text)
    assert fast.log_p == pytest.approx(slow.log_p, abs=1e-3)
    assert exact.log_prob(text) == pytest.approx(slow.log_p, abs=1e-3)
    np.testing.assert_allclose(np.exp(exact.after(text).next_log_p), np.exp(slow.next_log_p), atol=1e-4)
    assert exact.log_prob(text, end=True) == pytest.approx(slow.log_p + slow.next_log_p[END], abs=1e-3)


def test_a_state_never_changes_and_branches_share_it():
    exact = byte_lm()
    root = exact.start().advance(b"the ca")
    law = root.next_log_p.copy()
    one, two = root.advance(b"t sat on"), root.advance(b"r and the")
    assert exact.start().advance(b"the cat sat on").log_p == pytest.approx(one.log_p, abs=1e-3)
    assert exact.start().advance(b"the car and the").log_p == pytest.approx(two.log_p, abs=1e-3)
    np.testing.assert_array_equal(root.next_log_p, law)


def test_a_whole_document_is_the_product_of_its_tokens_when_all_ways_are_counted():
    """P(document, end) over all ways is at least that of the tokenizer's own way, and here nearly all of it."""
    from tokenry.data import demo_model

    lm = LM.open(demo_model())
    text = "Once upon a time, there was a little girl named Lily."
    own = -float(np.concatenate(lm.nll([text])).sum())
    every, canonical = (ByteLM(lm, target=target, beam=8).log_prob(text) for target in ("all", "canonical"))
    # nll conditions on bos, ours on bos and the tokenizer's own space, which this model writes first
    assert canonical == pytest.approx(own, abs=0.02)
    assert own - 1e-3 <= every <= own + 0.05


def test_a_beam_loses_little_and_the_wider_one_less():
    data = b"the cat's hou"
    truth = byte_lm("byte-level", "all", 0).start().advance(data).log_p
    lost = [truth - ByteLM(model(), target="all", beam=beam).start().advance(data).log_p for beam in (2, 8, 32)]
    assert lost[0] >= lost[1] >= lost[2] >= -1e-3
    assert lost[2] < 0.01


def test_genlm_bytes_gives_the_same_prefix_probability(tmp_path):
    pytest.importorskip("genlm.bytes", reason="the peer genlm-bytes is not installed")
    import asyncio

    from genlm.backend.llm import AsyncTransformer
    from genlm.bytes import BeamParams, ByteBeamState
    from genlm.bytes.byte_lm.lm_state import StatefulTokenizedLM
    from genlm.bytes.byte_lm.trie_state import LazyTrieState
    from genlm.bytes.trie import AsyncTokenByteTrie, TrieMode

    lm = tiny_llama(train(ENGLISH, size=360, pattern="gpt2"), spread=0.25, width=32)
    lm.save(tmp_path / "model")
    every = ByteLM(lm, target="all", beam=0)

    async def peer(data: bytes) -> float:
        llm = AsyncTransformer.from_name(str(tmp_path / "model"), hf_opts={"torch_dtype": "float32"})
        trie = AsyncTokenByteTrie.from_vocab(llm.byte_vocab, eos_byte_strings=set())
        first = LazyTrieState.initial(llm, trie, mode=TrieMode.WITHOUT_EOS)
        first.lm_state = StatefulTokenizedLM.initial(llm, initial_context=[lm.start])
        state = ByteBeamState([await first.materialize()], BeamParams(K=100_000, heal=False))
        return float((await state.prefill(data)).logZ)

    for data in (b"the ca", b"a hous"):
        # the peer gives special tokens their literal's bytes; ours leaves them out and shares their mass
        raw = ByteLM(lm, target="all", beam=0)
        raw._set_laws = functools.partial(_with_specials, raw)
        assert raw.start().advance(data).log_p == pytest.approx(asyncio.run(peer(data)), abs=1e-4)
        assert np.isfinite(every.start().advance(data).log_p)


def _with_specials(exact: ByteLM, contexts, logits_NV) -> None:
    law_NV = torch.softmax(logits_NV[:, : exact.lm.vocab.size].double(), -1).numpy()
    for context, law_V in zip(contexts, law_NV, strict=True):
        context.law_S, context.end = law_V[exact.sorted.ids_S], 0.0


@pytest.mark.parametrize(("name", "value"), [("target", "every"), ("beam", -1), ("prune", 1.0)])
def test_wrong_arguments_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}="):
        ByteLM(model(), **{name: value})


def test_wordpiece_is_refused_for_every_target():
    lm = SimpleNamespace(vocab=train(ENGLISH, size=120, kind="wordpiece"))
    with pytest.raises(ValueError, match="words are lost"):
        ByteLM(lm, target="all")


def test_invalid_utf8_has_no_canonical_cover_but_other_ways_to_write_it():
    state = byte_lm().start().advance(b"the \xff\xfe")
    assert state.log_p == -np.inf
    with pytest.raises(ValueError, match="Take target 'all'"):
        state.next_log_p  # noqa: B018
    assert np.isfinite(byte_lm("byte-level", "all", 0).start().advance(b"the\xff").log_p)


def test_an_unfinished_character_goes_on_as_utf8():
    state = byte_lm().start().advance(b"caf" + b"\xc3")
    possible = np.flatnonzero(state.next_log_p > -np.inf)
    assert len(possible)
    assert ((possible >= 0x80) & (possible < 0xC0)).all()


def test_a_prompt_longer_than_the_context_and_nan_logits_are_refused():
    lm = tiny_llama(byte_level("english", 340), positions=24, spread=0.25)
    with pytest.raises(ValueError, match="the model holds 24"):
        ByteLM(lm).after("the cat sat on the mat and " * 8)
    broken = tiny_llama(byte_level("english", 340), spread=0.25)
    broken.model.get_output_embeddings().weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        ByteLM(broken).start().advance(b"the")


def test_a_model_without_an_end_gives_the_end_no_probability():
    lm = tiny_llama(byte_level("english", 340), spread=0.25, width=32)
    lm.model.generation_config.eos_token_id = []
    state = ByteLM(lm).start().advance(b"the cat")
    assert state.next_log_p[END] == -np.inf
    assert np.exp(state.next_log_p).sum() == pytest.approx(1.0)
