"""One door to every strategy, from Python and from the command line."""

import json

import pytest

from tokenry.data import demo_model
from tokenry.decoding import STRATEGIES, generate
from tokenry.decoding.sampling import Settings
from tokenry.decoding.strategies import Drafted, make, maker, stop_at
from tokenry.decoding.verbs import generate_report, parsed_option
from tokenry.models.lm import LM

PROMPTS = ["Once upon a time, there was a little girl named Lily. Lily liked to", "The dog and the cat", ""]


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM.open(demo_model())


@pytest.mark.parametrize("strategy", ["plain", "lookup"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_text_is_what_the_library_writes(lm, strategy, prompt):
    found = generate(lm, prompt, strategy=strategy, max_new_tokens=60)
    assert found.text == lm.generate(prompt, max_new_tokens=60)


def test_every_strategy_of_the_table_can_be_made():
    for name in STRATEGIES:
        assert callable(maker(name))


def test_several_prompts_give_several_texts_and_ids_are_a_prompt(lm):
    both = generate(lm, PROMPTS[:2], max_new_tokens=8)
    assert [one.text for one in both] == [generate(lm, prompt, max_new_tokens=8).text for prompt in PROMPTS[:2]]
    ids = both[0].prompt_ids
    assert generate(lm, ids, max_new_tokens=8).ids == both[0].ids


def test_options_reach_the_strategy_and_unknown_ones_are_named():
    assert make("lookup", n_guesses=3).drafter.n_guesses == 3
    with pytest.raises(ValueError, match=r"n_gueses.*Did you mean 'n_guesses'"):
        make("lookup", n_gueses=3)
    with pytest.raises(ValueError, match="Did you mean 'lookup'"):
        make("lookupp")
    with pytest.raises(ValueError, match="made already"):
        make(Drafted(), n_guesses=3)


def test_options_are_read_as_numbers_where_they_are():
    read = [parsed_option(text)[1] for text in ("a=3", "a=0.5", "a=true", "a=x=y")]
    assert read == [3, 0.5, True, "x=y"]
    assert parsed_option("n-guesses=1") == ("n_guesses", 1)
    with pytest.raises(ValueError, match="name=value"):
        parsed_option("n_guesses")


def test_the_report_counts_both_ways(lm):
    report = generate_report(lm, PROMPTS[:2], strategy="lookup", settings=Settings(max_new_tokens=40))
    facts = report.facts
    rows = report.tables["continuations"].to_pylist()
    assert facts["n_tokens"] == sum(row["tokens"] for row in rows)
    assert facts["tokens_per_step"].value == pytest.approx(facts["accepted_per_step"].value + 1)
    assert facts["n_forwards"] < facts["n_tokens"]


def test_a_text_ends_where_it_was_asked_to(lm):
    whole = generate(lm, PROMPTS[0], max_new_tokens=80)
    stopped = generate(lm, PROMPTS[0], strategy="lookup", max_new_tokens=80, stop=stop_at(lm, ["zzz", ". "]))
    new = lm.tokenizer.decode(stopped.ids)
    assert stopped.ids == whole.ids[: len(stopped.ids)]
    assert ". " in new
    assert ". " not in lm.tokenizer.decode(stopped.ids[:-1])
    assert stopped.stats.ended_by == "stop"
    assert stop_at(lm, []) is None
    with pytest.raises(ValueError, match="empty text"):
        stop_at(lm, [""])


def _run(capsys, *arguments, code=0):
    from tokenry.cli import main

    with pytest.raises(SystemExit) as stop:
        main(["generate", str(demo_model()), *map(str, arguments)])
    out, err = capsys.readouterr()
    assert stop.value.code == code, err
    return out, err


def test_the_verb_writes_the_text_and_tells_the_cost(capsys, lm):
    out, err = _run(capsys, "--prompt", PROMPTS[0], "--strategy", "lookup", "--max-new-tokens", 30)
    assert out.rstrip("\n") == lm.generate(PROMPTS[0], max_new_tokens=30)
    assert "30 tokens in" in err


def test_the_verb_reads_prompts_from_a_file_and_reports(capsys, tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"text": prompt}) + "\n" for prompt in PROMPTS))
    out, _ = _run(capsys, "--prompts", file, "--strategy", "lookup", "--with", "n_guesses=4", "--max-new-tokens", 20,
                  "--temperature", 0.7, "--seed", 3, "--json", "--quiet", "--out", tmp_path / "report")  # fmt: skip
    report = json.loads(out)
    assert report["facts"]["n_prompts"] == 3
    assert report["facts"]["n_tokens"] == 60
    assert (tmp_path / "report" / "report.md").is_file()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "no prompt"),
        (("--prompt", "a", "--strategy", "lookpu"), "Did you mean 'lookup'"),
        (("--prompt", "a", "--with", "x"), "name=value"),
        (("--prompt", "a" * 3000), "the model holds 512"),
        (("--prompt", "a", "--top-p", 0), "top_p"),
    ],
)
def test_misuse_ends_with_a_sentence(capsys, arguments, told):
    _, err = _run(capsys, *arguments, code=2)
    assert told in err
