import pytest
import regex
from sample_texts import script_texts
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from tokenry.core.hf_json import whole_spec
from tokenry.core.patterns import KNOWN_RANKS, LLAMA_CPP_NAMES, PATTERNS, WHOLE_WORD_FIRST, known, split_pretokenizer
from tokenry.core.vocab import Vocab


def pieces(pre_tokenizer, text: str) -> list[str]:
    return [text[start:end] for _, (start, end) in pre_tokenizer.pre_tokenize_str(text)]


@pytest.mark.parametrize("name", PATTERNS)
def test_every_pattern_cuts_without_losing_anything(name):
    model = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
    vocab = Vocab.from_spec(whole_spec(model, pre_tokenizer=split_pretokenizer(known(name))))
    for text in script_texts():
        assert "".join(pieces(vocab.backend.pre_tokenizer, text)) == text


@pytest.mark.parametrize(
    "name", [name for name, cuts in PATTERNS.items() if len(cuts) == 1 and cuts[0].endswith(r"\s+")]
)
def test_a_single_pattern_cuts_as_the_regex_library(name):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(known(name)[0]), "isolated")
    for text in script_texts():
        assert pieces(tokenizer.pre_tokenizer, text) == regex.findall(f"(?V1){known(name)[0]}", text)


def test_the_pattern_of_gpt2_is_the_one_built_into_the_library():
    built_in = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    ours = Vocab.from_spec(
        whole_spec({"type": "BPE", "vocab": {"a": 0}, "merges": []}, pre_tokenizer=split_pretokenizer(known("gpt2")))
    ).backend.pre_tokenizer
    for text in script_texts():
        assert ours.pre_tokenize_str(text) == built_in.pre_tokenize_str(text)


def test_names_lead_to_patterns_and_unknown_ones_to_the_nearest():
    assert set(LLAMA_CPP_NAMES.values()) <= set(PATTERNS)
    assert set(LLAMA_CPP_NAMES) >= WHOLE_WORD_FIRST
    with pytest.raises(ValueError, match=r"unknown split pattern 'o200'.*Did you mean 'o200k'"):
        known("o200")


def test_known_rank_files_name_their_roles_among_their_special_tokens():
    for found in KNOWN_RANKS.values():
        specials = found.specials()
        assert set(found.roles.values()) <= set(specials.values())
        assert len(set(specials.values())) == len(specials)
        assert found.pattern in PATTERNS
    sizes = {max(found.specials()) + 1 for found in KNOWN_RANKS.values()}
    assert sizes == {50257, 100277, 200019, 128256, 202048, 151851, 248077}
