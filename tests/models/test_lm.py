"""LM scores exactly what the model says, keeps to the rules of BOS, and saves what can be opened."""

import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from tokenry.core.tables import texts as read_texts
from tokenry.core.vocab import Vocab
from tokenry.data import demo_model, demo_text
from tokenry.models.lm import LM, load
from tokenry.models.tiny import tiny_llama


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM.open(demo_model(), device="cpu")


@pytest.fixture(scope="module")
def double() -> LM:
    return LM.open(demo_model(), device="cpu", dtype="float64")


def loop_nats(lm: LM, text: str) -> list[float]:
    """One token at a time, one text at a time, in float64, with plain log-softmax over the whole vocabulary."""
    ids = [1, *lm.vocab.encode([text])[0].tolist()]
    found = []
    for place in range(1, len(ids)):
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([ids[:place]])).logits[0, -1].double()
        found.append(-float(torch.log_softmax(logits, dim=0)[ids[place]]))
    return found


TEXTS = ["Once upon a time there was a cat.", "", "Hi", "漢字 and 🙂\n\nTom said: “no”.", "a" * 70]


def test_nll_equals_an_unbatched_loop_in_float64(double):
    for text, nats in zip(TEXTS, double.nll(TEXTS, batch_tokens=64), strict=True):
        np.testing.assert_allclose(nats, loop_nats(double, text), atol=1e-10)


@pytest.mark.parametrize("batch_tokens", [1, 50, 400, 10_000])
def test_padding_and_batching_do_not_change_a_score(lm, batch_tokens):
    alone = [lm.nll([text])[0] for text in TEXTS]
    for one, together in zip(alone, lm.nll(TEXTS, batch_tokens=batch_tokens), strict=True):
        np.testing.assert_allclose(together, one, atol=2e-5)


def test_the_first_token_is_predicted_from_bos(double):
    """Stories begin alike, which only a model asked after its BOS knows: 6.2 nats would be a guess."""
    stories = [text[:40] for text in read_texts(demo_text("stories"))][:30]
    assert np.mean([nats[0] for nats in double.nll(stories)]) < 1


def test_score_is_the_sum_over_segments_of_equal_bytes(double):
    from tokenry.core.splitting import segments

    documents = [text[:500] for text in list(read_texts(demo_text("stories")))[:4]] + ["", "short"]
    scores = double.score(documents, max_bytes=120, batch_tokens=200)
    for index, document in enumerate(documents):
        pieces = [p[1:] if p.startswith(" ") and len(p) > 1 else p for p in segments(document, 120)]
        assert scores.nats[index] == pytest.approx(sum(map(np.sum, double.nll(pieces))), abs=1e-9)
        assert scores.n_tokens[index] == sum(len(double.vocab.encode([piece])[0]) for piece in pieces)
        assert scores.n_bytes[index] == len(document.encode())
    measured = scores.bits_per_byte()
    assert measured.value == pytest.approx(scores.nats.sum() / math.log(2) / scores.n_bytes.sum())
    assert measured.low < measured.value < measured.high
    assert measured.unit == "bits/byte"


def test_a_segment_keeps_its_leading_space_when_the_tokenizer_adds_one(lm):
    assert lm.adds_space
    text = "one two three four five six"
    pieces = ["one two three", " four five six"]
    given = [pieces[0], pieces[1][1:]]
    spelled = b"".join(lm.vocab.decode_bytes(ids) for ids in lm.vocab.encode(given))
    assert spelled == (" " + text).encode()
    scores = lm.score([text], max_bytes=14)
    assert scores.nats[0] == pytest.approx(sum(map(np.sum, lm.nll(given))), abs=1e-4)


def test_scoring_does_not_depend_on_how_documents_are_grouped(lm, monkeypatch):
    documents = [text[:300] for text in list(read_texts(demo_text("stories")))[:9]]
    whole = lm.score(documents, max_bytes=200)
    monkeypatch.setattr("tokenry.models.lm.DOCUMENTS_BYTES", 500)
    parts = lm.score(iter(documents), max_bytes=200)
    np.testing.assert_allclose(parts.nats, whole.nats, rtol=1e-5)
    np.testing.assert_array_equal(parts.n_bytes, whole.n_bytes)


def test_nothing_to_score_is_no_documents_and_empty_documents_are_free(lm):
    assert len(lm.score([], max_bytes=100).nats) == 0
    scores = lm.score(["", ""], max_bytes=100)
    assert (scores.nats.tolist(), scores.n_bytes.tolist(), scores.n_tokens.tolist()) == ([0, 0], [0, 0], [0, 0])


def test_one_string_is_not_taken_for_many_texts(lm):
    with pytest.raises(ValueError, match="brackets"):
        lm.score("Once upon a time", max_bytes=100)
    with pytest.raises(ValueError, match="brackets"):
        lm.nll("Once upon a time")


