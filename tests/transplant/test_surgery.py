"""Moving a model in memory: what must stay bit for bit, what must follow, what is refused."""

import numpy as np
import pytest
import torch
from small_models import FAMILIES, logits, small_model

from small_vocabularies import byte_level, permuted
from tokenry.core.vocab import Vocab
from tokenry.models.lm import LM
from tokenry.transplant.matching import match
from tokenry.transplant.surgery import move, plan, verify


def weights(lm) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_of_shared_tokens_gives_the_same_hidden_states_bit_for_bit(family, old, new):
    lm = small_model(family, old)
    moved = move(lm, new)
    found = match(old, new)
    shared = np.flatnonzero(found.new_to_old >= 0)
    mapped = found.new_to_old[shared]
    prompt = shared[[5, 60, 120, 180, 250]]
    hidden = [
        model.hidden_states(torch.tensor([ids]))[-1]
        for model, ids in ((lm, found.new_to_old[prompt].tolist()), (moved.lm, prompt.tolist()))
    ]
    assert torch.equal(*hidden)
    before = logits(lm.model, found.new_to_old[prompt].tolist())
    after = logits(moved.lm.model, prompt.tolist())
    # The last product has another number of columns and may sum in another order: equal to rounding.
    torch.testing.assert_close(after[:, shared], before[:, mapped], atol=1e-5, rtol=1e-5)
    rows = moved.lm.model.get_input_embeddings().weight[shared]
    assert torch.equal(rows, lm.model.get_input_embeddings().weight[mapped])
    assert verify(moved.lm).facts["ok"], verify(moved.lm).verdict


@pytest.mark.parametrize("family", FAMILIES)
def test_a_move_to_the_same_vocabulary_changes_no_weight(family, old):
    lm = small_model(family, old, extra=3)
    moved = move(lm, old)
    assert same(weights(lm), weights(moved.lm))


@pytest.mark.parametrize("family", FAMILIES)
def test_there_and_back_is_the_identity_when_all_tokens_are_shared(family, old):
    order = np.random.default_rng(0).permutation(old.size)
    lm = small_model(family, old)
    there = move(lm, permuted(old, order)).lm
    rows = lm.model.get_input_embeddings().weight
    assert torch.equal(there.model.get_input_embeddings().weight, rows[torch.from_numpy(order)])
    assert same(weights(lm), weights(move(there, old).lm))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_move_reopens_with_equal_logits_and_ties(family, old, new, tmp_path):
    lm = small_model(family, old)
    moved = move(lm, new, pad_to_multiple_of=64).lm
    moved.save(tmp_path / "out")
    again = LM.open(tmp_path / "out")
    ids = new.encode(["the cat and the Katze"])[0].tolist()
    assert torch.equal(logits(moved.model, ids), logits(again.model, ids))
    is_tied = lm.model.get_output_embeddings().weight is lm.model.get_input_embeddings().weight
    for model in (moved.model, again.model):
        assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == is_tied
        assert model.config.vocab_size == 448
    assert verify(tmp_path / "out").facts["ok"]


def test_the_old_model_stays_as_it_is(old, new):
    lm = small_model("llama", old)
    before, config = weights(lm), lm.model.config.to_dict()
    moved = move(lm, new, method="asymmetric")
    with torch.no_grad():
        for parameter in moved.lm.model.parameters():
            parameter.add_(1)
    assert same(before, weights(lm))
    assert lm.model.config.to_dict() == config
    assert lm.model.get_output_embeddings().weight is lm.model.get_input_embeddings().weight


def test_an_asymmetric_move_unties_saves_and_reopens_untied(old, new, tmp_path):
    lm = small_model("gpt2", old)
    moved = move(lm, new, method="asymmetric", head="mean")
    assert moved.plan.untie
    moved.lm.save(tmp_path / "out")
    again = LM.open(tmp_path / "out").model
    table, head = again.get_input_embeddings().weight, again.get_output_embeddings().weight
    made = np.flatnonzero(match(old, new).new_to_old < 0)
    assert not torch.equal(table[made], head[made])
    assert not again.config.tie_word_embeddings
    i = int(made[-1])
    pieces = old.decompose(new.tokens[i])
    rows = lm.model.get_input_embeddings().weight
    assert torch.equal(table[i], rows[pieces[-1]])
    torch.testing.assert_close(head[i], rows[pieces].mean(0))


