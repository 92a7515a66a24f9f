"""The weights are unbiased in exact arithmetic, for every course of chance, with every limit."""

from collections import Counter
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from exact_chance import outcomes, random_law
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tokenry.decoding.acceptance import Seeded
from tokenry.decoding.awrs import (
    NO_LIMIT,
    automatic,
    geometric,
    likeliest,
    once,
    recursive,
    spread,
    two_loops,
    without_replacement,
)

ONE_PASS = {"recursive": recursive, "two loops": two_loops}
ALL = {**ONE_PASS, "geometric": geometric, "geometric, 3 accepts": partial(geometric, most_accepts=3),
       "automatic": automatic}  # fmt: skip


def _law_of_draws(estimator, law_V, allowed, **limits):
    """{(token, weight): probability}, exactly."""

    def act(chance):
        draw = estimator(law_V, lambda token: bool(allowed[token]), chance, **limits)
        return draw.token, draw.weight

    return outcomes(act)


def _assert_proper(estimator, law_V, allowed, **limits):
    """E[weight 1{token = v}] = p(v) c(v)."""
    found = _law_of_draws(estimator, law_V, allowed, **limits)
    for token, p in enumerate(law_V):
        mean = sum(chance * weight for (drawn, weight), chance in found.items() if drawn == token)
        assert mean == p * allowed[token]


SMALL = {"seed": st.integers(0, 10_000), "size": st.integers(1, 4), "bits": st.integers(0, 15)}


@pytest.mark.parametrize("name", ONE_PASS)
@given(**SMALL)
@examples(max_examples=25)
def test_the_weighted_draw_is_unbiased_for_what_is_allowed(name, seed, size, bits):
    allowed = [bits >> place & 1 for place in range(size)]
    law_V = random_law(np.random.default_rng(seed), size, zeros=True) * Fraction(3, 4)  # a pruned law sums to less
    _assert_proper(ONE_PASS[name], law_V, allowed)


@pytest.mark.parametrize("name", ALL)
@given(**SMALL, most=st.integers(1, 3))
@examples(max_examples=20)
def test_it_stays_unbiased_when_it_gives_up_after_some_rejects(name, seed, size, bits, most):
    """The geometric estimator's repeats end only at a limit, so this is also its test without one."""
    allowed = [bits >> place & 1 for place in range(size)]
    law_V = random_law(np.random.default_rng(seed), min(size, 3), zeros=True)
    most = max(most, 1 if name in ONE_PASS else 2)
    _assert_proper(ALL[name], law_V, allowed[: len(law_V)] + [0] * 3, most_rejects=most)


@pytest.mark.parametrize("name", ONE_PASS)
def test_the_token_alone_has_the_constrained_law(name):
    law_V, allowed = random_law(np.random.default_rng(3), 4), [1, 0, 1, 0]
    mass = law_V[0] + law_V[2]
    tokens = Counter()
    for (token, _), chance in _law_of_draws(ONE_PASS[name], law_V, allowed).items():
        tokens[token] += chance
    assert dict(tokens) == {0: law_V[0] / mass, 2: law_V[2] / mass}


def test_the_recursive_weight_spreads_less_on_most_laws():
    """Second moments over 12 random cases: recursive below the paper's two loops in most, not in all."""
    generator, better = np.random.default_rng(1), 0
    for _ in range(12):
        law_V, allowed = random_law(generator, 4), [0, *generator.integers(0, 2, 2), 1]
        loops, passes = (
            sum(chance * draw[1] ** 2 for draw, chance in _law_of_draws(estimator, law_V, allowed).items())
            for estimator in (two_loops, recursive)
        )
        better += passes <= loops
    assert 6 < better < 12


@pytest.mark.parametrize("name", ALL)
def test_limits_all_allowed_and_none(name):
    law_V = np.array([0.5, 0.25, 0.2, 0.05])
    for seed in range(20):
        drawn = ALL[name](law_V, lambda token: True, Seeded(seed))
        assert drawn.weight == pytest.approx(1)
        assert drawn.n_asked <= 2 + (name == "geometric, 3 accepts")
        nothing = ALL[name](law_V, lambda token: False, Seeded(seed))
        assert (nothing.token, nothing.weight) == (None, 0)
        assert nothing.n_asked == 4
    assert once(law_V, lambda token: False, Seeded(0)).token is None