def test_progress_counts_all_bytes(lm):
    class Counter:
        total = 0

        def add(self, n):
            self.total += n

    counter, documents = Counter(), ["Once upon a time. " * 20, "Tom ran."]
    lm.score(documents, max_bytes=100, progress=counter)
    # A piece whose own space is given away counts one byte less.
    assert 0 <= sum(len(text.encode()) for text in documents) - counter.total <= 4


def test_a_text_beyond_the_context_is_scored_in_windows():
    vocab = Vocab.open(demo_model())
    lm = tiny_llama(vocab, positions=24, spread=0.3)
    text = "The dog and the cat sat. " * 8
    nats = lm.nll([text])[0]
    ids = vocab.encode([text])[0].astype(np.int64)
    assert len(nats) == len(ids) > 50
    by_hand, done = [], 0
    while done < len(ids):
        begin = max(0, done - 11) if done else 0
        stop = min(len(ids), begin + 23)
        sequence = torch.tensor([[1, *ids[begin:stop].tolist()]])
        with torch.no_grad():
            log_p = torch.log_softmax(lm.model(input_ids=sequence).logits[0, :-1].double(), dim=-1)
        picked = -log_p.gather(1, sequence[0, 1:, None])[:, 0]
        by_hand += picked[done - begin :].tolist()
        done = stop
    np.testing.assert_allclose(nats, by_hand, atol=1e-5)


def test_encode_puts_bos_first_only_where_the_tokenizer_does(lm):
    assert lm.bos == 1
    assert lm.encode(["Hi"])[0].tolist() == lm.tokenizer("Hi")["input_ids"]
    assert lm.encode([""])[0].tolist() == [1]


def gpt2_like(specials: dict) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({char: number for number, char in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **specials)


def test_a_model_without_bos_starts_from_its_end_of_text():
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = gpt2_like({"eos_token": "<|endoftext|>"})
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape))
    lm = LM.open((model, tokenizer))
    assert lm.bos is None
    assert lm.start == tokenizer.eos_token_id
    assert lm.encode(["ab"])[0].tolist() == tokenizer("ab")["input_ids"]
    assert not lm.adds_space
    assert len(lm.nll(["ab"])[0]) == 2


def test_a_chat_model_starts_from_what_separated_documents_and_not_from_the_end_of_a_turn():
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = gpt2_like({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"})
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    lm = LM.open((LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape)), tokenizer))
    assert lm.bos is None
    assert lm.start == tokenizer.convert_tokens_to_ids("<|endoftext|>")


def test_a_tokenizer_without_any_start_is_refused_when_it_scores():
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = gpt2_like({})
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    lm = LM.open((LlamaForCausalLM(LlamaConfig(vocab_size=256, **shape)), tokenizer))
    with pytest.raises(ValueError, match="neither bos nor eos"):
        lm.nll(["ab"])


def test_saving_gives_a_folder_that_opens_alone_and_gives_the_same_logits(lm, tmp_path):
    out = lm.save(tmp_path / "copy")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    ids = tokenizer("Once upon a time", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, lm.model(ids).logits, rtol=0, atol=0)
    with pytest.raises(FileExistsError):
        lm.save(out)
    lm.save(out, overwrite=True)


def test_a_copy_that_does_not_reopen_alike_is_not_left_behind(tmp_path):
    """A configuration changed behind the back of the built model: the copy would be another model."""
    lm = LM.open(demo_model(), device="cpu")
    lm.model.config.rope_parameters["rope_theta"] = 50.0
    with pytest.raises(ValueError, match="other logits"):
        lm.save(tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_head_untied_in_memory_is_saved_untied(tmp_path):
    lm = LM.open(demo_model(), device="cpu")
    lm.model.lm_head.weight = torch.nn.Parameter(torch.randn(512, 64))
    lm.model.config.tie_word_embeddings = False
    again = LM.open(lm.save(tmp_path / "copy"), device="cpu")
    assert torch.equal(again.model.lm_head.weight, lm.model.lm_head.weight)
    assert not torch.equal(again.model.lm_head.weight, again.model.get_input_embeddings().weight)


def test_hidden_states_end_in_the_logits(lm):
    ids = torch.tensor([[1, 403, 407, 261]])
    states = lm.hidden_states(ids)
    assert len(states) == 6
    with torch.no_grad():
        torch.testing.assert_close(lm.model.lm_head(states[-1]), lm.model(ids).logits)


def test_scoring_leaves_the_training_mode_alone(lm):
    lm.model.train()
    lm.nll(["Tom"])
    assert lm.model.training
    lm.model.eval()


def test_load_opens_and_an_lm_is_returned_as_it_is(lm):
    assert load(lm) is lm
    assert load((lm.model, lm.tokenizer)).model is lm.model
