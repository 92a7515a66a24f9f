"""Answers with short phrases are read strictly, whatever they are."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.corpora.phrases import parse_phrases


@pytest.mark.parametrize(
    ("answer", "skills", "reason"),
    [
        ('["Adding fractions", "adding  fractions.", "Ratios"]', ("adding fractions", "ratios"), ""),
        ('```json\n["ratios"]\n```', ("ratios",), ""),
        ('{"skills": ["ratios"]}', ("ratios",), ""),
        ("", (), "empty answer"),
        (None, (), "empty answer"),
        ("Sure! The skills are ratios.", (), "not a JSON list"),
        ('["ratios"', (), "not a JSON list"),
        ('"ratios"', (), "not a JSON list"),
        ("[" * 5000, (), "not a JSON list"),
        ("[]", (), "no skills"),
        (json.dumps([f"skill {n}" for n in range(11)]), (), "more than 10 skills"),
        (json.dumps(["ratios", "a b c d e f g h i", 7, ""]), ("ratios",), "2 no phrase, 1 over 8 words"),
        (json.dumps(["x" * 400]), (), "1 over 8 words"),
        ("y" * 30_000, (), "answer of 30,000 characters"),
    ],
)
def test_an_answer_is_a_list_of_short_phrases_or_says_why_not(answer, skills, reason):
    found = parse_phrases(answer, what="skills")
    assert (found.phrases, found.reason) == (skills, reason)


@given(st.text(max_size=200) | st.recursive(st.none() | st.text(max_size=20) | st.integers(), st.lists).map(json.dumps))
def test_any_answer_gives_few_short_skills_or_a_reason(answer):
    found = parse_phrases(answer, what="skills")
    assert found.phrases or found.reason
    assert len(found.phrases) <= 10
    assert len(set(found.phrases)) == len(found.phrases)
    assert all(0 < len(skill.split()) <= 8 and skill == skill.strip() for skill in found.phrases)
