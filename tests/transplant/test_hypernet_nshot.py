"""Training on after a move: the start is the moved model, network and body both learn, and the rows are kept."""

import pytest
import torch

from small_vocabularies import ENGLISH, GERMAN, byte_level
from tokenry.models.tiny import tiny_bert, tiny_llama
from tokenry.transplant.hypernet import HypernetConfig, Hypernetwork
from tokenry.transplant.hypernet_nshot import Joint, NshotConfig, nshot_loss, train_nshot
from tokenry.transplant.surgery import move

ROLES = ("<|end|>", "<|start|>", "<|pad|>")
OLD, NEW = byte_level("english", 340, ROLES), byte_level("both", 400, ROLES)
SHORT = NshotConfig(steps=6, rate=3e-3, batch=2, length=24)
TEXTS = ENGLISH + GERMAN


def made(tied=True):
    """A moved model whose rows come from a network, and that network."""
    lm = tiny_llama(OLD, width=16, layers=1, heads=2, tied=tied)
    rows = lm.model.get_input_embeddings().weight.detach().clone()
    head = None if tied else lm.model.get_output_embeddings().weight.detach().clone()
    network = Hypernetwork.for_vocab(OLD, rows, head, config=HypernetConfig(16, hidden=16, layers=1, residual=True))
    return move(lm, NEW, method="pieces").lm, network


@pytest.mark.parametrize("tied", [True, False])
def test_the_start_is_the_moved_model_and_the_end_stands_without_the_network(tied):
    lm, network = made(tied)
    before = lm.model.get_input_embeddings().weight.detach().clone()
    joint = Joint(lm, OLD, network)
    assert torch.equal(joint.rows()[0], before)
    body = {name: value.detach().clone() for name, value in lm.model.named_parameters()}
    first = [weight.detach().clone() for weight in network.parameters()]
    result = train_nshot(lm, TEXTS, config=SHORT, network=network, old=OLD)
    assert result.steps == 6
    assert any(not torch.equal(a, b) for a, b in zip(first, network.parameters(), strict=True))
    after = dict(lm.model.named_parameters())
    assert all(weight.requires_grad for weight in after.values())
    assert not any(torch.equal(after[name], body[name]) for name in body if "proj" in name)
    rows = lm.model.get_input_embeddings().weight
    is_special = torch.tensor([token is None for token in NEW.tokens])
    assert torch.equal(rows[is_special], before[is_special])
    assert not torch.equal(rows[~is_special], before[~is_special])


def test_the_loss_of_the_first_step_is_that_of_the_moved_model():
    lm, network = made()
    ids = torch.from_numpy(NEW.encode(TEXTS[:1])[0].astype("int64"))[None]
    batch = {"input_ids": ids, "labels": ids}
    told, facts = nshot_loss(0.5)(Joint(lm, OLD, network), batch)
    wanted = lm.model(input_ids=ids, labels=ids).loss
    torch.testing.assert_close(told, wanted)
    assert facts["auxiliary"] == 0
    assert facts["tokens"] == ids.shape[1] - 1


def test_without_a_network_the_rows_train_and_the_auxiliary_weight_holds_them():
    far, near = (made()[0] for _ in range(2))
    start = far.model.get_input_embeddings().weight.detach().clone()
    train_nshot(far, TEXTS, config=SHORT)
    train_nshot(near, TEXTS, config=NshotConfig(**{**vars(SHORT), "auxiliary": 1000.0}))
    way = [float((lm.model.get_input_embeddings().weight.detach() - start).norm()) for lm in (far, near)]
    assert way[1] < way[0]


def test_a_masked_model_is_trained_on_too():
    specials = (*ROLES, "<|mask|>")
    old, new = (with_mask(byte_level(lang, size, specials)) for lang, size in (("english", 340), ("both", 400)))
    lm = tiny_bert(old, width=16, layers=1, heads=2)
    rows, head = lm.model.get_input_embeddings().weight, lm.model.get_output_embeddings()
    shape = HypernetConfig(16, hidden=16, layers=1, residual=True, bias=True)
    network = Hypernetwork.for_vocab(old, rows, None, config=shape, source_bias=head.bias)
    moved = move(lm, new, method="pieces").lm
    bias = moved.model.get_output_embeddings().bias.detach().clone()
    result = train_nshot(moved, TEXTS, config=SHORT, network=network, old=old)
    assert result.tokens < 6 * 2 * 24 / 3
    assert not torch.equal(moved.model.get_output_embeddings().bias, bias)


def with_mask(vocab):
    from tokenry.core.vocab import Vocab

    return Vocab.from_spec(vocab.spec, vocab.config | {"mask_token": "<|mask|>"}, vocab.name)


def test_a_network_of_another_model_is_refused():
    lm, network = made()
    with pytest.raises(ValueError, match="old="):
        train_nshot(lm, TEXTS, config=SHORT, network=network)
    with pytest.raises(ValueError, match="width 16 for one matrix"):
        Joint(made(tied=False)[0], OLD, network)
