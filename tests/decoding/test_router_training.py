"""A router learns what is divergent, keeps its promise of recall, and comes back from its folder as it was."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from chain_pair import HARD, N_STATES, SAY, A, chain_model, states, token
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from routing_models import tiny_pair

from tokenry.decoding.router_training import RouterTraining, recall_at_rate, split_texts, sweep, train_router
from tokenry.decoding.routers import EntropyRouter, HiddenStateRouter, RandomRouter, RouterNet, RouterShape
from tokenry.decoding.routing import routed_generate
from tokenry.decoding.routing_labels import label_prompts
from tokenry.decoding.sampling import Settings

QUICK = RouterTraining(rate=3e-3, epochs=30, batch=128, patience=30)


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Labels along twelve texts of the chain, one from each state."""
    out = tmp_path_factory.mktemp("routing") / "labels"
    prompts = [f"s{state}" for state in range(N_STATES)]
    label_prompts(chain_model("small"), chain_model("large"), prompts, out=out, max_new_tokens=30)
    return out


@pytest.fixture(scope="module")
def trained(labels, tmp_path_factory):
    out = tmp_path_factory.mktemp("routing") / "router"
    router, report = train_router(labels, out=out, small=chain_model("small"), inner=32, blocks=1, training=QUICK)
    return router, report, out


def test_the_network_has_the_parameters_of_the_card():
    """About 56 million at a width of 1,536: 3 * 1536 * 1024 + 6 * 2 * 1024 * 4096 and the small parts."""
    with torch.device("meta"):
        net = RouterNet(RouterShape(1536))
    d, inner = 1536, 1024
    expected = (100 * d + d) + (3 * d * inner + inner) + 6 * (2 * inner + 8 * inner * inner + 5 * inner) + 2 * inner
    assert sum(parameter.numel() for parameter in net.parameters()) == expected + inner + 1
    assert 54e6 < expected < 58e6


def test_a_router_trained_on_labels_keeps_the_text_right_where_chance_and_entropy_do_not(trained):
    """The chain leaves the ring for good after each hard state, unless the large model writes that token.

    A router that finds all divergent tokens and nothing else keeps every text right at their share (2 of 24 tokens).
    By chance at that share a text is right with probability (2/24)^2 < .01; entropy asks at the wordings first.
    """
    router, report, _ = trained
    small, large = chain_model("small"), chain_model("large")
    prompts = [[token(s, SAY)] for s in range(N_STATES)]
    settings = Settings(max_new_tokens=2 * N_STATES)
    right = [states(text.ids) for text in routed_generate(None, large, prompts, threshold=0, settings=settings)[0]]

    def kept(each, threshold=None) -> tuple[int, float]:
        texts, cost = routed_generate(small, large, prompts, router=each, threshold=threshold, settings=settings)
        return sum(states(text.ids) == truth for text, truth in zip(texts, right, strict=True)), cost.large_share

    n_right, share = kept(router)
    assert n_right == N_STATES
    assert abs(share - len(HARD) / N_STATES / 2) < 1e-9
    assert max(kept(RandomRouter(seed=seed), 1 - share)[0] for seed in range(5)) <= 2
    # Its share for entropy: half of all tokens are wordings, and none of the divergent ones is above them.
    n_right, entropy_share = kept(EntropyRouter(threshold=0.4))
    assert n_right == 0
    assert entropy_share > 5 * share
    assert report.facts["recall"].value == 1
    assert (
        report.tables["recall at a rate"]["router"][2].as_py()
        == 1
        > report.tables["recall at a rate"]["entropy"][2].as_py()
    )


def test_a_saved_router_scores_as_before_and_knows_its_model(trained):
    router, _, out = trained
    again = HiddenStateRouter.open(out)
    assert again.threshold == router.threshold
    inputs = {"hidden": torch.randn(5, 40), "logits": torch.randn(5, 36), "embedding": torch.randn(5, 40)}
    torch.testing.assert_close(again.net(**inputs), router.net(**inputs))
    again.check(chain_model("small"))
    with pytest.raises(ValueError, match=r"trained on another small model.*width, vocabulary"):
        again.check(tiny_pair()[0])
    shifted = chain_model.__wrapped__("small")
    with torch.no_grad():
        shifted.model.get_input_embeddings().weight *= 1.5
    with pytest.raises(ValueError, match="the embedding"):
        again.check(shifted)
    assert sorted(file.name for file in out.iterdir()) == ["router.json", "router.safetensors"]


def test_damaged_routers_are_refused(trained, tmp_path):
    import shutil

    out = tmp_path / "router"
    shutil.copytree(trained[2], out)
    about = json.loads((out / "router.json").read_text())
    about["shape"]["inner"] = 16
    (out / "router.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"weights and router\.json differ"):
        HiddenStateRouter.open(out)
    (out / "router.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        HiddenStateRouter.open(out)


def test_labels_that_teach_nothing_are_refused(tmp_path):
    small, large = chain_model("small"), chain_model("large")
    for name, verdict in (("none", 0), ("few", 0)):
        label_prompts(
            small, large, ["s1", "s2", "s3"][: 3 if name == "none" else 2], out=tmp_path / name, max_new_tokens=24,
            verifier=lambda forks, verdict=verdict: [verdict] * len(forks),
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"0 of .* divergent"):
        train_router(tmp_path / "none", small=small, inner=8, blocks=0)
    with pytest.raises(ValueError, match="at least 3"):
        train_router(tmp_path / "few", small=small, inner=8, blocks=0)
    with pytest.raises(ValueError, match="does not share"):
        train_router(tmp_path / "none", small=tiny_pair()[0], inner=8, blocks=0)
    with pytest.raises(ValueError, match="min_recall"):
        RouterTraining(min_recall=0)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.505, 0.9, 1.0]), st.booleans()), min_size=1, max_size=30))
@examples(max_examples=60)
def test_the_sweep_counts_what_a_threshold_routes(rows):
    scores, truth = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    found = sweep(scores, truth)
    for at in (0, 37, 50, 99):
        routed = scores >= found.thresholds[at]
        assert np.isclose(found.rate[at], routed.mean())
        assert np.isclose(found.recall[at], routed[truth].mean() if truth.any() else 1)
    best = found.best(0.95)
    enough = found.recall >= 0.95
    assert found.rate[best] == (found.rate[enough].min() if enough.any() else found.rate[best])
    assert found.recall[best] == (found.recall[best] if enough.any() else found.recall.max())
    rates = [recall_at_rate(scores, truth, rate) for rate in (0.0, 0.3, 0.7, 1.0)]
    assert rates[0] == 0
    assert np.isclose(rates[-1], float(truth.any()))
    assert all(a <= b + 1e-12 for a, b in pairwise(rates))


def test_ties_are_drawn_by_lot():
    assert recall_at_rate(np.zeros(10), np.arange(10) < 4, 0.3) == pytest.approx(0.3)
    assert recall_at_rate(np.arange(10.0), np.arange(10) >= 8, 0.2) == 1


@given(st.integers(3, 40), st.integers(0, 5))
@examples(max_examples=20)
def test_a_text_is_in_one_part_only(n_texts, seed):
    text = np.repeat(np.arange(n_texts), 3)
    parts = split_texts(text, seed=seed)
    assert (sum(rows.astype(int) for rows in parts.values()) == 1).all()
    assert all(rows.any() for rows in parts.values())
    for rows in parts.values():
        assert len(set(text[rows]) & set(text[~rows])) == 0
    assert A == 1
