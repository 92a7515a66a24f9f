"""Sampling by ratings: budgets, shares, repeats; the invariants of the card."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.corpora.rated_sampling import STRATEGIES, sample

CORPORA = st.integers(0, 2**32 - 1).map(lambda seed: corpus(np.random.default_rng(seed)))


def corpus(rng, n=None):
    n = n or int(rng.integers(5, 200))
    return {
        "metric": rng.integers(1, 6, n).astype(float) if rng.random() < 0.5 else rng.random(n),
        "size": rng.integers(1, 50, n).astype(float),
        "domain": rng.choice(["a", "b", "c"], n, p=[0.7, 0.2, 0.1]).tolist(),
        "source": rng.choice(["x", "y"], n).tolist(),
        "share": float(rng.uniform(0.05, 0.9)),
    }


def taken(made, strategy, budget, **more):
    return sample(made["metric"], made["size"], budget=budget, strategy=strategy, domain_N=made["domain"],
                  source_N=made["source"], **more)  # fmt: skip


@given(CORPORA, st.sampled_from(["uniform", "org_domain", "multi_domain"]), st.integers(0, 5))
def test_the_budget_holds_to_within_a_document_and_so_does_every_cell(made, strategy, seed):
    budget, largest = made["share"] * made["size"].sum(), made["size"].max()
    found = taken(made, strategy, budget, seed=seed)
    assert budget - 1e-9 <= (found.copies_N * made["size"]).sum() < budget + largest
    assert found.copies_N.max() <= 1  # without repeats no document comes twice
    for cell in found.report.tables["cells"].to_pylist():
        assert abs(cell["taken"] - cell["budget"]) <= largest + 1e-9


@given(CORPORA)
def test_equal_budgets_are_met_where_there_is_enough_and_by_repeats_where_there_is_not(made):
    budget, largest = made["share"] * made["size"].sum(), made["size"].max()
    plain, again = taken(made, "equi_domain", budget), taken(made, "equi_domain", budget, repeat=True)
    for cell, repeated in zip(*(one.report.tables["cells"].to_pylist() for one in (plain, again)), strict=True):
        if cell["held"] >= cell["budget"]:
            assert abs(cell["taken"] - cell["budget"]) <= largest + 1e-9
        else:
            # What an earlier cell took too much, less than a document, may be taken off a cell that is just short.
            assert cell["held"] - largest <= cell["taken"] <= cell["held"]
        assert abs(repeated["taken"] - repeated["budget"]) <= largest + 1e-9
        if repeated["most copies"] > 1:
            assert any(f"{repeated['cell']} (" in warning for warning in again.report.warnings)
    assert plain.copies_N.max() <= 1


@given(st.integers(0, 2**32 - 1))
def test_uniform_takes_the_top_of_the_metric(seed):
    rng = np.random.default_rng(seed)
    metric, k = rng.permutation(60).astype(float), int(rng.integers(1, 60))
    found = sample(metric, np.ones(60), budget=k, strategy="uniform")
    assert set(np.flatnonzero(found.copies_N)) == set(np.argsort(-metric)[:k])


@given(CORPORA, st.integers(0, 3))
def test_one_source_makes_multi_domain_org_domain_and_one_domain_makes_it_uniform(made, seed):
    budget, n = made["share"] * made["size"].sum(), len(made["size"])
    one = {**made, "source": ["x"] * n}
    np.testing.assert_array_equal(
        taken(one, "multi_domain", budget, seed=seed).copies_N, taken(one, "org_domain", budget, seed=seed).copies_N
    )
    one = {**made, "domain": ["a"] * n}
    np.testing.assert_array_equal(
        taken(one, "org_domain", budget, seed=seed).copies_N, taken(one, "uniform", budget, seed=seed).copies_N
    )


def test_ties_are_broken_by_the_seed_alone():
    flat = [sample(np.ones(500), np.ones(500), budget=50, strategy="uniform", seed=seed).copies_N for seed in (0, 0, 1)]
    np.testing.assert_array_equal(flat[0], flat[1])
    assert (flat[0] != flat[2]).any()
    # Were the first 50 taken, their mean place would be 24.5; of random ones it is 249.5 with deviation 20 (z = 5).
    assert 149 < np.flatnonzero(flat[0]).mean() < 350


def test_filters_missing_scores_and_missing_domains():
    metric = np.array([5.0, 4.0, np.nan, 5.0, 3.0])
    found = sample(metric, np.ones(5), budget=10, strategy="none", among_N=metric == 5)
    assert found.copies_N.tolist() == [1, 0, 0, 1, 0]
    found = sample(metric, np.ones(5), budget=2, strategy="org_domain", domain_N=["a", "a", "a", None, None])
    assert found.copies_N.tolist() == [1, 0, 0, 1, 0]
    assert found.report.tables["cells"].column("cell").to_pylist() == ["(none)", "a"]
    nothing = sample(np.full(3, np.nan), np.ones(3), budget=2, strategy="uniform")
    assert nothing.copies_N.sum() == 0


def test_only_what_may_be_taken_is_counted_exactly():
    rng = np.random.default_rng(0)
    metric, exact = rng.random(1000), rng.integers(80, 120, 1000).astype(float)
    counted = []

    def count(places):
        counted.extend(places)
        return exact[places]

    found = sample(metric, np.full(1000, 100.0), budget=20_000, strategy="uniform", exact=count)
    assert len(counted) == 220  # a tenth more than 200
    assert 20_000 <= (found.copies_N * exact).sum() < 20_120
    assert set(np.flatnonzero(found.copies_N)) <= set(counted)


def test_wrong_requests_are_refused():
    with pytest.raises(ValueError, match="org_domain"):
        sample(np.ones(2), np.ones(2), budget=1, strategy="orgdomain")
    for strategy in ("org_domain", "equi_domain", "multi_domain"):
        with pytest.raises(ValueError, match="needs a"):
            sample(np.ones(2), np.ones(2), budget=1, strategy=strategy)
    assert set(STRATEGIES) == {"uniform", "org_domain", "equi_domain", "multi_domain", "none"}
