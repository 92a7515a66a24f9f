"""A model with layers switched off is the shorter model; switched back it is what it was."""

import copy
import types

import pytest
import torch
from shorter_models import shorter

from tiny_causal_models import KINDS, N_TOKENS, full_logits, tiny
from tokenry.decoding.layer_switch import LayerSwitch, decoder_layers, layer_flops
from tokenry.models.session import Session
from tokenry.models.training import flops

TEXT = [3, 14, 15, 9, 26, 5, 35, 8]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [(0,), (0, 1), (0, 2)])
def test_a_model_with_layers_off_is_the_model_without_them(kind, layers):
    model = tiny(kind)
    whole = full_logits(model, TEXT)
    with LayerSwitch(model) as switch:
        switch.run(layers)
        assert torch.equal(full_logits(model, TEXT), full_logits(shorter(model, layers), TEXT))
        switch.run()
        assert torch.equal(full_logits(model, TEXT), whole)
    assert not any("forward" in layer.__dict__ for layer in decoder_layers(model))
    assert torch.equal(full_logits(model, TEXT), whole)


def test_the_model_comes_back_after_an_error_and_keeps_what_others_put_there():
    model = copy.deepcopy(tiny())
    hooked = decoder_layers(model)[1]
    hooked.forward = types.MethodType(lambda self, *a, **k: type(self).forward(self, *a, **k), hooked)
    theirs = hooked.forward
    whole = full_logits(model, TEXT)

    def fail() -> None:
        with LayerSwitch(model) as switch:
            switch.run((0,))
            full_logits(model, [N_TOKENS])

    with pytest.raises(IndexError):
        fail()
    assert hooked.forward is theirs
    assert torch.equal(full_logits(model, TEXT), whole)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
def test_the_head_alone_reads_an_early_exit(kind):
    model = tiny(kind)
    with LayerSwitch(model) as switch:
        switch.run((0, 1))
        truth = full_logits(model, TEXT)
        switch.run()
        switch.watched = frozenset({1})
        full_logits(model, TEXT)
        seen, switch.watched = switch.seen[1], frozenset()
        switch.only_head(seen)
        assert torch.equal(full_logits(model, TEXT), truth)


def test_layers_that_give_tuples_are_handed_tuples():
    """As in older architectures of the library."""
    model = copy.deepcopy(tiny())
    for layer in decoder_layers(model):
        before = layer.forward
        layer.forward = lambda *a, run=before, **k: (run(*a, **k),)
    body = model.get_decoder()
    head, norm = model.lm_head, body.norm

    def logits(layers: tuple[int, ...]) -> torch.Tensor:
        hidden = body.embed_tokens(torch.tensor([TEXT]))
        places = torch.arange(len(TEXT))[None]
        mask = torch.full((1, 1, len(TEXT), len(TEXT)), torch.finfo(torch.float32).min).triu(1)
        settings = {"position_embeddings": body.rotary_emb(hidden, position_ids=places), "attention_mask": mask}
        for layer in decoder_layers(model):
            hidden = layer(hidden, **settings)[0]
        return head(norm(hidden))[0]

    with LayerSwitch(model) as switch, torch.inference_mode():
        switch.run((0, 2))
        assert torch.allclose(logits((0, 2)), full_logits(shorter(tiny(), (0, 2)), TEXT), atol=1e-4)


def test_what_ran_is_counted():
    model = tiny()
    with LayerSwitch(model) as switch:
        session = Session.open(model, batch=2)
        session.extend([TEXT, TEXT[:5]])
        switch.run((0, 2))
        session.extend([[1], [2]])
    assert switch.calls.tolist() == [2, 1, 2]
    assert switch.token_layers == 2 * len(TEXT) * 3 + 2 * 2


def test_operations_of_layers_and_head_make_the_whole():
    model = tiny()
    layer, rest = layer_flops(model, length=16)
    assert 3 * layer + rest == flops(model, 1, length=16, backward=False)
    assert rest == 2 * model.get_output_embeddings().weight.numel()


def test_models_whose_layers_cannot_be_left_out_are_refused():
    model = copy.deepcopy(tiny())
    model.config.num_kv_shared_layers = 1
    with pytest.raises(ValueError, match="keys of earlier"):
        LayerSwitch(model)
    with pytest.raises(ValueError, match="no transformers model"):
        decoder_layers(torch.nn.Linear(2, 2))
    model = copy.deepcopy(tiny())
    model.config.num_hidden_layers = 9
    with pytest.raises(ValueError, match="no list of 9"):
        decoder_layers(model)
