"""A made language of compounds with known parts, and a text in it with some hyphens."""

import random

_STEMS = (
    "haus tür arbeit platz garten schule buch wasser feuer berg stein licht vogel apfel baum stadt straße zug winter "
    "sommer milch fisch hand schuh tisch lampe hund katze musik wein glas brot salz korn pferd wagen"
)
_ROOTS = "kartoffel schokolade elefant universität freundlich laufen schreiben werden können sollten immer wieder"
STEMS, ROOTS = tuple(_STEMS.split()), tuple(_ROOTS.split())


def compound(draws: random.Random, n: int = 2) -> tuple[str, ...]:
    """Different stems, end to end."""
    return tuple(draws.sample(STEMS, n))


def text_with_hyphens(seed: int = 0, n: int = 400) -> str:
    """Stems and simple words alone, often; compounds with a hyphen, rarely; no compound written as one."""
    draws = random.Random(seed)
    words = [draws.choice(STEMS + ROOTS) for _ in range(20 * n)]
    words += ["-".join(compound(draws, draws.choice((2, 2, 3)))) for _ in range(n)]
    draws.shuffle(words)
    return " ".join(words)


def gold_lines(seed: int = 1, n: int = 60) -> str:
    """Gold: compounds with their parts, simple words without."""
    draws = random.Random(seed)
    rows = {"".join(parts): "|".join(parts) for parts in (compound(draws) for _ in range(n))}
    return "".join(f"{word}\t{parts}\n" for word, parts in rows.items()) + "".join(
        f"{word}\t\n" for word in STEMS + ROOTS
    )
