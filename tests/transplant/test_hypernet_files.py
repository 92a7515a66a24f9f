"""Hypernetworks on disk: saved equals loaded, and published layouts give the rows of RoBERTa's own code."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from torch import nn
from torch.nn import functional

from small_vocabularies import byte_level, rows_for
from tokenry.core.vocab import Vocab
from tokenry.transplant.hypernet import HypernetConfig, Hypernetwork
from tokenry.transplant.hypernet_files import read_published
from tokenry.transplant.planning import new_bias, plan
from tokenry.transplant.surface_forms import surface_forms

OLD, NEW = byte_level("english", 300), byte_level("both", 400)
IN, OUT = rows_for(OLD, 16), rows_for(OLD, 16, seed=1)
SURFACE = torch.from_numpy(surface_forms(OLD, NEW.tokens)[0])
FACTS = {
    "hn_model_type": "roberta",
    "hn_surface_maxlen": 7,
    "hn_n_layers": 2,
    "n_embd": 16,
    "hn_hidden_size": 24,
    "hn_intermediate_size": 48,
    "hn_num_attention_heads": 2,
    "hn_rescale_embeddings": True,
    "hn_embed_using_source_embeddings": True,
    "hn_n_extra_tokens": 1,
    "original_vocab_size": OLD.size,
}


class Peer:
    """What the published layout computes, written with the library's RoBERTa and a flat dict of weights."""

    def __init__(self, *, tied: bool, languages: int = 0, single: bool = False) -> None:
        import transformers as tf

        shape = {"num_hidden_layers": 2, "hidden_size": 24, "intermediate_size": 48, "num_attention_heads": 2}
        config = tf.RobertaConfig(
            vocab_size=1, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=0, **shape
        )
        self.tied, self.languages, self.single = tied, languages, single
        wide = 16 if tied else 32
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.roberta = tf.RobertaModel(config, add_pooling_layer=False).eval()
            for weight in self.roberta.parameters():
                weight.data.add_(0.1 * torch.randn_like(weight))
            self.tensors = {f"model.{key}": value.clone() for key, value in self.roberta.state_dict().items()}
            self.tensors["fallback_embeddings.weight"] = torch.randn(1, wide)
            self._linear("input_projection.0", wide, 24)
            self._block("input_projection.1")
            for head in ("output_projection", "output_projection_out")[: 1 if tied or single else 2]:
                self._block(f"{head}.0")
                self._linear(f"{head}.1", 24, 32 if single else 16)
            for scaler, width in (("in_scaler", wide), ("scaler", 16), ("out_scaler", 16))[: 2 if tied else 3]:
                self.tensors |= {f"{scaler}.w": torch.rand(1, width) + 0.5, f"{scaler}.b": torch.randn(1, width)}
            if languages:
                self.tensors["lang_embeddings.weight"] = torch.randn(languages, 24)
            self._linear("bias_projection", 24, 1)
        self.facts = {
            **FACTS,
            **({"langs": ["en", "de", "fr"][:languages]} if languages else {}),
            "separate_out_embeddings": not tied,
            "hn_embed_lang_id": bool(languages),
        }
        self.facts |= {"hn_single_head": single}

    def rows(self, surface, language=None):
        """Input rows, head rows and biases; the language vector carries no position and no type."""
        t, source = self.tensors, torch.from_numpy(IN if self.tied else np.concatenate([IN, OUT], axis=1))
        x = source[surface.clamp(min=0)] * t["in_scaler.w"] + t["in_scaler.b"]
        x = self._apply_block("input_projection.1", self._apply("input_projection.0", x))
        mask = surface != -1
        if language is not None:
            position = self.roberta.embeddings.position_embeddings.weight[surface.shape[1]]
            vector = t["lang_embeddings.weight"][language]
            vector = vector - position - self.roberta.embeddings.token_type_embeddings.weight[0]
            x = torch.cat([x, vector.expand(len(x), 1, -1)], dim=1)
            mask = torch.cat([mask, torch.ones(len(x), 1, dtype=torch.bool)], dim=1)
        places = torch.arange(x.shape[1]).expand(len(x), -1)
        with torch.no_grad():
            hidden = self.roberta(inputs_embeds=x, attention_mask=mask.long(), position_ids=places).last_hidden_state[
                :, 0
            ]
        made = self._apply("output_projection.1", self._apply_block("output_projection.0", hidden))
        rows_in, rows_out = made[:, :16], None
        if not self.tied:
            name = "output_projection_out"
            rows_out = made[:, 16:] if self.single else self._apply(f"{name}.1", self._apply_block(f"{name}.0", hidden))
            rows_out = rows_out * t["out_scaler.w"] + t["out_scaler.b"]
        return rows_in * t["scaler.w"] + t["scaler.b"], rows_out, self._apply("bias_projection", hidden)[:, 0]

    def write(self, folder):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(self.facts), encoding="utf-8")
        save_file(self.tensors, folder / "model.safetensors")

    def _linear(self, name, width, out):
        self.tensors |= {f"{name}.weight": torch.randn(out, width) * 0.2, f"{name}.bias": torch.randn(out) * 0.2}

    def _block(self, name):
        self._linear(f"{name}.dense1", 24, 48)
        self._linear(f"{name}.dense2", 48, 24)
        self.tensors |= {f"{name}.ln.weight": torch.rand(24) + 0.5, f"{name}.ln.bias": torch.randn(24)}

    def _apply(self, name, x):
        return functional.linear(x, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"])

    def _apply_block(self, name, x):
        gelu = nn.GELU(approximate="tanh")
        inside = gelu(self._apply(f"{name}.dense2", gelu(self._apply(f"{name}.dense1", x))))
        weight, bias = self.tensors[f"{name}.ln.weight"], self.tensors[f"{name}.ln.bias"]
        return functional.layer_norm(inside + x, (24,), weight, bias, eps=1e-6)


def source(peer):
    return (IN, None) if peer.tied else (IN, OUT)


@pytest.mark.parametrize(
    "setting",
    [{"tied": True}, {"tied": False}, {"tied": False, "single": True}, {"tied": False, "languages": 3}],
    ids=str,
)
def test_a_published_network_gives_the_rows_of_robertas_own_code(setting, tmp_path):
    peer = Peer(**setting)
    peer.write(tmp_path / "zett")
    made = read_published(tmp_path / "zett", *source(peer), vocab=OLD)
    surface = SURFACE[(SURFACE >= 0).any(1)]
    language = 2 if peer.languages else None
    rows_in, rows_out, bias = peer.rows(surface, language)
    got_in, got_out = made(surface, language=language)
    torch.testing.assert_close(got_in, rows_in, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(made.biases(surface, language=language), bias, rtol=1e-5, atol=1e-5)
    if rows_out is not None:
        torch.testing.assert_close(got_out, rows_out, rtol=1e-5, atol=1e-5)
    made.save(tmp_path / "ours")
    again = Hypernetwork.load(tmp_path / "ours", vocab=OLD)
    assert torch.equal(again(surface, language=language)[0], got_in)
    if peer.languages:
        assert again.language_number("fr") == again.language_number("2") == again.language_number(2) == 2
        with pytest.raises(ValueError, match="Did you mean"):
            again.language_number("frr")


def test_the_bias_of_a_published_network_reaches_a_masked_model(tmp_path):
    """XLM-R's network makes biases: they stand in the moved head, whatever the model's own bias was."""
    peer = Peer(tied=True)
    peer.write(tmp_path / "zett")
    read_published(tmp_path / "zett", IN, vocab=OLD).save(tmp_path / "ours")
    made = plan(OLD, NEW, method="hypernet", base=IN, hypernet=str(tmp_path / "ours"))
    bias = new_bias(made, np.zeros(OLD.size, dtype=np.float32))
    wanted = peer.rows(torch.from_numpy(surface_forms(OLD, [NEW.tokens[i] for i in made.dense_ids])[0]))[2]
    np.testing.assert_allclose(bias[made.dense_ids], wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_rows_of_lacking_bytes_are_taken_in_the_order_of_the_bytes(tmp_path):
    peer = Peer(tied=True)
    peer.tensors["fallback_embeddings.weight"] = torch.randn(300, 16)
    lacking = Vocab.open(Tokenizer(models.BPE({chr(97 + i): i for i in range(5)}, [])))
    peer.facts |= {"original_vocab_size": lacking.size}
    peer.write(tmp_path / "zett")
    made = read_published(tmp_path / "zett", IN[:5], vocab=lacking)
    missing = [value for value in range(256) if value not in b"abcde"]
    assert torch.equal(made.fallback.weight[missing], peer.tensors["fallback_embeddings.weight"][:251])


def flax_tree(peer, pack):
    """The weights as flax lays them out, arrays through `pack`."""
    tree: dict = {}
    for name, value in peer.tensors.items():
        parts = name.split(".")
        if name == "lang_embeddings.weight":
            parts = ["model", "embeddings", "lang_embedding", "weight"]
        if parts[0] in ("input_projection", "output_projection", "output_projection_out"):
            parts[1] = f"layers_{parts[1]}"
        if parts[-1] == "weight":
            is_norm = parts[-2] in ("ln", "LayerNorm")
            is_table = parts[-2].endswith(("embeddings", "embedding"))
            parts[-1] = "scale" if is_norm else "embedding" if is_table else "kernel"
            value = value.T if parts[-1] == "kernel" else value
        place = tree
        for part in parts[:-1]:
            place = place.setdefault(part, {})
        place[parts[-1]] = pack(value.contiguous().numpy())
    return tree


def test_a_published_flax_file_gives_the_same_rows(tmp_path):
    msgpack = pytest.importorskip("msgpack")
    peer = Peer(tied=False, languages=3)

    def array(value):
        packed = (value.shape, value.dtype.name, value.tobytes())
        return msgpack.ExtType(1, msgpack.packb(packed, use_bin_type=True))

    tree = flax_tree(peer, array)
    table = peer.tensors["lang_embeddings.weight"].numpy()
    # A large array comes in chunks.
    tree["model"]["embeddings"]["lang_embedding"]["embedding"] = {
        "__msgpack_chunked_array__": True,
        "shape": {"0": 3, "1": 24},
        "chunks": {"0": array(table.ravel()[:40]), "1": array(table.ravel()[40:])},
    }
    for name in ("flax", "safe"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(peer.facts), encoding="utf-8")
    (tmp_path / "flax" / "flax_model.msgpack").write_bytes(msgpack.packb(tree, use_bin_type=True))
    save_file(peer.tensors, tmp_path / "safe" / "model.safetensors")
    flax, safe = (read_published(tmp_path / name, IN, OUT, vocab=OLD) for name in ("flax", "safe"))
    for one, other in zip(flax(SURFACE, language=1), safe(SURFACE, language=1), strict=True):
        assert torch.equal(one, other)

    bad = msgpack.packb({"model": msgpack.ExtType(1, msgpack.packb(((2, 2), "object", b"1234")))})
    (tmp_path / "flax" / "flax_model.msgpack").write_bytes(bad)
    with pytest.raises(ValueError, match="object"):
        read_published(tmp_path / "flax", IN, OUT, vocab=OLD)


def test_published_networks_of_other_kinds_and_pickles_are_refused(tmp_path):
    peer = Peer(tied=True)
    peer.write(tmp_path / "zett")
    with pytest.raises(ValueError, match="one matrix"):
        read_published(tmp_path / "zett", IN, OUT, vocab=OLD)
    config = tmp_path / "zett" / "config.json"
    config.write_text(json.dumps(peer.facts | {"hn_embed_target_priors": True}), encoding="utf-8")
    with pytest.raises(ValueError, match="log-probability"):
        read_published(tmp_path / "zett", IN, vocab=OLD)
    config.write_text(json.dumps(peer.facts | {"hn_n_layers": 3}), encoding="utf-8")
    with pytest.raises(ValueError, match="no weight"):
        read_published(tmp_path / "zett", IN, vocab=OLD)
    (tmp_path / "zett" / "model.safetensors").rename(tmp_path / "zett" / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="pickle"):
        read_published(tmp_path / "zett", IN, vocab=OLD)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("residual", [True, False])
def test_what_was_saved_is_loaded_bit_for_bit(tied, residual, tmp_path):
    config = HypernetConfig(16, layers=1, residual=residual, languages=2, bias=True)
    made = Hypernetwork.for_vocab(OLD, IN, None if tied else OUT, config=config, seed=3)
    made.save(tmp_path / "net-1.5")
    again = Hypernetwork.load(tmp_path / "net-1.5", vocab=OLD)
    assert again.config == config
    assert again.state_dict().keys() == made.state_dict().keys()
    assert all(torch.equal(again.state_dict()[name], value) for name, value in made.state_dict().items())
    for one, other in zip(again.embed(SURFACE, language=1), made.embed(SURFACE, language=1), strict=True):
        assert one is other is None or np.array_equal(one, other)


def test_files_that_do_not_fit_are_refused(tmp_path):
    made = Hypernetwork.for_vocab(OLD, IN, None, config=HypernetConfig(16, layers=1))
    made.save(tmp_path / "net")
    with pytest.raises(FileExistsError):
        made.save(tmp_path / "net")
    with pytest.raises(ValueError, match="made for another vocabulary"):
        Hypernetwork.load(tmp_path / "net", vocab=NEW)
    with pytest.raises(FileNotFoundError, match="holds no hypernetwork"):
        Hypernetwork.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="for_vocab"):
        Hypernetwork(torch.from_numpy(IN), None, HypernetConfig(16)).save(tmp_path / "nameless")
    assert not (tmp_path / "nameless").exists()
    shape = tmp_path / "net" / "hypernet.json"
    facts = json.loads(shape.read_text(encoding="utf-8"))
    shape.write_text(json.dumps(facts | {"config": facts["config"] | {"layers": 2}}), encoding="utf-8")
    with pytest.raises(ValueError, match="do not fit"):
        Hypernetwork.load(tmp_path / "net")
    shape.write_text(json.dumps(facts | {"config": facts["config"] | {"colour": 2}}), encoding="utf-8")
    with pytest.raises(ValueError, match="colour"):
        Hypernetwork.load(tmp_path / "net")
    shape.write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="no whole hypernetwork"):
        Hypernetwork.load(tmp_path / "net")
