"""Skills are read strictly from a model's answers, from tags or phrases; no question is asked twice."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenry.corpora.chat import open_chat
from tokenry.corpora.skill_extraction import (
    Extraction,
    ask_skills,
    extract,
    lexical_skills,
    read_skills,
)


def reference(tmp_path, n=6):
    rows = [{"id": f"p{at}", "question": f"Question {at}?", "answer": f"Work {at}."} for at in range(n)]
    path = tmp_path / "reference.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_second_run_makes_no_call_and_gives_the_same_bytes(tmp_path):
    asked = []

    def model(conversations):
        asked.extend(conversations)
        return ['["ratios"]' if "Question 0" in one[-1]["content"] else "no idea" for one in conversations]

    settings = {"extraction": Extraction("chat", solution="answer"), "text": "question"}
    for name in ("one", "two"):
        chat = open_chat(model, cache=tmp_path / "answers.db", name="toy")
        report = extract(reference(tmp_path), tmp_path / f"{name}.parquet", chat=chat, **settings)
    assert len(asked) == 6
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert report.facts["with skills"] == 1
    assert report.tables["left out"].to_pylist() == [{"reason": "not a JSON list", "problems": 5}]
    problems, texts, provenance = read_skills(tmp_path / "one.parquet")
    assert problems == [["ratios"], [], [], [], [], []]
    assert texts[0] == "Question 0?\n\nWork 0."
    assert provenance["model"] == "toy"
    assert provenance["prompt"]


def test_a_model_that_gives_no_text_leaves_a_reason():
    found = ask_skills(lambda asked: [None] * len(asked), ["a problem"], extraction=Extraction("chat"))
    assert found[0].phrases == ()
    assert found[0].reason.startswith("no answer: ")


def test_the_prompt_holds_the_limits_and_the_problem():
    (asked,) = Extraction("chat", most=4, longest=3).messages("2 + 2 {most}")
    assert asked["role"] == "user"
    assert "1 to 4" in asked["content"]
    assert "at most 3 words" in asked["content"]
    assert asked["content"].endswith("\n2 + 2 {most}")


def test_tags_are_taken_as_they_are_and_held_to_the_limits(tmp_path):
    rows = [
        {"id": "a", "text": "x", "tags": "Ratios, speed"},
        {"id": "b", "text": "y", "tags": ",".join("abcdefghijkl")},
    ]
    extract(rows, tmp_path / "tags.parquet", extraction=Extraction("tags"))
    table = pq.read_table(tmp_path / "tags.parquet")
    assert table.column("skills").to_pylist() == [["ratios", "speed"], []]
    assert table.column("reason").to_pylist() == [None, "more than 10 skills"]
    with pytest.raises(ValueError, match="no column 'tagz'"):
        extract(rows, tmp_path / "no.parquet", extraction=Extraction("tags", tags="tagz"))


def test_phrases_hold_no_stop_words_and_keep_the_better_of_two_that_overlap():
    texts = [
        "The average speed of the train is 60 miles.",
        "Find the average speed, then the total cost of fuel.",
        "The total cost is the price of 3 apples.",
        "A total cost for the apples, and the average speed of a bird.",
        "Nothing here of that kind.",
    ]
    found = lexical_skills(texts, most=2, least_texts=2, most_share=1)
    assert found[0] == ["average speed"]
    assert set(found[1]) == {"average speed", "total cost"}
    assert found[4] == []
    # Nothing spans a mark: "speed, then" or "apples. A".
    assert all(phrase in ("average speed", "total cost", "apples") for each in found for phrase in each)


def test_without_a_model_or_a_parquet_name_nothing_begins(tmp_path):
    with pytest.raises(ValueError, match="no chat model"):
        extract([{"text": "x"}], tmp_path / "s.parquet", extraction=Extraction("chat"))
    with pytest.raises(ValueError, match="--way lexical, which asks none"):
        extract([{"text": "x"}], tmp_path / "s.parquet", chat="http://localhost/v1")
    with pytest.raises(ValueError, match=r"ends with \.parquet"):
        extract([{"text": "x"}], tmp_path / "s.jsonl")
    with pytest.raises(ValueError, match="Did you mean 'lexical'"):
        Extraction("lexica")
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="holds no skills"):
        read_skills(tmp_path / "other.parquet")
    with pytest.raises(FileNotFoundError, match="skills extract"):
        read_skills(tmp_path / "absent.parquet")
