"""Masked models: masks as BERT draws them, a loss that is the library's own, and a network trained on it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from small_vocabularies import ENGLISH, GERMAN, byte_level
from tokenry.core.vocab import Vocab
from tokenry.models.batches import NOT_LEARNED
from tokenry.models.scoring import is_masked
from tokenry.models.tiny import tiny_bert, tiny_llama
from tokenry.transplant.hypernet import HypernetConfig, Hypernetwork
from tokenry.transplant.hypernet_training import TrainingConfig, frozen_body_loss, sampled_batches, train_main
from tokenry.transplant.masked import Masker, masked_batches, masked_loss, open_model
from tokenry.transplant.surface_forms import spell
from tokenry.transplant.surgery import move
from tokenry.transplant.tokenizer_sampling import SamplerConfig, TokenizerSampler

ROLES = ("<|end|>", "<|start|>", "<|pad|>", "<|mask|>")


def with_mask(vocab):
    return Vocab.from_spec(vocab.spec, vocab.config | {"mask_token": "<|mask|>"}, vocab.name)


OLD = with_mask(byte_level("english", 340, ROLES))
NEW = with_mask(byte_level("both", 400, ROLES))
SMALL = TrainingConfig(identity_steps=1, steps=4, warmup=1, batch=2, length=16, steps_per_tokenizer=2, rate=1e-3)


def made(kind="bert", *, tied=True, bias=True, residual=True):
    lm = tiny_bert(OLD, width=16, layers=1, heads=2, positions=64, kind=kind, tied=tied)
    head = lm.model.get_output_embeddings()
    with torch.no_grad():
        head.bias.copy_(torch.linspace(-1, 1, OLD.size))
    rows = lm.model.get_input_embeddings().weight
    shape = HypernetConfig(16, hidden=16, layers=1, residual=residual, bias=bias)
    network = Hypernetwork.for_vocab(OLD, rows, None if tied else head.weight, config=shape, source_bias=head.bias)
    return lm, network


def test_masks_are_drawn_in_the_shares_of_the_paper():
    ids = torch.from_numpy(np.random.default_rng(0).integers(4, OLD.size, (64, 512)))
    ids[:, 0] = OLD.specials["bos"]
    batch = Masker.of(OLD)({"input_ids": ids, "labels": ids.clone()}, np.random.default_rng(1))
    picked = batch["labels"] != NOT_LEARNED
    assert not picked[:, 0].any()
    assert torch.equal(batch["labels"][picked], ids[picked])
    assert torch.equal(batch["input_ids"][~picked], ids[~picked])
    n = int(picked.sum())
    seen = batch["input_ids"][picked]
    n_mask, n_same = int((seen == OLD.specials["mask"]).sum()), int((seen == ids[picked]).sum())
    for found, part, of in ((n, 0.15, 64 * 511), (n_mask, 0.8, n), (n_same, 0.1, n)):
        # Five standard deviations of a binomial; a random token is the same one in 1 of 336 of a tenth: 0.0003.
        assert abs(found / of - part) < 5 * (part * (1 - part) / of) ** 0.5 + 0.0004


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1.0))
def test_specials_and_places_that_are_not_learned_are_never_masked(seed, share):
    rng = np.random.default_rng(seed)
    ids = torch.from_numpy(rng.integers(0, OLD.size, (2, 9)))
    labels = torch.where(torch.from_numpy(rng.random((2, 9)) < 0.3), NOT_LEARNED, ids)
    batch = Masker.of(OLD, share=share)({"input_ids": ids, "labels": labels}, rng)
    may = (labels != NOT_LEARNED) & torch.tensor([OLD.tokens[i] is not None for i in ids.flatten()]).view(2, 9)
    picked = batch["labels"] != NOT_LEARNED
    assert not (picked & ~may).any()
    assert picked.any() == may.any()
    assert torch.equal(batch["input_ids"][~picked], ids[~picked])


def test_the_loss_is_the_librarys_and_the_batches_follow_from_the_step():
    lm, _ = made()
    batches = masked_batches(lm, ENGLISH, length=16, batch=2, seed=3)
    batch = batches(5)
    assert all(torch.equal(value, batches(5)[key]) for key, value in batch.items())
    told, facts = masked_loss(lm.model, batch)
    wanted = lm.model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
    torch.testing.assert_close(told, wanted)
    assert facts["tokens"] == int((batch["labels"] != NOT_LEARNED).sum())


@pytest.mark.parametrize(("kind", "tied"), [("bert", True), ("bert", False), ("roberta", True)])
def test_the_loss_over_made_rows_is_that_of_the_moved_model(kind, tied):
    """Untrained residual rows are those of pieces: the loss is that of a model that was really moved to them."""
    lm, network = made(kind, tied=tied)
    sampler = TokenizerSampler(OLD, ENGLISH + GERMAN, config=SamplerConfig(size=400, pool=8))
    batch = sampled_batches(network, lm, sampler, config=SMALL)(0)
    vocab = sampler.sample(0)

    def rows(gap):
        return pieces_of_all(gap, network)

    moved = move(lm, vocab, method=rows).lm.model
    if kind == "roberta":  # it counts positions from the pad, which the sampled tokenizer has elsewhere
        vectors = moved.get_input_embeddings()(batch["input_ids"])
        wanted = moved(inputs_embeds=vectors, labels=batch["labels"]).loss
    else:
        wanted = moved(input_ids=batch["input_ids"], labels=batch["labels"]).loss
    told, facts = frozen_body_loss(lm.model, 0.0)(network, batch)
    torch.testing.assert_close(told, wanted, rtol=1e-4, atol=1e-5)
    assert facts["tokens"] == int((batch["labels"] != NOT_LEARNED).sum())


def pieces_of_all(gap, network):
    from tokenry.core.tokenmap import RowKind
    from tokenry.transplant.planning import Rows
    from tokenry.transplant.surface_forms import surface_forms

    surface, _ = surface_forms(gap.old, [gap.new.tokens[i] for i in gap.ids], pieces=network.config.pieces)
    made_in, made_out, bias = network.embed_all(surface)
    kinds = np.full(len(surface), RowKind.MEAN, np.uint8)
    return Rows([([], [])] * len(surface), kinds, dense=made_in, dense_head=made_out, dense_bias=bias)


@pytest.mark.parametrize("negatives", [None, 20])
def test_training_leaves_the_body_untouched_and_moves_rows_and_bias(negatives):
    lm, network = made()
    body = {name: value.clone() for name, value in lm.model.state_dict().items()}
    before = [p.detach().clone() for p in network.parameters()]
    sampler = TokenizerSampler(OLD, ENGLISH + GERMAN, config=SamplerConfig(size=400, pool=8))
    result = train_main(network, lm, sampler, config=TrainingConfig(**{**vars(SMALL), "negatives": negatives}))
    assert result.steps == 4
    assert all(torch.equal(value, body[name]) for name, value in lm.model.state_dict().items())
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert network.head_bias.weight.abs().max() > 0


def test_a_bias_goes_with_the_rows_through_move_and_disk(tmp_path):
    lm, network = made()
    network.save(tmp_path / "net")
    moved = move(lm, NEW, method="hypernet", hypernet=str(tmp_path / "net"))
    bias = moved.lm.model.get_output_embeddings().bias
    old = lm.model.get_output_embeddings().bias
    for i, token in enumerate(NEW.tokens):
        if token is not None:
            pieces = spell(OLD, token)[: network.config.pieces]
            torch.testing.assert_close(bias[i], old[pieces].mean())
    from tokenry.transplant.manifest import load_plan, save_plan
    from tokenry.transplant.planning import new_bias

    again = load_plan(save_plan(moved.plan, tmp_path / "plan"))
    given = new_bias(again, old.detach().numpy())
    assert np.array_equal(given, new_bias(moved.plan, old.detach().numpy()))
    torch.testing.assert_close(torch.from_numpy(given), bias.detach())


def test_a_model_with_a_bias_needs_a_network_that_knows_it():
    lm, network = made()
    network.source_bias = None
    sampler = TokenizerSampler(OLD, ENGLISH, config=SamplerConfig(size=400, pool=8))
    with pytest.raises(ValueError, match="source_bias"):
        train_main(network, lm, sampler, config=SMALL)


def test_folders_open_by_their_kind_and_a_masked_one_needs_a_mask(tmp_path):
    lm, _ = made()
    lm.model.save_pretrained(tmp_path / "masked")
    lm.tokenizer.save_pretrained(tmp_path / "masked")
    opened = open_model(tmp_path / "masked")
    assert is_masked(opened.model)
    assert not is_masked(tiny_llama(OLD, width=16, layers=1, heads=2).model)
    assert opened.vocab.specials["mask"] == OLD.specials["mask"]
    config = tmp_path / "masked" / "tokenizer_config.json"
    config.write_text(config.read_text().replace('"mask_token"', '"other_token"'), encoding="utf-8")
    with pytest.raises(ValueError, match="no mask token"):
        open_model(tmp_path / "masked")
