"""The loss is the bound it should be, by exact integration; a trained model tells coherent texts from mixed ones."""

import itertools
import math

import numpy as np
import pytest
import torch

from small_vocabularies import byte_level
from tiny_causal_models import tiny
from tiny_diffusion_models import small
from tokenry.decoding.diffusion import DiffusionSpec, diffuse
from tokenry.decoding.diffusion_guide import Guided
from tokenry.decoding.diffusion_training import (
    diffusion_loss,
    look_both_ways,
    masked_draw,
    tiny_diffusion,
    trained_diffusion,
)
from tokenry.decoding.diffusion_unmasking import Counted, Threshold
from tokenry.decoding.sampling import Settings
from tokenry.models.batches import NOT_LEARNED, Packs, draw
from tokenry.models.lm import LM
from tokenry.models.tiny import tiny_llama
from tokenry.models.training import FitConfig, fit


def packs_of(rows, learned) -> Packs:
    ids = np.asarray(rows, dtype=np.uint16)
    owners = np.broadcast_to(np.arange(len(ids), dtype=np.int32)[:, None], ids.shape).copy()
    return Packs(ids, np.broadcast_to(np.asarray(learned, dtype=bool), ids.shape).copy(), owners)


def test_the_loss_averages_to_its_integral_over_rates_and_masks():
    """A set of k of n hidden places has weight int t^(k-1) (1-t)^(n-k) dt = (k-1)! (n-k)! / n!."""
    model, mask, text, n = small(5), 4, [0, 3, 1, 2], 3
    exact = 0.0
    for k in range(1, n + 1):
        for places in itertools.combinations(range(1, 4), k):
            canvas = [mask if place in places else token for place, token in enumerate(text)]
            with torch.inference_mode():
                log_p = model(input_ids=torch.tensor([canvas])).logits[0].double().log_softmax(-1)
            nats = -sum(float(log_p[place, text[place]]) for place in places)
            exact += math.factorial(k - 1) * math.factorial(n - k) / math.factorial(n) * nats
    drawn = masked_draw(packs_of([text], [False, True, True, True]), mask=mask, batch_size=128)
    with torch.inference_mode():
        losses = np.array([n * float(diffusion_loss(model, drawn(step))[0]) for step in range(40)])
    # Batches are independent: the mean of 40 lies within 4 standard errors, but for one time in 15,000.
    assert abs(losses.mean() - exact) < 4 * losses.std(ddof=1) / math.sqrt(40)


def test_only_learned_places_of_whole_sequences_are_hidden():
    packs = packs_of(np.arange(60).reshape(6, 10), [False] * 4 + [True] * 6)
    packs.documents[5, 7:] = -1
    drawn = masked_draw(packs, mask=99, batch_size=8, seed=2)
    for step in range(5):
        batch = drawn(step)
        hidden = batch["input_ids"] == 99
        assert not hidden[:, :4].any()
        assert torch.equal(hidden, batch["labels"] != NOT_LEARNED)
        assert (torch.where(hidden, batch["labels"], batch["input_ids"]) < 50).all()
        assert (batch["rates"] > 0).all()
        assert (batch["rates"] <= 1).all()
        assert batch["rates"].sort().values.diff().sub(1 / 8).abs().max() < 1e-12, "one rate in each eighth"
        assert all(torch.equal(value, drawn(step)[key]) for key, value in batch.items())


def test_shifted_labels_stand_one_place_before_their_token():
    packs = packs_of(np.arange(40).reshape(4, 10), [True] * 10)
    plain, shifted = (masked_draw(packs, mask=99, batch_size=4, shift=shift)(0) for shift in (False, True))
    assert not (shifted["input_ids"][:, 0] == 99).any()
    assert torch.equal(shifted["input_ids"][:, 1:], plain["input_ids"][:, 1:])
    assert torch.equal(shifted["labels"][:, :-1], plain["labels"][:, 1:])
    assert (shifted["labels"][:, -1] == NOT_LEARNED).all()
    assert (plain["n_places"] - shifted["n_places"] == 1).all()


def test_a_model_is_made_to_look_both_ways_and_saved_so(tmp_path):
    lm = tiny_diffusion(byte_level(), spread=0.25)
    assert DiffusionSpec.of(lm).mask == lm.vocab.size == lm.model.config.mask_token_id
    again = LM.open(lm.save(tmp_path / "saved"))
    asked = {"settings": Settings(max_new_tokens=8)}
    one, other = (diffuse(each, [[70, 80]], DiffusionSpec.of(each), **asked).ids for each in (lm, again))
    assert one == other
    with pytest.raises(ValueError, match="row of its own"):
        look_both_ways(tiny("llama"), mask=61)


@pytest.mark.slow  # two small models are trained, about 5 CPU seconds each
def test_a_guide_keeps_texts_coherent_where_a_fixed_count_mixes_them():
    """Answers are one of nine letters, eight times; all are equally likely, so letters drawn side by side are mixed.

    How often four at random places agree when drawn side by side (once in 9 ** 3 = 729 times at equal chances) follows
    from the model's own laws: q. No more than a share q of texts by two steps of four is coherent, and of 200 texts 4
    standard errors and one more. A guide of the same texts consents to a run of equal letters only.
    """
    vocab = byte_level(specials=("<|end|>", "<s>", "<pad>"))
    letters = [vocab.encode([letter])[0][0] for letter in "abcdefghi"]
    bos = vocab.specials["bos"]
    packs = packs_of([[bos, *[letter] * 8] for letter in letters], [False] + [True] * 8)
    lm = tiny_diffusion(vocab, width=32, layers=2, seed=1)
    mask, how = lm.model.config.mask_token_id, FitConfig(rate=1e-2, warmup=10)
    fit(lm.model, masked_draw(packs, mask=mask, batch_size=36), diffusion_loss, steps=150, config=how)
    guide = tiny_llama(vocab, width=32, layers=1, seed=2)
    fit(guide.model, draw(packs, batch_size=36), steps=100, config=how)
    asked = {"settings": Settings(max_new_tokens=8, temperature=1.0, n_tokens=vocab.size), "block": 8}
    share, steps = {}, {}
    for name, way in {
        "one": Counted(),
        "fixed": Counted(4, score="random"),
        "threshold": Threshold(0.9),
        "guided": Guided(guide),
    }.items():
        found = diffuse(lm, [[bos]] * 200, DiffusionSpec(mask), unmask=way, **asked)
        share[name] = np.mean([len(set(row)) == 1 for row in found.ids])
        steps[name] = np.mean([max(row) + 1 for row in found.uncovered_at])
    with torch.inference_mode():
        laws = lm.model(input_ids=torch.tensor([[bos, *[mask] * 8]])).logits[0, 1:, : vocab.size].double().softmax(-1)
    q = np.mean([float(laws[list(four)].prod(0).sum()) for four in itertools.combinations(range(8), 4)])
    assert share["fixed"] <= q + 4 * math.sqrt(q / 200) + 1 / 200 < 0.1
    assert min(share["one"], share["threshold"], share["guided"]) > 0.8
    assert steps["guided"] < 4 < steps["one"]


def test_texts_are_trained_on_in_a_call():
    lm = trained_diffusion(
        ["the cat sat on the mat"] * 40, byte_level(), steps=3, length=16, batch_size=2, width=16, heads=2
    )
    assert not lm.model.training
