"""Single tensors of a checkpoint are replaced without reading the rest, and the library opens what comes out."""

import json
import shutil
import tracemalloc

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tokenry.data import demo_model
from tokenry.models import files
from tokenry.models.files import embedding_names, read_tensor, replace_tensors, tensor_names

TABLE = "model.embed_tokens.weight"


@pytest.fixture
def sharded(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(demo_model())
    model.save_pretrained(tmp_path / "sharded", max_shard_size="300KB")
    return tmp_path / "sharded"


@pytest.fixture(params=["single", "sharded"])
def folder(request, tmp_path):
    if request.param == "sharded":
        return request.getfixturevalue("sharded")
    return demo_model()


def all_tensors(folder) -> dict:
    return {name: read_tensor(folder, name) for name in tensor_names(folder)}


def test_names_and_tensors_are_those_of_the_library(folder):
    weights = AutoModelForCausalLM.from_pretrained(demo_model()).state_dict()
    found = all_tensors(folder)
    assert found.keys() == weights.keys() - {"lm_head.weight"}
    assert all(torch.equal(found[name], weights[name]) for name in found)


def test_one_tensor_is_replaced_one_added_one_dropped_and_all_others_stay(folder, tmp_path):
    before = all_tensors(folder)
    gone = "model.layers.4.mlp.up_proj.weight"
    new = {TABLE: torch.randn(600, 64), "lm_head.weight": torch.randn(600, 64)}
    out = replace_tensors(folder, tmp_path / "out", new, drop=[gone])
    after = all_tensors(out)
    assert after.keys() == (before.keys() | new.keys()) - {gone}
    for name, tensor in after.items():
        assert torch.equal(tensor, new.get(name, before.get(name))), name


def test_the_library_opens_what_comes_out(folder, tmp_path):
    table = read_tensor(folder, TABLE)
    out = replace_tensors(
        folder, tmp_path / "out", {TABLE: torch.cat([table, table[:88]]), "lm_head.weight": torch.ones(600, 64)}
    )
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | {"vocab_size": 600, "tie_word_embeddings": False}))
    model, facts = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not facts["missing_keys"]
    assert not facts["unexpected_keys"]
    assert torch.equal(model.get_input_embeddings().weight[512:], table[:88])
    assert torch.equal(model.lm_head.weight, torch.ones(600, 64))
    reference = AutoModelForCausalLM.from_pretrained(demo_model())
    assert torch.equal(model.model.layers[3].mlp.up_proj.weight, reference.model.layers[3].mlp.up_proj.weight)


def test_the_index_counts_what_is_there(sharded, tmp_path):
    out = replace_tensors(sharded, tmp_path / "out", {TABLE: torch.zeros(600, 64)})
    index = json.loads((out / "model.safetensors.index.json").read_text())
    n_numbers = 260_032 + 88 * 64
    assert index["metadata"]["total_size"] == 4 * n_numbers
    assert index["metadata"].get("total_parameters", n_numbers) == n_numbers
    assert set(index["weight_map"]) == set(tensor_names(sharded))


def test_untouched_shards_are_byte_for_byte_and_linked_only_on_demand(sharded, tmp_path):
    home = tensor_names(sharded)[TABLE]
    others = {file for file in tensor_names(sharded).values() if file != home}
    assert others
    copied = replace_tensors(sharded, tmp_path / "copied", {TABLE: torch.zeros(512, 64)})
    linked = replace_tensors(sharded, tmp_path / "linked", {TABLE: torch.zeros(512, 64)}, link=True)
    for file in others:
        assert (copied / file).read_bytes() == (sharded / file).read_bytes()
        assert not (copied / file).samefile(sharded / file)
        assert (linked / file).samefile(sharded / file)
    assert not (linked / home).samefile(sharded / home)
    assert not (linked / "config.json").samefile(sharded / "config.json")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int8])
def test_number_types_are_kept(tmp_path, dtype):
    tensors = {"a": torch.arange(12).reshape(3, 4).to(dtype), "b": torch.arange(5).to(dtype), "c": torch.zeros(0, 4)}
    (tmp_path / "in").mkdir()
    save_file(tensors, tmp_path / "in" / "model.safetensors", metadata={"format": "pt"})
    new = (torch.arange(8).reshape(2, 4).to(dtype)).T
    out = replace_tensors(tmp_path / "in", tmp_path / "out", {"b": new})
    found = load_file(out / "model.safetensors")
    assert found["a"].dtype == found["b"].dtype == dtype
    assert torch.equal(found["a"], tensors["a"])
    assert torch.equal(found["b"], new)
    assert found["c"].shape == (0, 4)


