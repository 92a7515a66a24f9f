"""Encoders, sequence to sequence and image-and-text models move too, and what cannot be moved whole is refused."""

import json

import numpy as np
import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from small_vocabularies import byte_level
from tokenry.models.files import auto_class
from tokenry.models.lm import tokenizer_of
from tokenry.transplant.matching import match
from tokenry.transplant.surgery import apply_plan, plan, revert

SPECIALS = ("<|end|>", "<|start|>", "<|pad|>", "<image>")
KINDS = ("bert", "roberta", "distilbert", "modernbert", "t5", "bart", "marian", "llava", "llava-tied")
SIZE = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}
PAIR = {f"{side}_{what}": n for side in ("encoder", "decoder")
        for what, n in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 24))}  # fmt: skip


@pytest.fixture
def old():
    return byte_level("english", 340, SPECIALS)


@pytest.fixture
def new():
    return byte_level("both", 420, SPECIALS)


def made(kind: str, vocab, **more):
    """A random model of one kind with random head biases."""
    ids = {f"{role}_token_id": vocab.specials[role] for role in ("bos", "eos", "pad")} | {"vocab_size": vocab.size}
    start = {"decoder_start_token_id": ids["pad_token_id"], "forced_eos_token_id": ids["eos_token_id"]}
    torch.manual_seed(0)
    if kind == "distilbert":
        model = tf.DistilBertForMaskedLM(tf.DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=24, **ids))
    elif kind == "modernbert":
        marks = {"cls_token_id": ids["bos_token_id"], "sep_token_id": ids["eos_token_id"]}
        model = tf.ModernBertForMaskedLM(tf.ModernBertConfig(**SIZE, **ids, **marks))
    elif kind in ("bert", "roberta"):
        name = {"bert": "Bert", "roberta": "Roberta"}[kind]
        model = getattr(tf, f"{name}ForMaskedLM")(getattr(tf, f"{name}Config")(**SIZE, **ids, **more))
    elif kind == "t5":
        shape = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
        del ids["bos_token_id"]
        config = tf.T5Config(**shape, **ids, decoder_start_token_id=ids["pad_token_id"])
        model = tf.T5ForConditionalGeneration(config)
    elif kind in ("bart", "marian"):
        name = {"bart": "BartForConditionalGeneration", "marian": "MarianMTModel"}[kind]
        config = {"bart": tf.BartConfig, "marian": tf.MarianConfig}[kind]
        model = getattr(tf, name)(config(d_model=16, max_position_embeddings=64, **PAIR, **ids, **start, **more))
    else:
        vision = tf.CLIPVisionConfig(**SIZE, image_size=16, patch_size=8)
        tied = {"tie_word_embeddings": kind == "llava-tied"}
        text = tf.LlamaConfig(**SIZE, **ids, **tied)
        image = next(i for i in vocab.special_ids if vocab.literal(i) == "<image>")
        config = tf.LlavaConfig(vision_config=vision, text_config=text, image_token_index=image, **tied)
        model = tf.LlavaForConditionalGeneration(config)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith("bias") and vocab.size in tensor.shape:
            tensor.data.normal_()
    return model.eval()


def saved(tmp_path, kind: str, vocab, **more):
    model = made(kind, vocab, **more)
    model.save_pretrained(tmp_path / "old")
    tokenizer_of(vocab).save_pretrained(tmp_path / "old")
    return tmp_path / "old"


def opened(folder):
    auto = auto_class(tf.AutoConfig.from_pretrained(folder))
    return auto.from_pretrained(folder).eval()


