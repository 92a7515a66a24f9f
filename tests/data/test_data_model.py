"""The carried model and texts are what their SOURCE.md says."""

import functools
import importlib.util
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.tables import texts as read_texts
from tokenry.data import demo_model, demo_text

ROOT = Path(__file__).resolve().parents[2]
ALPHABET = "abcde fghij\nklmno.,'pqrst\"ABCDT!?0123456789<>|éñ—“”漢字かな한국🙂🇩🇪 \t\x00\x7f\u00a0\u200dßüТв"


@functools.cache
def pieces() -> dict[str, int]:
    """Piece -> id, spaces as llama2.c has them; the byte pieces stay `<0xNN>`."""
    vocab = json.loads((demo_model() / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    return {piece.replace("▁", " "): number for piece, number in vocab.items()}


def llama2c_encode(text: str) -> list[int]:
    """What llama2.c's run.c does: characters (or bytes + 3), then again and again the adjacent pair of best score.

    Scores fall by one with each id from 259 on, so the best pair is the one whose joined piece has the lowest id.
    """
    ids_of = pieces()
    names = {number: piece for piece, number in ids_of.items()}
    ids = [1, *([ids_of[" "]] if text else [])]
    for char in text:
        ids += [ids_of[char]] if char in ids_of else [byte + 3 for byte in char.encode()]
    while True:
        joined = [ids_of.get(names[a] + names[b]) for a, b in pairwise(ids)]
        known = [(number, place) for place, number in enumerate(joined) if number is not None]
        if not known:
            return ids
        number, place = min(known)
        ids[place : place + 2] = [number]


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(demo_model())


@pytest.fixture(scope="module")
def samples() -> list[str]:
    stories = [text[:300] for text in read_texts(demo_text("stories"))][:60]
    fiction = [text[:300] for text in read_texts(demo_text("fiction"))][::6][:90]
    odd = ["", " ", "  ", "a", " a", "a ", "\n", "\n\n a", "\t\t", "aaaa", "the  the", "1,234.5"]
    odd += ["Ünïcöde", "漢字かな", "🙂🇩🇪", "\x00\x7f"]
    return stories + fiction + odd


def test_the_tokenizer_equals_a_brute_force_encoder_of_llama2c(tokenizer, samples):
    assert len(samples) >= 150
    for text in samples:
        assert tokenizer(text)["input_ids"] == llama2c_encode(text), text


@given(st.text(st.sampled_from(ALPHABET), max_size=40))
def test_it_equals_it_on_random_strings_too(text):
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(demo_model() / "tokenizer.json"))
    assert backend.encode(text).ids == llama2c_encode(text)
    assert backend.decode(backend.encode(text).ids) == text


def test_round_trips_are_exact(tokenizer, samples):
    for text in samples:
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_an_ascii_character_is_its_piece_and_not_its_byte(tokenizer):
    ids = tokenizer("a b", add_special_tokens=False)["input_ids"]
    assert min(ids) >= 259


def test_the_model_writes_a_story(tokenizer):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(demo_model())
    prompt = tokenizer("Once upon a time", return_tensors="pt")
    text = tokenizer.decode(model.generate(**prompt, max_new_tokens=60, do_sample=False)[0], skip_special_tokens=True)
    assert text.startswith("Once upon a time, there was a little girl named Lily. She loved to play outside")


def test_it_needs_under_0_82_bits_a_byte_of_its_own_stories_and_far_more_of_fiction():
    from tokenry.models.lm import LM

    lm = LM.open(demo_model(), device="cpu")
    stories = list(read_texts(demo_text("stories")))[:40]
    measured = lm.score(stories, max_bytes=1100).bits_per_byte()
    assert 0.70 < measured.value < 0.82
    fiction = list(read_texts(demo_text("fiction")))[:20]
    assert lm.score(fiction, max_bytes=1100).bits_per_byte().value > 2


def test_the_texts_are_documents_of_the_promised_size():
    fiction = list(read_texts(demo_text("fiction")))
    sizes = np.array([len(text.encode()) for text in fiction])
    assert 600_000 <= sizes.sum() <= 900_000
    assert np.mean((sizes >= 800) & (sizes <= 3000)) > 0.9
    assert any("Alice" in text for text in fiction)
    assert any("whale" in text for text in fiction)
    assert 130_000 <= sum(len(text.encode()) for text in read_texts(demo_text("stories"))) <= 160_000


def test_the_carried_data_stay_small_and_name_their_origin():
    folder = demo_model().parent
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 1_700_000
    assert demo_text("fiction").stat().st_size <= 300_000
    for part in ("stories260k", "demo_text"):
        assert "licence" in (folder / part / "SOURCE.md").read_text("utf-8").lower()
    assert "MIT License" in (folder / "stories260k" / "LICENSE").read_text("utf-8")


def test_an_unknown_text_is_refused():
    with pytest.raises(ValueError, match="fiction, stories"):
        demo_text("poetry")


def recipe():
    spec = importlib.util.spec_from_file_location("make_demo_assets", ROOT / "recipes" / "make_demo_assets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_half_split_rotation_equals_interleaved_rotation():
    """Scores of rotated queries and keys are the same in both layouts, in float64."""
    rng = np.random.default_rng(0)
    heads, size, width = 2, 8, 5
    weight, other = rng.normal(size=(2, heads * size, width))
    x = rng.normal(size=(3, width))
    angles = np.arange(3)[:, None] * 10000.0 ** (-np.arange(0, size, 2) / size)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]

    def interleaved(w):
        y = (x @ w.T).reshape(3, heads, size)
        even, odd = y[..., 0::2], y[..., 1::2]
        return np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(3, heads, size)

    def half_split(w):
        y = (x @ recipe().half_split(w, heads).T).reshape(3, heads, size)
        first, second = y[..., : size // 2], y[..., size // 2 :]
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def scores(turn):
        return np.einsum("ihd,jhd->hij", turn(weight), turn(other))

    np.testing.assert_allclose(scores(half_split), scores(interleaved), atol=1e-12)


def test_the_carried_model_is_what_the_recipe_makes(shared_data, tmp_path):
    from safetensors.numpy import load_file

    script = recipe()
    source = shared_data / "lm-stories260k"
    script.make_model(source, tmp_path)
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "LICENSE"):
        assert (tmp_path / name).read_text("utf-8") == (demo_model() / name).read_text("utf-8"), name
    made, carried = load_file(tmp_path / "model.safetensors"), load_file(demo_model() / "model.safetensors")
    assert made.keys() == carried.keys()
    assert all(np.array_equal(made[name], carried[name]) for name in made)
    assert sum(tensor.size for tensor in made.values()) == 260_032
    scores = [score for _, score in script.read_pieces(source / "tok512.bin")][259:]
    assert scores == [-float(number) for number in range(len(scores))]


def test_the_rotary_table_of_the_library_equals_the_one_in_the_file(shared_data):
    import torch
    from transformers import AutoModelForCausalLM

    _, _, (cos, sin) = recipe().read_checkpoint(shared_data / "lm-stories260k" / "stories260K.bin")
    model = AutoModelForCausalLM.from_pretrained(demo_model())
    theirs = model.model.rotary_emb(torch.zeros(1, 1, 1), torch.arange(512)[None])
    for ours, table in zip(theirs, (cos, sin), strict=True):
        np.testing.assert_allclose(ours[0, :, :4].numpy(), table, atol=2e-5)
        np.testing.assert_array_equal(ours[0, :, :4].numpy(), ours[0, :, 4:].numpy())
