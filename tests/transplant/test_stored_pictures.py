"""A model that sees pictures sees the same ones after it got another tokenizer."""

import json
from functools import cache

import numpy as np
import pytest
import torch
import transformers as tf

from small_vocabularies import byte_level
from tokenry.core.vocab import Vocab
from tokenry.models.files import auto_class
from tokenry.models.lm import LM, tokenizer_of
from tokenry.transplant.matching import match
from tokenry.transplant.surgery import apply_plan, move, plan, revert

MARKS = ("<|end|>", "<|start|>", "<|pad|>", "<image>", "<video>", "<look>", "<seen>")
ROLES = {"eos_token": "<|end|>", "bos_token": "<|start|>", "pad_token": "<|pad|>"}
SIZE = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}
KINDS = ("llava", "llava-tied", "paligemma", "gemma3", "qwen2-vl", "idefics3")
PLACES = 4  # the places a picture takes in each of these models


@cache
def vocabulary(which: str) -> Vocab:
    """Both name the image token, at different ids; the new one has all marks in another order."""
    if which == "old":
        return byte_level("english", 340, MARKS)
    turned = byte_level("both", 420, (*MARKS[3:], "<new>", *MARKS[:3]))
    return Vocab.from_spec(turned.spec, ROLES, "new")


def id_of(vocab: Vocab, text: str) -> int:
    return next(i for i in vocab.special_ids if vocab.literal(i) == text)