def logits(model, ids) -> torch.Tensor:
    given = {"input_ids": torch.tensor([list(map(int, ids))])}
    if model.config.is_encoder_decoder:
        given["decoder_input_ids"] = given["input_ids"]
    with torch.inference_mode():
        return model(**given).logits[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_of_shared_tokens_gives_equal_logits_and_the_way_back_gives_equal_bytes(kind, old, new, tmp_path):
    folder = saved(tmp_path, kind, old)
    report = apply_plan(folder, plan(old, new), new, out=tmp_path / "out", pad_to_multiple_of=32)
    assert report.facts["verify.ok"]
    before, after = opened(folder), opened(tmp_path / "out")
    to_old = match(old, new).new_to_old
    shared = np.flatnonzero(to_old >= 0)
    prompt = shared[[5, 60, 120, 180, 250]]
    found, wanted = logits(after, prompt), logits(before, to_old[prompt])
    assert found.shape[-1] == 448
    torch.testing.assert_close(found[:, shared], wanted[:, to_old[shared]], atol=1e-5, rtol=1e-5)
    text = after.config.get_text_config()
    assert text.pad_token_id == new.specials["pad"]
    assert text.vocab_size == 448
    back = revert(tmp_path / "out", tmp_path / "back")
    assert back.facts["verify.ok"]
    assert back.facts["rows_lost"] == 0
    first, last = load_file(folder / "model.safetensors"), load_file(tmp_path / "back/model.safetensors")
    assert first.keys() == last.keys()
    assert all(torch.equal(first[name], last[name]) for name in first)


def test_head_biases_follow_and_an_id_without_a_token_is_never_likely(old, new, tmp_path):
    folder = saved(tmp_path, "bart", old)
    apply_plan(folder, plan(old, new), new, out=tmp_path / "out", pad_to_multiple_of=32)
    before, after = (load_file(f / "model.safetensors")["final_logits_bias"] for f in (folder, tmp_path / "out"))
    to_old = match(old, new).new_to_old
    shared = np.flatnonzero(to_old >= 0)
    assert torch.equal(after[0, shared], before[0, to_old[shared]])
    assert (after[0, new.size :] < before.min() - 19).all()
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["decoder_start_token_id"] == new.specials["pad"]


def test_the_decoder_size_of_marian_follows_and_its_own_vocabulary_is_refused(old, new, tmp_path):
    apply_plan(saved(tmp_path, "marian", old), plan(old, new), new, out=tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text())["decoder_vocab_size"] == new.size
    own = {"decoder_vocab_size": 50, "share_encoder_decoder_embeddings": False, "tie_word_embeddings": False}
    model = tf.MarianMTModel(tf.MarianConfig(d_model=16, max_position_embeddings=64, **PAIR, vocab_size=old.size,
                                             pad_token_id=2, decoder_start_token_id=2, **own))  # fmt: skip
    model.save_pretrained(tmp_path / "own")
    tokenizer_of(old).save_pretrained(tmp_path / "own")
    with pytest.raises(ValueError, match="another for its decoder"):
        apply_plan(tmp_path / "own", plan(old, new), new, out=tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_bias_of_another_number_type_keeps_it_there_and_back(old, new, tmp_path):
    folder = saved(tmp_path, "bart", old)
    tensors = load_file(folder / "model.safetensors")
    tensors = {name: t if name == "final_logits_bias" else t.half() for name, t in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    apply_plan(folder, plan(old, new), new, out=tmp_path / "out")
    assert load_file(tmp_path / "out/model.safetensors")["final_logits_bias"].dtype == torch.float32
    revert(tmp_path / "out", tmp_path / "back")
    back = load_file(tmp_path / "back/model.safetensors")
    assert all(torch.equal(tensors[name], back[name]) for name in tensors)
    assert all(tensors[name].dtype == back[name].dtype for name in tensors)


def test_an_encoder_without_a_head_moves_its_one_table(old, new, tmp_path):
    saved(tmp_path, "bert", old)
    opened(tmp_path / "old").bert.save_pretrained(tmp_path / "plain")
    tokenizer_of(old).save_pretrained(tmp_path / "plain")
    report = apply_plan(tmp_path / "plain", plan(old, new), new, out=tmp_path / "out")
    assert report.facts["verify.ok"]
    to_old = match(old, new).new_to_old
    prompt = np.flatnonzero(to_old >= 0)[[5, 60, 120, 180, 250]]
    with torch.inference_mode():
        states = [
            tf.AutoModel.from_pretrained(place)(torch.tensor([ids.tolist()])).last_hidden_state
            for place, ids in ((tmp_path / "plain", to_old[prompt]), (tmp_path / "out", prompt))
        ]
    assert torch.equal(*states)


def test_an_old_t5_that_stores_its_table_thrice_and_a_head_of_its_own_moves_whole(old, new, tmp_path):
    folder = saved(tmp_path, "t5", old)
    tensors = load_file(folder / "model.safetensors")
    table = tensors["shared.weight"]
    tensors |= {f"{side}.embed_tokens.weight": table.clone() for side in ("encoder", "decoder")}
    tensors["lm_head.weight"] = torch.randn_like(table)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    apply_plan(folder, plan(old, new), new, out=tmp_path / "out")
    after = load_file(tmp_path / "out/model.safetensors")
    assert torch.equal(after["encoder.embed_tokens.weight"], after["shared.weight"])
    to_old = match(old, new).new_to_old
    shared = np.flatnonzero(to_old >= 0)
    assert torch.equal(after["lm_head.weight"][shared], tensors["lm_head.weight"][to_old[shared]])
    revert(tmp_path / "out", tmp_path / "back")
    back = load_file(tmp_path / "back/model.safetensors")
    assert all(torch.equal(tensors[name], back[name]) for name in tensors)


def test_positions_that_count_from_the_pad_id_keep_it_or_the_move_is_refused(old, tmp_path):
    folder = saved(tmp_path, "roberta", old)
    moved_pad = byte_level("both", 420, ("<|end|>", "<|start|>", "<image>", "<|pad|>"))
    moved_pad = type(moved_pad).from_spec(
        moved_pad.spec, {"eos_token": "<|end|>", "bos_token": "<|start|>", "pad_token": "<|pad|>"}, "moved"
    )
    with pytest.raises(ValueError, match=r"counts its positions from the pad id 2.*Give the new tokenizer its pad"):
        apply_plan(folder, plan(old, moved_pad), moved_pad, out=tmp_path / "out")


def test_a_tokenizer_without_the_place_of_an_image_is_refused(old, tmp_path):
    folder = saved(tmp_path, "llava", old)
    blind = byte_level("both", 420, SPECIALS[:3])
    with pytest.raises(ValueError, match=r"image_token_i.*has no such token"):
        apply_plan(folder, plan(old, blind), blind, out=tmp_path / "out")


def test_a_further_table_and_a_head_of_its_own_are_refused(old, new, tmp_path):
    folder = saved(tmp_path, "bert", old)
    with pytest.raises(ValueError, match="supported for causal models only"):
        apply_plan(folder, plan(old, new, method="asymmetric"), new, out=tmp_path / "out")
    tensors = load_file(folder / "model.safetensors")
    tensors["bert.embed_per_layer.weight"] = torch.randn(old.size, 4)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"another table over the vocabulary, bert\.embed_per_layer"):
        apply_plan(folder, plan(old, new), new, out=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
