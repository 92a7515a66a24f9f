"""What a user types becomes a recipe, or is refused with a way out."""

import pytest
from trained_vocabularies import fiction, small

from tokenry.tokenization.composing import Recipe
from tokenry.tokenization.ensured import Terms
from tokenry.tokenization.recipe_options import read_mix, read_sizes, recipe_from, with_selected_terms


def test_words_of_a_command_line_become_a_recipe(tmp_path):
    path = tmp_path / "terms.txt"
    path.write_text("habeas corpus\n", encoding="utf-8")
    recipe = recipe_from(size=4096, mix="en=0.5,a=b=0.25", digit_policy="r2l", boundary=["characters"], terms=path,
                         custom_group=["enumerators,years:1990-1991"], terms_as="both", pattern=None)  # fmt: skip
    assert recipe.size == 4096
    assert recipe.mix == {"en": 0.5, "a=b": 0.25}
    assert recipe.terms.items[0] == "habeas corpus"
    assert recipe.terms.items[-2:] == ("1990", "1991")
    assert recipe.boundaries[0] == "characters"
    assert recipe.boundaries[1].options == {"mode": "r2l", "k": 3}
    assert recipe.pattern is None
    assert recipe_from(digit_policy="free").boundaries[0].name == "digits:free"


def test_a_preset_gives_way_to_what_is_chosen_by_hand():
    recipe = recipe_from(preset="char", max_characters=4, size=None)
    assert (recipe.size, recipe.max_characters, recipe.normalizer) == (4096, 4, "nfkc")


@pytest.mark.parametrize("mix", ["en", "en=", "=1", "en=1,en=2", "en=-1", "en=inf"])
def test_a_mix_that_is_not_source_and_weight_is_refused(mix):
    with pytest.raises(ValueError, match="source=weight"):
        read_mix(mix)


def test_sizes_are_whole_numbers():
    assert read_sizes("8192, 16384") == [8192, 16384]
    assert read_sizes(None) is None
    with pytest.raises(ValueError, match="whole numbers"):
        read_sizes("8k")


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'char'"):
        recipe_from(preset="chars")
    with pytest.raises(ValueError, match="Did you mean 'lowercase'"):
        recipe_from(lower_case=True)
    with pytest.raises(ValueError, match="digit policy"):
        recipe_from(digit_policy="right")


def test_a_budget_keeps_the_terms_that_save_most():
    recipe = Recipe(terms=Terms(("whale", "certiorari", "Alice", "New York"), "merges"))
    kept = with_selected_terms(recipe, fiction(100), small(size=500), budget=1)
    assert kept.terms.items == ("Alice",)
    with pytest.raises(ValueError, match="without terms"):
        with_selected_terms(Recipe(), fiction(5), small(), budget=1)