def test_types_unknown_to_the_writer_pass_through(tmp_path):
    (tmp_path / "in").mkdir()
    save_file({"a": torch.ones(4).to(torch.float8_e4m3fn), "b": torch.ones(3)}, tmp_path / "in" / "model.safetensors")
    out = replace_tensors(tmp_path / "in", tmp_path / "out", {"b": torch.zeros(2)})
    assert torch.equal(load_file(out / "model.safetensors")["a"].float(), torch.ones(4))
    with pytest.raises(ValueError, match="cannot be stored"):
        replace_tensors(tmp_path / "in", tmp_path / "out2", {"b": torch.ones(3).to(torch.float8_e4m3fn)})


def test_memory_stays_at_the_size_of_the_changed_tensor(tmp_path):
    """A shard of 96 MB with one row matrix of 64 kB replaced: python holds one copy block, torch nothing."""
    (tmp_path / "in").mkdir()
    tensors = {f"big.{k}": torch.full((3001, 1999), float(k)) for k in range(4)} | {"small": torch.zeros(127, 129)}
    save_file(tensors, tmp_path / "in" / "model.safetensors")
    del tensors
    tracemalloc.start()
    out = replace_tensors(tmp_path / "in", tmp_path / "out", {"small": torch.ones(127, 129)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * files.COPY_BYTES
    assert torch.equal(read_tensor(out, "small"), torch.ones(127, 129))
    assert float(read_tensor(out, "big.3")[3000, 1998]) == 3.0


def test_only_the_changed_shard_is_opened(sharded, tmp_path, monkeypatch):
    opened = []
    rewrite = files._rewrite
    monkeypatch.setattr(
        files, "_rewrite", lambda source, *rest, **more: opened.append(source.name) or rewrite(source, *rest, **more)
    )
    replace_tensors(sharded, tmp_path / "out", {TABLE: torch.zeros(512, 64)})
    assert opened == [tensor_names(sharded)[TABLE]]


def test_embedding_names_of_a_tied_and_an_untied_checkpoint(folder, tmp_path):
    assert tuple(embedding_names(folder)) == (TABLE, None, True)
    out = replace_tensors(folder, tmp_path / "out", {"lm_head.weight": torch.zeros(512, 64)})
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    assert tuple(embedding_names(out)) == (TABLE, "lm_head.weight", False)


def test_embedding_names_of_other_families_are_their_own(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

    GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path / "gpt2")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=50, tie_word_embeddings=False, **shape)).save_pretrained(
        tmp_path / "neox"
    )
    assert tuple(embedding_names(tmp_path / "gpt2")) == ("transformer.wte.weight", None, True)
    assert tuple(embedding_names(tmp_path / "neox")) == ("gpt_neox.embed_in.weight", "embed_out.weight", False)
    # The first GPT-2 files were saved from the bare model, without its outermost name.
    tensors = load_file(tmp_path / "gpt2" / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    save_file(bare, tmp_path / "gpt2" / "model.safetensors", metadata={"format": "pt"})
    assert tuple(embedding_names(tmp_path / "gpt2")) == ("wte.weight", None, True)


def test_what_is_not_there_or_broken_is_refused(sharded, tmp_path):
    with pytest.raises(ValueError, match=r"Did you mean 'model\.embed_tokens\.weight'"):
        read_tensor(sharded, "model.embed_token.weight")
    with pytest.raises(ValueError, match="holds no tensor 'x'"):
        replace_tensors(sharded, tmp_path / "out", {}, drop=["x"])
    with pytest.raises(ValueError, match="the checkpoint itself"):
        replace_tensors(sharded, sharded, {})
    with pytest.raises(FileNotFoundError, match="no safetensors"):
        tensor_names(tmp_path)
    shard = sharded / tensor_names(sharded)[TABLE]
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(ValueError, match="Copy it again"):
        replace_tensors(sharded, tmp_path / "out", {TABLE: torch.zeros(512, 64)})
    shard.unlink()
    with pytest.raises(FileNotFoundError, match="is not there"):
        tensor_names(sharded)


@pytest.mark.parametrize("index", ["{", "[]", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', '{"map": {}}'])
def test_an_index_that_names_no_files_is_refused(sharded, index):
    (sharded / files.INDEX).write_text(index)
    with pytest.raises(ValueError, match="does not say which file"):
        tensor_names(sharded)


@pytest.mark.parametrize(
    "header",
    ["{", "[]", '{"a": 1}', '{"a": {"dtype": "F32", "shape": [1]}}', '{"a": {"data_offsets": [0, 4]}}',
     '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [8, 4]}}', "[" * 5000],
)  # fmt: skip
def test_a_header_that_is_none_is_refused_with_the_file(tmp_path, header):
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(4))
    with pytest.raises(ValueError, match=r"model\.safetensors: its header is not that of"):
        tensor_names(tmp_path)


def test_an_index_that_points_outside_its_folder_is_refused(sharded):
    index = json.loads((sharded / "model.safetensors.index.json").read_text())
    index["weight_map"][TABLE] = "../model.safetensors"
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    shutil.copy(demo_model() / "model.safetensors", sharded.parent / "model.safetensors")
    with pytest.raises(ValueError, match="outside its own folder"):
        tensor_names(sharded)
