"""Edit distances of all beginnings of two strings, for what is aligned by the shortest edit script."""


def edit_distances(a: str, b: str) -> list[list[int]]:
    """Row i, column j: fewest insertions, deletions and replacements from `a[:i]` to `b[:j]` (Levenshtein)."""
    rows = [list(range(len(b) + 1))]
    for i, char in enumerate(a, 1):
        above, row = rows[-1], [i]
        for j, other in enumerate(b, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (char != other)))
        rows.append(row)
    return rows
