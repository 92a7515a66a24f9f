"""What cannot be opened is refused at once, with a sentence."""

import json
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from tokenry.data import demo_model
from tokenry.models.lm import LM


@pytest.fixture
def folder(tmp_path):
    out = tmp_path / "model"
    shutil.copytree(demo_model(), out)
    return out


def edit_weights(folder, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def edit_config(folder, **values) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | values), "utf-8")


@pytest.mark.parametrize("name", ["someone/some-model", "gpt2"])
def test_a_hub_name_fails_at_once_while_the_hub_is_off(name):
    began = time.perf_counter()
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE"):
        LM.open(name)
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "~/nowhere"])
def test_a_path_that_is_not_there_is_not_taken_for_a_hub_name(name):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        LM.open(name)


def test_a_folder_without_a_tokenizer_is_refused(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="without a tokenizer"):
        LM.open(folder)


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="no weights"):
        LM.open(folder)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        LM.open(tmp_path)


def test_a_file_that_is_no_model_is_refused(folder):
    with pytest.raises(ValueError, match=r"\.gguf"):
        LM.open(folder / "config.json")


def test_fewer_rows_than_ids_are_refused(folder):
    edit_weights(folder, lambda tensors: tensors.update({"model.embed_tokens.weight": torch.zeros(500, 64)}))
    edit_config(folder, vocab_size=500)
    with pytest.raises(ValueError, match=r"500 rows and the tokenizer 512 ids"):
        LM.open(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_broken_numbers_are_refused_by_name(folder, value):
    def spoil(tensors):
        tensors["model.layers.3.mlp.up_proj.weight"][1, 2] = value

    edit_weights(folder, spoil)
    with pytest.raises(ValueError, match=r"1 of 11008 numbers of model\.layers\.3\.mlp\.up_proj\.weight"):
        LM.open(folder)


def test_missing_weights_are_refused_instead_of_drawn_at_random(folder):
    edit_weights(folder, lambda tensors: tensors.pop("model.layers.2.mlp.up_proj.weight"))
    with pytest.raises(ValueError, match="would be random"):
        LM.open(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"architectures": ["BertForMaskedLM"], "model_type": "bert"},
        {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_encoder_decoder": True},
    ],
)
def test_what_is_not_a_causal_model_is_refused(folder, change):
    edit_config(folder, **change)
    with pytest.raises(ValueError, match="not a causal language model"):
        LM.open(folder)


def test_an_unknown_architecture_is_refused(folder):
    edit_config(folder, architectures=["NewForCausalLM"], model_type="brand-new")
    with pytest.raises(ValueError, match="not supported"):
        LM.open(folder)


def test_code_from_a_model_folder_is_never_run(folder):
    (folder / "evil.py").write_text("raise SystemExit('ran')\n")
    edit_config(folder, model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})
    with pytest.raises(ValueError, match="not supported"):
        LM.open(folder)


def test_number_type_is_float32_on_a_cpu_unless_asked_otherwise(folder):
    edit_config(folder, dtype="bfloat16")
    assert LM.open(folder, device="cpu").model.dtype == torch.float32
    assert LM.open(folder, device="cpu", dtype="auto").model.dtype == torch.bfloat16
    assert LM.open(folder, device="cpu", dtype="float16").model.dtype == torch.float16


def write_gguf(path) -> None:
    """stories260K as a GGUF file, written with the format's own library (rotary rows go back to interleaved)."""
    import gguf
    import numpy as np
    from transformers import AutoTokenizer

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("stories260K")
    writer.add_context_length(512)
    writer.add_embedding_length(64)
    writer.add_block_count(5)
    writer.add_feed_forward_length(172)
    writer.add_head_count(8)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(512)
    tokenizer = AutoTokenizer.from_pretrained(demo_model())
    pieces = tokenizer.convert_ids_to_tokens(range(512))
    kinds = [2 if n == 0 else 3 if n < 3 else 6 if n < 259 else 1 for n in range(512)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([0.0 if n < 259 else 259.0 - n for n in range(512)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 5)
    for name, tensor in load_file(demo_model() / "model.safetensors").items():
        value = tensor.numpy()
        if "q_proj" in name or "k_proj" in name:
            heads = 8 if "q_proj" in name else 4
            rows, width = value.shape
            value = value.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("by_file", [True, False])
def test_a_gguf_file_opens_as_the_same_model_and_saves_as_a_plain_one(tmp_path, by_file):
    pytest.importorskip("gguf")
    (tmp_path / "gguf").mkdir()
    path = tmp_path / "gguf" / "stories.gguf"
    write_gguf(path)
    lm = LM.open(path if by_file else path.parent, device="cpu")
    original = LM.open(demo_model(), device="cpu")
    probe = torch.arange(300, 320)[None]
    with torch.no_grad():
        torch.testing.assert_close(lm.model(probe).logits, original.model(probe).logits, atol=1e-4, rtol=1e-4)
    if by_file:
        lm.save(tmp_path / "plain")
        assert LM.open(tmp_path / "plain", device="cpu").vocab.size == 512
