"""A hypernetwork: tokens are independent, padding says nothing, the residual form starts as the mean of pieces."""

import json

import numpy as np
import pytest
import torch
from small_models import small_model
from typer.testing import CliRunner

from small_vocabularies import byte_level, rows_for
from tokenry.cli import app
from tokenry.core.tokenmap import RowKind
from tokenry.data import demo_model, demo_text
from tokenry.models.files import embedding_names, read_tensor
from tokenry.transplant import new_rows, plan
from tokenry.transplant.dynamic_rows import PieceRows, mean_of_pieces
from tokenry.transplant.hypernet import HypernetConfig, Hypernetwork, piece_rows
from tokenry.transplant.surface_forms import surface_forms

OLD, NEW = byte_level("english", 300, ("<|end|>", "<|start|>")), byte_level("both", 420, ("<|end|>", "<|start|>"))
IN, OUT = rows_for(OLD, 16), rows_for(OLD, 16, seed=1)
SURFACE = torch.from_numpy(surface_forms(OLD, NEW.tokens, pieces=7)[0])


def network(tied: bool = True, **config) -> Hypernetwork:
    return Hypernetwork.for_vocab(OLD, IN, None if tied else OUT, config=HypernetConfig(16, **{"layers": 2, **config}))


def shaken(made: Hypernetwork) -> Hypernetwork:
    """The same with all weights moved, as after training."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return made


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("residual", [True, False])
def test_permuting_tokens_permutes_their_rows(tied, residual):
    made = shaken(network(tied, residual=residual))
    order = np.random.default_rng(0).permutation(len(SURFACE))
    for straight, mixed in zip(made.embed(SURFACE), made.embed(SURFACE[order], batch=100), strict=True):
        assert (straight is None) == (mixed is None) == (tied and straight is None)
        if straight is not None:
            np.testing.assert_allclose(straight[order], mixed, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("languages", [0, 2])
def test_rows_do_not_depend_on_the_width_of_the_padding(languages):
    made = shaken(network(False, pieces=12, languages=languages))
    wide = torch.from_numpy(surface_forms(OLD, NEW.tokens, pieces=12)[0])
    short = (wide[:, 7:] == -1).all(1)
    language = 1 if languages else None
    for narrow, padded in zip(
        made.embed(wide[short, :7], language=language), made.embed(wide[short], language=language), strict=True
    ):
        assert np.array_equal(narrow, padded)
    # Beside longer tokens the padding is really there, and masked.
    beside = made.embed(wide, language=language)[0][short.numpy()]
    np.testing.assert_allclose(beside, made.embed(wide[short], language=language)[0], rtol=1e-5, atol=5e-6)


def test_the_residual_form_is_the_piece_mean_bit_for_bit_before_any_training():
    moved = plan(OLD, NEW, method="pieces")
    wanted = new_rows(moved, IN, OUT)
    surface, truncated = surface_forms(OLD, NEW.tokens, pieces=16)
    assert truncated == 0
    got = network(False, residual=True, pieces=16).embed(surface)
    made = moved.input.kinds == RowKind.COMBINE
    assert made.sum() > 50
    for ours, theirs in zip(got, wanted, strict=True):
        assert np.array_equal(ours[made], theirs[made])


def test_fresh_rows_have_the_mean_and_spread_of_the_true_ones():
    made = network(False)
    own = torch.arange(OLD.size)[:, None]
    ordinary = made.ordinary.numpy()
    for rows, true in zip(made.embed(own), (IN, OUT), strict=True):
        np.testing.assert_allclose(rows[ordinary].mean(0), true[ordinary].mean(0), atol=1e-4)
        np.testing.assert_allclose(rows[ordinary].std(0), true[ordinary].std(0), rtol=1e-3)


def test_specials_and_zero_rows_do_not_move_the_scales():
    odd = IN.copy()
    odd[sorted(OLD.special_ids)] = 1e6
    odd[50:60] = 0
    made = Hypernetwork.for_vocab(OLD, odd, None, config=HypernetConfig(16, layers=1))
    assert not {*OLD.special_ids, *range(50, 60)} & set(made.ordinary.tolist())
    kept = odd[made.ordinary.numpy()]
    np.testing.assert_allclose(made.read.scale.numpy(), 0.02 / kept.std(0, ddof=1), rtol=1e-4)


def test_source_rows_and_scales_never_train_and_everything_else_does():
    made = network(False, bias=True, languages=1)
    frozen = {name for name, _ in made.named_buffers()}
    assert {"source_in", "source_out", "read.scale", "write_in.shift", "write_out.scale"} <= frozen
    surface = torch.tensor([[5, 9, -1], [OLD.size + 3, 7, 8]])
    rows_in, rows_out = made(surface, language=0)
    (rows_in.square().sum() + rows_out.square().sum() + made.biases(surface, language=0).sum()).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in made.parameters())
    assert not made.source_in.requires_grad
    assert made.source_in.grad is None


def test_the_first_position_alone_in_the_last_layer_is_the_whole_layer_cut():
    made = shaken(network())
    layer, mask = made.layers[1], torch.tensor([[True, True, False]])
    x = torch.randn(1, 3, 16)
    np.testing.assert_allclose(layer(x, mask, first_only=True).detach(), layer(x, mask)[:, :1].detach(), atol=1e-6)


def test_a_few_steps_on_its_own_tokens_bring_the_rows_nearer():
    made = network(layers=1)
    own, true = torch.arange(OLD.size)[:, None], torch.from_numpy(IN)
    optimiser = torch.optim.AdamW(made.parameters(), lr=1e-3)
    losses = []
    for _ in range(60):
        loss = (made(own)[0] - true).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    # Fresh rows of the right spread are as far from the true ones as strangers: twice their variance.
    assert losses[-1] < 0.5 * losses[0]


def test_wrong_input_is_refused():
    made = network(pieces=3)
    with pytest.raises(ValueError, match="A token of 4 pieces"):
        made(torch.tensor([[1, 2, 3, 4]]))
    with pytest.raises(ValueError, match="Cut tokens with its source vocabulary"):
        made(torch.tensor([[OLD.size + 256]]))
    with pytest.raises(ValueError, match="language=1"):
        made(torch.tensor([[1]]), language=1)
    with pytest.raises(ValueError, match="language=None"):
        network(languages=2)(torch.tensor([[1]]))
    with pytest.raises(ValueError, match="makes no bias"):
        made.biases(torch.tensor([[1]]))
    with pytest.raises(ValueError, match="need at least 2"):
        Hypernetwork(torch.zeros(4, 16), None, HypernetConfig(16))
    with pytest.raises(ValueError, match="do not divide"):
        HypernetConfig(16, heads=3)


def test_the_shape_is_settled_from_the_width_as_in_the_paper():
    config = HypernetConfig(768)
    assert (config.hidden, config.heads, config.inner, config.layers, config.pieces) == (768, 12, 1536, 3, 7)
    assert HypernetConfig(48).heads == 1


def test_the_method_gives_dense_rows_and_keeps_what_is_shared(tmp_path):
    made = shaken(network(False))
    made.save(tmp_path / "net")
    moved = plan(OLD, NEW, method="hypernet", hypernet=str(tmp_path / "net"), base=IN, base_head=OUT)
    rows, head = new_rows(moved, IN, OUT)
    wanted_in, wanted_out = made.embed(SURFACE)
    given = moved.input.kinds == RowKind.GIVEN
    assert given.sum() > 100
    np.testing.assert_allclose(rows[given], wanted_in[given], rtol=1e-5, atol=5e-6)
    np.testing.assert_allclose(head[given], wanted_out[given], rtol=1e-5, atol=5e-6)
    for role, new_id in NEW.specials.items():
        assert np.array_equal(rows[new_id], IN[OLD.specials[role]])
    assert moved.info["truncated_surface_forms"] == surface_forms(OLD, [NEW.tokens[i] for i in moved.dense_ids])[1]


def test_the_method_refuses_a_network_of_another_vocabulary_or_width(tmp_path):
    network().save(tmp_path / "net")
    with pytest.raises(ValueError, match="made for another vocabulary"):
        plan(byte_level("german", 300), NEW, method="hypernet", hypernet=str(tmp_path / "net"))
    with pytest.raises(ValueError, match="two matrices for embedding and head"):
        plan(OLD, NEW, method="hypernet", hypernet=str(tmp_path / "net"), base=IN, base_head=OUT)
    with pytest.raises(ValueError, match="rows of width 16"):
        plan(OLD, NEW, method="hypernet", hypernet=str(tmp_path / "net"), base=rows_for(OLD, 8))


def test_pieces_of_dynamic_tokenization_get_the_networks_rows_and_long_ones_the_mean():
    lm = small_model("llama-untied", OLD)
    table, head = lm.model.get_input_embeddings().weight.detach(), lm.model.get_output_embeddings().weight.detach()
    made = shaken(Hypernetwork.for_vocab(OLD, table, head, config=HypernetConfig(16, layers=1, pieces=2)))
    pieces = [b" the cat", b"\x00\x01", b"\x00\x01\x02"]
    rows_in, rows_out = piece_rows(made, OLD)(pieces)
    mean_in, mean_out = mean_of_pieces(lm.model, OLD)(pieces)
    np.testing.assert_allclose(
        rows_in[1], made.embed(surface_forms(OLD, [pieces[1]])[0][:, :2])[0][0], rtol=1e-5, atol=5e-6
    )
    torch.testing.assert_close(rows_in[2], mean_in[2].detach())
    torch.testing.assert_close(rows_out[2], mean_out[2].detach())
    assert PieceRows(lm.model, OLD, piece_rows(made, OLD)).embed(torch.tensor([[OLD.size]]), pieces).shape == (1, 1, 16)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network for the demonstration model, and a longer vocabulary of it."""
    from tokenry.core.tables import texts
    from tokenry.core.vocab import Vocab
    from tokenry.tokenization.extend import extend

    folder = tmp_path_factory.mktemp("hypernet")
    vocab = Vocab.open(demo_model())
    rows = read_tensor(demo_model(), embedding_names(demo_model()).input).float()
    Hypernetwork.for_vocab(vocab, rows, None, config=HypernetConfig(rows.shape[1], layers=1, residual=True)).save(
        folder / "net.v1"
    )
    found = [text[:400] for text in texts(demo_text("stories"), limit=30)]
    extend(vocab, found, add=40).vocab.to_hf(folder / "longer")
    data = folder / "stories.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in found[:6]), encoding="utf-8")
    return folder / "net.v1", folder / "longer", data