def test_mean_rows_equal_those_of_transformers_mean_resizing(old, new):
    lm = small_model("llama", old)
    table = lm.model.get_input_embeddings().weight
    with torch.no_grad():
        # The library averages specials too: give ours the mean row, so that both means are over the same.
        table[list(old.special_ids)] = table[[i for i in range(old.size) if i not in old.special_ids]].mean(0)
    row = move(lm, new, method="mean").lm.model.get_input_embeddings().weight
    made = np.flatnonzero(match(old, new).new_to_old < 0)
    torch.testing.assert_close(row[made[0]], table.mean(0), atol=1e-6, rtol=1e-5)
    lm.model.resize_token_embeddings(old.size + 5, mean_resizing=True)
    # The library draws around the mean with a covariance scaled by 1e-9.
    torch.testing.assert_close(row[made[0]], lm.model.get_input_embeddings().weight[-1], atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_number_type_is_kept_and_copies_keep_their_bits(dtype, old, new):
    lm = small_model("llama-untied", old, dtype=dtype)
    moved = move(lm, new).lm.model
    found = match(old, new)
    shared = np.flatnonzero(found.new_to_old >= 0)
    for before, after in (
        (lm.model.get_input_embeddings().weight, moved.get_input_embeddings().weight),
        (lm.model.get_output_embeddings().weight, moved.get_output_embeddings().weight),
    ):
        assert after.dtype == dtype
        assert torch.equal(after[shared], before[found.new_to_old[shared]])


def test_special_ids_follow_their_role_in_both_configurations(old):
    new = permuted(byte_level("both", 400, ("<|end|>", "<|start|>", "<|pad|>")), np.arange(400)[::-1])
    lm = small_model("llama", old)
    lm.model.generation_config.eos_token_id = [old.specials["eos"], old.index[b"."][0] if b"." in old.index else 20]
    lm.model.generation_config.suppress_tokens = [old.index[b"q"][0]]
    moved = move(lm, new, pad_to_multiple_of=64).lm.model
    assert moved.config.eos_token_id == new.specials["eos"] == 399
    assert moved.config.bos_token_id == new.specials["bos"]
    assert moved.config.pad_token_id == new.specials["pad"]
    assert moved.generation_config.eos_token_id[0] == new.specials["eos"]
    assert new.tokens[moved.generation_config.eos_token_id[1]] == b"."
    assert moved.generation_config.suppress_tokens == [new.index[b"q"][0], *range(400, 448)]


def test_generation_never_chooses_an_id_without_a_token(old, new):
    lm = small_model("llama", old)
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[-64:] = 5.0
    moved = move(lm, new, pad_to_multiple_of=512).lm
    ids = torch.tensor([new.encode(["the cat"])[0].tolist()])
    made = moved.model.generate(ids, max_new_tokens=20, do_sample=True, temperature=5.0)
    assert int(made.max()) < new.size


def test_the_chat_template_is_carried_and_its_missing_tokens_are_named(new):
    old = byte_level("english", 340, ("<|end|>", "<|im_start|>"))
    lm = small_model("llama", old)
    lm.tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m.content }}<|end|>{% endfor %}"
    moved = move(lm, new)
    assert moved.lm.tokenizer.chat_template == lm.tokenizer.chat_template
    assert any("<|im_start|>" in warning for warning in moved.report.warnings)
    own = Vocab.from_spec(new.spec, {**new.config, "chat_template": "{{ messages[0].content }}"}, "own")
    assert move(lm, own).lm.tokenizer.chat_template == "{{ messages[0].content }}"


def test_the_pad_row_does_not_stop_learning_of_an_ordinary_token(new):
    old = byte_level("english", 340, ("<|end|>", "<|start|>", "<|pad|>"))
    lm = small_model("llama", old)
    assert lm.model.get_input_embeddings().padding_idx == old.specials["pad"]
    assert move(lm, new).lm.model.get_input_embeddings().padding_idx is None


def test_a_head_bias_follows_its_tokens(old, new):
    lm = small_model("phi", old)
    moved = move(lm, new, pad_to_multiple_of=64).lm.model
    before, after = lm.model.lm_head.bias, moved.lm_head.bias
    found = match(old, new)
    shared = np.flatnonzero(found.new_to_old >= 0)
    assert torch.equal(after[shared], before[found.new_to_old[shared]])
    assert (after[new.size :] < before.min() - 19).all()
    i = int(np.flatnonzero(found.new_to_old < 0)[-1])
    torch.testing.assert_close(after[i], before[old.decompose(new.tokens[i])].mean())


def test_a_plan_for_other_vocabularies_is_refused(old, new):
    lm = small_model("llama", old)
    made = plan(old, new)
    assert move(lm, new, plan=made).plan is made
    with pytest.raises(ValueError, match="leads to a vocabulary of"):
        move(lm, old, plan=made)
    with pytest.raises(ValueError, match="starts from a vocabulary of"):
        move(move(lm, new).lm, new, plan=made)
    with pytest.raises(ValueError, match="give one or the other"):
        move(lm, new, plan=made, seed=3)


def test_weights_that_are_not_finite_are_refused(old, new):
    lm = small_model("llama", old)
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[7, 3] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinite numbers \\(first in row 7\\)"):
        move(lm, new)


def test_a_model_with_another_table_over_the_vocabulary_is_refused(old, new):
    lm = small_model("llama", old)
    lm.model.model.embed_per_layer = torch.nn.Embedding(old.size, 4)
    with pytest.raises(ValueError, match=r"another table over the vocabulary, model\.embed_per_layer"):
        move(lm, new)
    lm.model = torch.nn.Linear(2, 2)
    lm.model.get_input_embeddings = lm.model.get_output_embeddings = lambda: None
    with pytest.raises(ValueError, match="need a causal language model"):
        move(lm, new)


def test_rows_are_padded_only_when_asked(old, new):
    lm = small_model("llama", old, extra=4)
    assert len(move(lm, new).lm.model.get_input_embeddings().weight) == new.size
    assert len(move(lm, old).lm.model.get_input_embeddings().weight) == old.size + 4
    with pytest.raises(ValueError, match="need 1 or more"):
        move(lm, new, pad_to_multiple_of=0)


def test_the_report_counts_what_happened(old, new):
    moved = move(small_model("llama", old), new, method="pieces")
    facts = moved.report.facts
    assert facts["shared"] + facts["match.unmatched"] == new.size
    assert facts["rows.copy"] + facts["rows.special"] == facts["shared"]
    assert facts["vocab_size.after"] == new.size
    assert moved.report.to_json()
