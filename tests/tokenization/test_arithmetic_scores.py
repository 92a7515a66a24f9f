"""Scoring answers and naming errors, on made responses whose truth is known."""

import csv
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.tokenization.arithmetic import controlled_problems, format_number, length_triples
from tokenry.tokenization.arithmetic_scores import (
    accuracy,
    by_setting,
    carries,
    longest_chain,
    paired,
    read_rows,
    score,
    sign_test,
    taxonomy,
)

PUBLISHED = ("problem_index", "flip_problem", "num1", "num2", "problem_msg", "response", "logprobs_json", "model",
             "problem_number_format", "repeat_problem_number_format", "answer_number_format", "num_spaces",
             "num_shots")  # fmt: skip


def _row(a: int, b: int, response: object, form: str = "nosep", index: int = 0, **more: object) -> dict:
    row = {"problem_index": index, "num1": a, "num2": b, "response": response, "answer_number_format": form}
    return {**row, "problem_number_format": form, "num_shots": 8, "model": "m", **more}


def test_digits_alone_decide_and_the_format_is_judged_apart():
    right, plain, other = score([
        _row(1234567, 1, "1,234,568", "comma_r2l"), _row(1234567, 1, "1234568", "comma_r2l"),
        _row(1234567, 1, "The answer is 1234569."),
    ])  # fmt: skip
    assert right.right
    assert right.format_match
    assert plain.right
    assert not plain.format_match
    assert not other.right
    assert other.answer == 1234569
    assert other.length_right
    assert score([_row(1, 2, "I cannot say")])[0].answer is None


def test_of_a_repeated_problem_the_last_number_counts():
    rows = [_row(7778640, 14016227, text, repeat_problem_number_format="comma_r2l")
            for text in ("7,778,640 + 14,016,227 = 21,794,867", "7778640+14016227= 21794867",
                         "7,778,640 then 21794867")]  # fmt: skip
    assert all(one.right for one in score(rows))


def test_the_published_columns_are_read_whatever_else_a_folder_holds(tmp_path):
    rows = [_row(5, 7, "12", index=i, flip_problem="False", logprobs_json="", problem_msg="5+7=") for i in range(3)]
    rows[1]["response"] = "13"
    with (tmp_path / "20240125_results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["", *PUBLISHED], restval="")
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    scored = score(read_rows(tmp_path))
    assert [one.right for one in scored] == [True, False, True]
    assert list(by_setting(scored)) == ["m nosep 8 shots"]


@given(a=st.integers(0, 10**12), b=st.integers(0, 10**12))
def test_carries_are_those_of_addition_by_hand(a, b):
    flags = carries(a, b)
    # Digit sums fall by 9 for each carry.
    digits = lambda n: sum(map(int, str(n)))  # noqa: E731
    assert digits(a) + digits(b) - digits(a + b) == 9 * sum(flags)
    assert longest_chain(flags) <= sum(flags)
    assert longest_chain([1, 1, 0, 1]) == 2


@given(a=st.integers(0, 60), b=st.integers(0, 60))
def test_the_paired_test_is_the_exact_binomial(a, b):
    n = a + b
    as_rare = [math.comb(n, k) for k in range(n + 1) if math.comb(n, k) <= math.comb(n, a)]
    assert math.isclose(sign_test(a, b), sum(as_rare) / 2**n, rel_tol=1e-9)


def test_the_same_problems_are_compared_one_by_one():
    first = score([_row(1, i, 1 + i, index=i) for i in range(10)])
    second = score([_row(1, i, 1 + i if i < 4 else 99, index=i) for i in range(12)])
    test = paired(first, second)
    assert (test.n, test.only_first, test.only_second) == (10, 6, 0)
    assert math.isclose(test.p, 2 * 0.5**6)
    assert accuracy(second).n == 12


def test_errors_at_the_first_digit_of_the_second_token_are_found_there():
    # The paper's pattern, planted: in every mismatch problem the fourth digit from the left is wrong.
    asked = [p for p in controlled_problems(length_triples(7, 9), 20) if not p.length_match]
    rows = []
    for problem in asked:
        digits = list(str(problem.answer))
        digits[3] = str((int(digits[3]) + 1) % 10)
        rows.append(_row(problem.a, problem.b, "".join(digits), index=problem.index))
    found = taxonomy(score(rows), rank=lambda piece: int(piece))
    assert found.wrong == found.length_right == len(asked)
    assert found.digit == {4: len(asked)} == found.only_digit
    assert found.token == {2: len(asked)}
    assert found.off_by_one == 0
    assert sum(found.more_frequent) == len(asked)


def test_off_by_one_is_seen_in_the_token_not_in_the_digit():
    rows = [_row(199999, 1, "199999"), _row(123456, 0, "123457", index=1), _row(123456, 0, "124456", index=2)]
    found = taxonomy(score(rows), direction="r2l")
    # 200|000 against 199|999: two tokens differ. 456/457: off by one at the last digit. 123/124: so too.
    assert (found.off_by_one, found.off_by_one_last) == (2, 2)
    carried = taxonomy(score([_row(123449, 1, "123449")]), direction="r2l")
    assert (carried.off_by_one, carried.off_by_one_last) == (1, 0)


def test_errors_of_two_settings_are_never_put_together():
    scored = score([_row(1, 2, "3"), _row(1, 2, "3", "comma_r2l")])
    with pytest.raises(ValueError, match="several settings"):
        taxonomy(scored)


def test_uncertainty_is_taken_from_the_row_or_from_its_alternatives():
    half = [{"token": "12", "logprob": math.log(0.5), "top_5_logprobs": [{"token": "12", "logprob": math.log(0.5)},
             {"token": "13", "logprob": math.log(0.5)}]}, {"token": ",", "logprob": 0.0},
            {"token": "4", "entropy_bits": 2.06}]  # fmt: skip
    import json

    one = score([_row(1, 2, "12,4", logprobs_json=json.dumps(half))])[0]
    assert one.entropies_bits == pytest.approx((1.0, 2.06))
    assert score([_row(1, 2, "3", logprobs_json="not json")])[0].entropies_bits == ()


def test_what_is_no_result_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no CSV"):
        read_rows(tmp_path)
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="num1"):
        read_rows(tmp_path)
    with pytest.raises(ValueError, match="whole numbers"):
        score([{"num1": "x", "num2": 2, "response": ""}])


@given(number=st.integers(1, 10**12), form=st.sampled_from(["nosep", "comma_r2l", "space_l2r", "foo_r2l", "dec_r2l"]))
def test_a_right_answer_in_its_format_scores_full(number, form):
    one = score([_row(number - 1, 1, format_number(number, form), form)])[0]
    assert one.right
    assert one.format_match
    assert one.length_right


def test_a_number_of_spaces_that_is_missing_is_none():
    assert score([_row(1, 2, "3", num_spaces="nan")])[0].setting == score([_row(1, 2, "3")])[0].setting