def test_a_law_whose_mass_is_nearly_all_refused_keeps_its_digits():
    law_V = np.array([1 - 3e-12, 1e-12, 2e-12])
    for seed in range(50):
        passes, loops = (
            estimator(law_V, lambda token: token == 2, Seeded(seed)) for estimator in (recursive, two_loops)
        )
        assert passes.token == loops.token == 2
        assert passes.weight == pytest.approx(2e-12, rel=1e-12)  # the big token is refused first, all but surely
        # After one or two rejects: (1 - mass of the first loop's) / (rejects + 1).
        assert min(abs(loops.weight - w) for w in (3e-12 / 2, 3e-12 / 3, 2e-12 / 3)) < 1e-22


def test_floats_are_drawn_without_replacement_by_the_same_law():
    """The quick way (repeats skipped) against fractions: first two of three tokens, chi-square at the 99.99% point."""
    from scipy.stats import chi2

    law_V = random_law(np.random.default_rng(5), 4)
    exact = outcomes(
        lambda chance: tuple(t for t, _ in zip(without_replacement(law_V, chance), range(2), strict=False))
    )
    floats, n, chance = law_V.astype(float), 1500, Seeded(0)
    counts = Counter(
        tuple(t for t, _ in zip(without_replacement(floats, chance), range(2), strict=False)) for _ in range(n)
    )
    statistic = sum((counts[pair] - n * float(p)) ** 2 / (n * float(p)) for pair, p in exact.items())
    assert set(counts) <= set(exact)
    assert statistic < chi2.ppf(0.9999, len(exact) - 1)
    assert sorted(without_replacement(np.array([0.7, 0.0, 0.3]), chance)) == [0, 2]


@given(seed=st.integers(0, 10_000), n=st.integers(1, 5))
@examples(max_examples=25)
def test_resampling_gives_every_particle_its_share(seed, n):
    weights_M = random_law(np.random.default_rng(seed), n, zeros=True)
    found = outcomes(lambda chance: tuple(spread(weights_M, chance)))
    for particle, weight in enumerate(weights_M):
        counts = {parents: parents.count(particle) for parents in found}
        assert sum(found[parents] * count for parents, count in counts.items()) == n * weight
        assert all(abs(count - n * weight) < 1 for count in counts.values())


@given(seed=st.integers(0, 1000), size=st.integers(1, 200), share=st.floats(0, 1))
@examples(max_examples=30)
def test_the_likeliest_allowed_token_is_that_of_the_mask(seed, size, share):
    generator = np.random.default_rng(seed)
    law_V, allowed = generator.dirichlet(np.ones(size)), generator.random(size) < share
    found = likeliest(law_V, lambda token: bool(allowed[token]))
    assert found.token == (int(np.where(allowed, law_V, -1).argmax()) if allowed.any() else None)
    if allowed.any():
        assert found.n_asked == 1 + (law_V > law_V[found.token]).sum()


def test_few_tokens_are_judged_where_the_model_knows_what_comes():
    """1,000 tokens, the allowed ones hold .9 of the law: two judged and a bit, where a mask judges all."""
    law_V = np.concatenate([np.full(10, 0.09), np.full(990, 0.1 / 990)])
    asked = [recursive(law_V, lambda token: token < 10, Seeded(seed)).n_asked for seed in range(300)]
    assert np.mean(asked) < 2.5  # one over .9 for the first, and one more; each standard error below .03


def test_the_peer_library_has_the_same_mean_weights():
    sampler = pytest.importorskip("genlm.control.sampler.token", reason="compares with genlm-control")
    import asyncio

    import torch

    law_V, allowed, n = np.array([0.4, 0.3, 0.2, 0.1]), [True, False, True, False], 3000

    noise = torch.Generator().manual_seed(0)

    def gumbel(log_p):
        return log_p - (-torch.rand(log_p.shape, dtype=torch.float64, generator=noise).log()).log()

    async def theirs():
        async def accept(token):
            return allowed[token]

        rows = []
        for _ in range(n):
            asked = {"accept": accept, "make_keys": gumbel, "max_rejects": float("inf")}
            rows.append(await sampler.recursive_awrs(logps=torch.tensor(law_V).log(), toks=list(range(4)), **asked))
        return np.array([[row[0], np.exp(row[1])] for row in rows])

    def means(rows):
        return [rows[rows[:, 0] == token][:, 1].sum() / n for token in (0, 2)]

    ours = [recursive(law_V, lambda token: allowed[token], Seeded(seed), most_rejects=NO_LIMIT) for seed in range(n)]
    # A weighted indicator lies in [0, 1]: standard error below .5 / sqrt(n); the difference of two means, 4 of them.
    tolerance = 4 * 0.5 * np.sqrt(2 / n)
    np.testing.assert_allclose(means(np.array([[d.token, d.weight] for d in ours])), means(asyncio.run(theirs())),
                               atol=tolerance)  # fmt: skip
