"""Temperature, top-k and top-p are those of the library."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokenry.decoding.sampling import Settings, check_numbers


@given(
    seed=st.integers(0, 10_000),
    temperature=st.sampled_from((0.3, 0.7, 1.0, 1.8)),
    top_k=st.sampled_from((0, 1, 3, 20, 100)),
    top_p=st.sampled_from((0.05, 0.5, 0.9, 1.0)),
)
def test_the_law_is_that_of_the_librarys_warpers(seed, temperature, top_k, top_p):
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(40, generator=torch.Generator().manual_seed(seed)).double() * 3
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    expected = warpers(None, logits[None].clone())[0].softmax(-1)
    torch.testing.assert_close(Settings(temperature=temperature, top_k=top_k, top_p=top_p).law(logits), expected)


def test_greedy_puts_all_mass_on_the_likeliest_token():
    assert Settings().law(torch.tensor([0.0, 2.0, 1.0])).tolist() == [0, 1, 0]


def test_rows_that_stand_for_no_token_are_never_written():
    law = Settings(temperature=1.0, n_tokens=2).law(torch.tensor([0.0, 0.0, 9.0]))
    assert law.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("broken", [[0.0, float("nan")], [float("-inf")] * 2, [float("inf"), 0.0]])
def test_numbers_that_are_none_are_refused(broken):
    with pytest.raises(ValueError, match="finite"):
        check_numbers(torch.tensor(broken))
    assert check_numbers(torch.tensor([0.0, float("-inf")])) is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0},
        {"top_p": 1.1},
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="need"):
        Settings(**wrong)
