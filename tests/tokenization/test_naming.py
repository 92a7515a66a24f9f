"""Names of tokenizers are short and never the same."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from tokenry.tokenization.naming import short_names

_PATHS = st.lists(st.lists(st.sampled_from(["gpt2", "tokenizer.json", "v1", "models", "a"]), min_size=1, max_size=3))


def _names(*paths: str) -> list[str]:
    return short_names([SimpleNamespace(name="x")] * len(paths), paths)


def test_files_and_folders_give_their_telling_part():
    assert _names("t/openai/o200k_base.tiktoken.xz", "claude/tokenizer.json.xz", "out/mine/") == [
        "o200k",
        "claude",
        "mine",
    ]
    assert _names("mistral/tokenizer.model.v1.xz", "qwen/models/tokenizer.json") == ["mistral", "qwen"]


def test_what_is_called_the_same_gets_its_folder_or_a_number():
    assert _names("a/gpt2", "b/gpt2") == ["a-gpt2", "b-gpt2"]
    assert _names("gpt2", "gpt2") == ["gpt2 (1)", "gpt2 (2)"]


@given(_PATHS)
def test_names_are_always_distinct(paths):
    names = _names(*("/".join(parts) for parts in paths))
    assert len(set(names)) == len(names)