def made(kind: str, vocab: Vocab):
    """A random model of one kind, its picture tower one layer over 16 x 16 pixels."""
    torch.manual_seed(0)
    ids = {f"{role}_token_id": vocab.specials[role] for role in ("bos", "eos", "pad")} | {"vocab_size": vocab.size}
    image, start, end = (id_of(vocab, text) for text in ("<image>", "<look>", "<seen>"))
    few = {"num_key_value_heads": 1, "head_dim": 8}
    tower = {**SIZE, "image_size": 16, "patch_size": 8}
    if kind.startswith("llava"):
        tied = {"tie_word_embeddings": kind == "llava-tied"}
        parts = {"vision_config": tf.CLIPVisionConfig(**tower), "text_config": tf.LlamaConfig(**SIZE, **ids, **tied)}
        model = tf.LlavaForConditionalGeneration(tf.LlavaConfig(**parts, image_token_index=image, **tied))
    elif kind == "paligemma":
        parts = {"vision_config": tf.SiglipVisionConfig(**tower), "text_config": tf.GemmaConfig(**SIZE, **few, **ids)}
        config = tf.PaliGemmaConfig(**parts, image_token_index=image, projection_dim=16)
        model = tf.PaliGemmaForConditionalGeneration(config)
    elif kind == "gemma3":
        text, vision = tf.Gemma3TextConfig(**SIZE, **few, **ids), tf.SiglipVisionConfig(**tower)
        marks = {"image_token_id": image, "boi_token_index": start, "eoi_token_index": end}
        config = tf.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=PLACES, **marks)
        model = tf.Gemma3ForConditionalGeneration(config)
    elif kind == "qwen2-vl":
        rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10_000.0}
        vision = {"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4}
        marks = {"image_token_id": image, "video_token_id": id_of(vocab, "<video>")}
        marks |= {"vision_start_token_id": start, "vision_end_token_id": end}
        text = {**SIZE, "num_key_value_heads": 1, "rope_parameters": rope, **ids}
        model = tf.Qwen2VLForConditionalGeneration(tf.Qwen2VLConfig(text_config=text, vision_config=vision, **marks))
    else:
        own = {"scale_factor": 2, "pad_token_id": ids["pad_token_id"], "image_token_id": image}
        vision = {**tower, "patch_size": 4}
        config = tf.Idefics3Config(text_config=tf.LlamaConfig(**SIZE, **ids), vision_config=vision, **own)
        model = tf.Idefics3ForConditionalGeneration(config)
    for tensor in model.parameters():
        if tensor.ndim > 1:  # weights as small as the library's would let a picture change next to nothing
            tensor.data.normal_(0, 0.2)
    return model.eval()


def seen(kind: str, model, ids: np.ndarray, image: int, *, seed: int = 1) -> torch.Tensor:
    """Logits of a prompt with one picture of random pixels."""
    generator = torch.Generator().manual_seed(seed)
    ids_BT = torch.tensor([ids.tolist()])
    shape = {"qwen2-vl": (16, 3 * 2 * 4 * 4), "idefics3": (1, 1, 3, 16, 16)}.get(kind, (1, 3, 16, 16))
    given = {"input_ids": ids_BT, "pixel_values": torch.randn(shape, generator=generator)}
    if kind == "qwen2-vl":
        given |= {"image_grid_thw": torch.tensor([[1, 4, 4]]), "mm_token_type_ids": (ids_BT == image).int()}
    elif kind in ("gemma3", "paligemma"):
        given["token_type_ids"] = (ids_BT == image).long()
    with torch.inference_mode():
        return model(**given).logits[0]


def saved(kind: str, tmp_path):
    old = vocabulary("old")
    made(kind, old).save_pretrained(tmp_path / "old")
    tokenizer_of(old).save_pretrained(tmp_path / "old")
    return tmp_path / "old"


def opened(folder):
    return auto_class(tf.AutoConfig.from_pretrained(folder)).from_pretrained(folder).eval()


def prompt() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(shared new ids, their old ids, a prompt of new ids with the places of one picture)."""
    old, new = vocabulary("old"), vocabulary("new")
    to_old = match(old, new).new_to_old
    shared = np.flatnonzero(to_old >= 0)
    words = [i for i in shared if i not in new.special_ids]
    image = [id_of(new, "<image>")] * PLACES
    ids = [*words[40:44], id_of(new, "<look>"), *image, id_of(new, "<seen>"), *words[200:204]]
    return shared, to_old, np.array(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_with_a_picture_gives_equal_logits_and_every_id_follows(kind, tmp_path):
    old, new = vocabulary("old"), vocabulary("new")
    folder = saved(kind, tmp_path)
    report = apply_plan(folder, plan(old, new), new, out=tmp_path / "out")
    assert report.facts["verify.ok"]
    shared, to_old, ids = prompt()
    before, after = opened(folder), opened(tmp_path / "out")
    wanted = seen(kind, before, to_old[ids], id_of(old, "<image>"))
    found = seen(kind, after, ids, id_of(new, "<image>"))
    torch.testing.assert_close(found[:, shared], wanted[:, to_old[shared]], atol=1e-5, rtol=1e-5)
    # The picture counts: another one changes the logits behind it.
    other = seen(kind, after, ids, id_of(new, "<image>"), seed=2)
    assert (other[-1] - found[-1]).abs().max() > 0.01
    first, last = (json.loads((place / "config.json").read_text()) for place in (folder, tmp_path / "out"))
    moved = {key: (value, last[key]) for key, value in first.items() if "_token_i" in key and isinstance(value, int)}
    assert any(key.startswith("image_token") for key in moved)
    for key, (then, now) in moved.items():
        if not key.startswith("_"):
            assert new.literal(now) == old.literal(then), key
            assert now != then, key
    assert revert(tmp_path / "out", tmp_path / "back").facts["verify.ok"]
    again = seen(kind, opened(tmp_path / "back"), to_old[ids], id_of(old, "<image>"))
    assert torch.equal(again, wanted)


@pytest.mark.parametrize("kind", ["llava", "qwen2-vl"])
def test_a_move_in_memory_sees_the_same_picture_and_can_be_saved(kind, tmp_path):
    old, new = vocabulary("old"), vocabulary("new")
    model = made(kind, old)
    shared, to_old, ids = prompt()
    wanted = seen(kind, model, to_old[ids], id_of(old, "<image>"))
    moved = move(LM.open((model, tokenizer_of(old))), to=new).lm
    moved.save(tmp_path / "out")
    for after in (moved.model, opened(tmp_path / "out")):
        found = seen(kind, after, ids, id_of(new, "<image>"))
        torch.testing.assert_close(found[:, shared], wanted[:, to_old[shared]], atol=1e-5, rtol=1e-5)


def test_the_name_of_the_image_token_is_carried_to_a_tokenizer_that_has_the_token(tmp_path):
    """Gemma's processor asks its tokenizer for image_token; a tokenizer without the name would break it."""
    old, new = vocabulary("old"), vocabulary("new")
    folder = saved("llava", tmp_path)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"image_token": "<image>", "extra_special_tokens": {"boi_token": "<look>", "gone_token": "<nowhere>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    apply_plan(folder, plan(old, new), new, out=tmp_path / "out")
    tokenizer = tf.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (tokenizer.image_token, tokenizer.image_token_id) == ("<image>", id_of(new, "<image>"))
    assert (tokenizer.boi_token, tokenizer.boi_token_id) == ("<look>", id_of(new, "<look>"))
    assert not hasattr(tokenizer, "gone_token")
    assert tokenizer("a <image> b")["input_ids"].count(id_of(new, "<image>")) == 1
    apply_plan(tmp_path / "out", plan(new, old), old, out=tmp_path / "again")
    assert tf.AutoTokenizer.from_pretrained(tmp_path / "again").image_token_id == id_of(old, "<image>")


def test_pictures_as_codes_of_the_vocabulary_are_refused(tmp_path):
    folder = saved("llava", tmp_path)
    config = json.loads((folder / "config.json").read_text()) | {"vocabulary_map": {"<image>": 3, "IMGIMGBS": 7}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="codes of its pictures in the vocabulary"):
        apply_plan(folder, plan(vocabulary("old"), vocabulary("new")), vocabulary("new"), out=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