def test_the_verb_moves_a_model_with_a_hypernetwork_and_asks_for_one(trained, tmp_path):
    folder, longer, _ = trained
    common = ["transplant", str(demo_model()), "--tokenizer", str(longer), "--method", "hypernet", "--json", "-q"]
    refused = CliRunner().invoke(app, [*common, "--out", str(tmp_path / "none")])
    assert isinstance(refused.exception, ValueError)
    assert "--hypernet" in str(refused.exception)
    ran = CliRunner().invoke(app, [*common, "--hypernet", str(folder), "--out", str(tmp_path / "moved")])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["facts"]["made.truncated_surface_forms"] == 0
    assert (tmp_path / "moved" / "model.safetensors").is_file()


def test_dynamic_tokenization_takes_its_rows_from_a_hypernetwork(trained):
    folder, _, data = trained
    common = ["transplant", "dynamic", str(demo_model()), "--data", str(data), "--reduction", "0.5", "--json", "-q"]
    ran = CliRunner().invoke(app, [*common, "--rows", "hypernet", "--hypernet", str(folder)])
    assert ran.exit_code == 0, ran.output
    base = CliRunner().invoke(app, common)
    # Untrained, the residual form gives the same rows as the default.
    ours, theirs = (json.loads(found.stdout)["facts"] for found in (ran, base))
    assert ours["bits_per_byte.unmerged"] == theirs["bits_per_byte.unmerged"]
    key = "bits_per_byte.change.at_0.5"
    assert ours[key]["value"] == pytest.approx(theirs[key]["value"], abs=1e-4)
    assert abs(theirs[key]["value"]) > 1e-3
    refused = CliRunner().invoke(app, [*common, "--rows", "hypernet"])
    assert isinstance(refused.exception, ValueError)
    assert "folder of a network" in str(refused.exception)
