"""Regular expressions as constraints: Python's own syntax, run over bytes, with every beginning decided exactly.

The pattern must match the whole text, as `re.fullmatch`. Python's parser reads it; the nondeterministic automaton is
built over UTF-8 bytes and trimmed to what can still be accepted, so any set of its states means "some accepted text
begins so". Sets are made deterministic only as texts reach them, within bounds.
"""

# Axes: N states asked at once, S sets of states found, C classes of bytes.

import re
from collections.abc import Iterator
from functools import lru_cache
from re import _constants as op
from re import _parser as parser

import numpy as np

from tokenry.decoding.constraints import Constraint

MAX_NODES = 200_000
"""Most nodes of the nondeterministic automaton."""
MAX_SETS = 20_000
"""Most sets of nodes kept."""
MAX_MEMBERS = 5_000_000
"""Most nodes in all sets together."""

_UNKNOWN, _DEAD = -2, -1
_LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
_LENGTHS = ((0, 0x7F), (0x80, 0x7FF), (0x800, 0xFFFF), (0x10000, _LAST))
_NAMES = {"GROUPREF": "a back reference", "ASSERT": "look-around", "ASSERT_NOT": "look-around"}
Ranges = tuple[tuple[int, int], ...]


class Regex(Constraint):
    """Texts that a regular expression matches whole.

    Args:
        pattern: in the syntax of `re`; back references, look-around, word boundaries, atomic groups and possessive
            repeats are refused, since they are not regular or judge what stands beside the text.
        flags: of `re`: IGNORECASE, DOTALL, ASCII, VERBOSE.

    Raises:
        ValueError: not a regular expression, one of the refused kinds, one that matches nothing, or (also later, while
            texts are read) one whose automaton outgrows its bounds.
    """

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self.pattern = pattern
        nodes = _Nodes(pattern)
        nodes.build(flags)
        edges = nodes.trimmed()
        self._goal = nodes.goal
        self._empties = nodes.empties
        self._classes, self._edges, n_classes = _byte_classes(edges)
        self._closures: dict[int, frozenset[int]] = {}
        self._number: dict[frozenset[int], int] = {}
        self._sets: list[frozenset[int]] = []
        self._n_members = 0
        self._table_SC = np.full((64, n_classes), _UNKNOWN, dtype=np.int32)
        self._begin = self._add(self._closed([nodes.start]))
        self.steps = self._steps

    def begin(self) -> int:
        """The set of nodes before any byte."""
        return self._begin

    def advance(self, state: int, data: bytes) -> int | None:
        """The set of nodes after these bytes."""
        for byte in data:
            kind = int(self._classes[byte])
            after = int(self._table_SC[state, kind])
            state = self._fill(state, kind) if after == _UNKNOWN else after
            if state == _DEAD:
                return None
        return state

    def accepts(self, state: int) -> bool:
        """Whether the pattern matches up to here."""
        return self._goal in self._sets[state]

    def is_final(self, state: int) -> bool:
        """Whether no byte can follow."""
        return not any(self._edges[node] for node in self._sets[state])

    @property
    def n_states(self) -> int:
        """Deterministic states found so far."""
        return len(self._sets)

    def _steps(self, states_N: np.ndarray, bytes_N: np.ndarray) -> np.ndarray:
        kinds_N = self._classes[bytes_N]
        found_N = self._table_SC[states_N, kinds_N]
        unknown_N = np.flatnonzero(found_N == _UNKNOWN)
        if len(unknown_N):
            width = self._table_SC.shape[1]
            keys = np.unique(states_N[unknown_N] * width + kinds_N[unknown_N])
            for key in keys.tolist():
                self._fill(*divmod(key, width))
            found_N = self._table_SC[states_N, kinds_N]
        return found_N.astype(np.int64)

    def _fill(self, state: int, kind: int) -> int:
        targets = {
            target for node in self._sets[state] for low, high, target in self._edges[node] if low <= kind <= high
        }
        after = self._add(self._closed(targets)) if targets else _DEAD
        self._table_SC[state, kind] = after
        return after

    def _closed(self, nodes: object) -> frozenset[int]:
        """Nodes reached without reading, those that matter: with an edge, or the goal."""
        return frozenset().union(*(self._closure(node) for node in nodes))

    def _closure(self, node: int) -> frozenset[int]:
        known = self._closures.get(node)
        if known is None:
            seen, waiting = {node}, [node]
            while waiting:
                for other in self._empties[waiting.pop()]:
                    if other not in seen:
                        seen.add(other)
                        waiting.append(other)
            known = frozenset(n for n in seen if self._edges[n] or n == self._goal)
            self._closures[node] = known
        return known

    def _add(self, members: frozenset[int]) -> int:
        number = self._number.get(members)
        if number is None:
            number = len(self._sets)
            self._n_members += len(members)
            if number >= MAX_SETS or self._n_members > MAX_MEMBERS:
                raise ValueError(
                    f"the regex {_short(self.pattern)} needs more than {number} states on this text; the bound is "
                    f"{MAX_SETS} states. A repeat after an open beginning, as in .*a.{{30}}, doubles them with each "
                    "count: lower the counts, or anchor what stands before them."
                )
            self._number[members] = number
            self._sets.append(members)
            if number == len(self._table_SC):
                more = np.full_like(self._table_SC, _UNKNOWN)
                self._table_SC = np.concatenate([self._table_SC, more])
        return number


class _Nodes:
    """The nondeterministic automaton under construction: edges (low byte, high byte, node) and empty edges."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.edges: list[list[tuple[int, int, int]]] = []
        self.empties: list[list[int]] = []

    def build(self, flags: int) -> None:
        try:
            re.compile(self.pattern, flags)
            tree = parser.parse(self.pattern, flags)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"the regex {_short(self.pattern)} cannot be read: {error}.") from None
        self.start, self.goal = self._node(), self._node()
        self._sequence(list(tree), self.start, self.goal, flags=tree.state.flags, ends=(True, True))

    def trimmed(self) -> list[list[tuple[int, int, int]]]:
        """Edges without those from which the goal cannot be reached.

        Raises:
            ValueError: nothing is left: no text matches.
        """
        before: list[list[int]] = [[] for _ in self.edges]
        for node, (edges, empties) in enumerate(zip(self.edges, self.empties, strict=True)):
            for other in [*empties, *(target for _, _, target in edges)]:
                before[other].append(node)
        useful, waiting = {self.goal}, [self.goal]
        while waiting:
            for node in before[waiting.pop()]:
                if node not in useful:
                    useful.add(node)
                    waiting.append(node)
        if self.start not in useful:
            raise ValueError(f"the regex {_short(self.pattern)} matches no text at all; nothing can meet it.")
        self.empties = [[other for other in empties if other in useful] for empties in self.empties]
        return [[edge for edge in edges if edge[2] in useful] for edges in self.edges]

    def _node(self) -> int:
        if len(self.edges) >= MAX_NODES:
            raise ValueError(
                f"the regex {_short(self.pattern)} needs more than {MAX_NODES:,} nodes. Counted repeats copy what they "
                "repeat: lower the counts, or write * for a large one."
            )
        self.edges.append([])
        self.empties.append([])
        return len(self.edges) - 1

    def _sequence(self, items: list, start: int, goal: int, *, flags: int, ends: tuple[bool, bool]) -> None:
        """Items one after another; `ends` says whether they begin and end the whole text."""
        anchors = [kind is op.AT for kind, _ in items]
        for place, item in enumerate(items):
            after = goal if place == len(items) - 1 else self._node()
            here = (ends[0] and all(anchors[:place]), ends[1] and all(anchors[place + 1 :]))
            self._item(item, start, after, flags=flags, ends=here)
            start = after
        if not items:
            self.empties[start].append(goal)

    def _item(self, item: tuple, start: int, goal: int, *, flags: int, ends: tuple[bool, bool]) -> None:
        kind, value = item
        if kind in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            self._characters(_ranges_of(kind, value, flags), start, goal)
        elif kind is op.BRANCH:
            for branch in value[1]:
                self._sequence(list(branch), start, goal, flags=flags, ends=ends)
        elif kind is op.SUBPATTERN:
            _, more, less, inner = value
            self._sequence(list(inner), start, goal, flags=(flags | more) & ~less, ends=ends)
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            self._repeat(*value, start, goal, flags=flags)
        elif (kind is op.AT and ends[0] and value in (op.AT_BEGINNING, op.AT_BEGINNING_STRING)) or (
            kind is op.AT and ends[1] and value in (op.AT_END, op.AT_END_STRING)
        ):
            self.empties[start].append(goal)
        elif kind is not op.FAILURE:
            name = _NAMES.get(str(kind), str(value if kind is op.AT else kind).lower().replace("_", " "))
            raise ValueError(
                f"the regex {_short(self.pattern)} uses {name}, which no automaton over the text alone can decide. "
                "Write it without back references, look-around, word boundaries, atomic groups and inner anchors."
            )

    def _repeat(self, least: int, most: int, inner: object, start: int, goal: int, *, flags: int) -> None:
        items = list(inner)
        for _ in range(least):
            after = self._node()
            self._sequence(items, start, after, flags=flags, ends=(False, False))
            start = after
        if most is op.MAXREPEAT:
            hub = self._node()
            self.empties[start].append(hub)
            self.empties[hub].append(goal)
            self._sequence(items, hub, hub if items else goal, flags=flags, ends=(False, False))
            return
        self.empties[start].append(goal)
        for _ in range(most - least):
            after = self._node()
            self._sequence(items, start, after, flags=flags, ends=(False, False))
            self.empties[after].append(goal)
            start = after

    def _characters(self, ranges: Ranges, start: int, goal: int) -> None:
        """One character of these ranges, as its UTF-8 bytes."""
        plan = _character_plan(ranges)
        number = [start, *(self._node() for _ in plan[1:])]
        for node, edges in zip(number, plan, strict=True):
            self.edges[node] += [(low, high, goal if target < 0 else number[target]) for low, high, target in edges]


@lru_cache(maxsize=1024)
def _character_plan(ranges: Ranges) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """Nodes that read one character: edges (low byte, high byte, node); -1 is the end, node 0 the start.

    Nodes from which the same bytes follow are one node, so that a large class stays small.
    """
    plan: list[tuple[tuple[int, int, int], ...]] = []
    shared: dict[frozenset, int] = {}

    def node_for(sequences: frozenset) -> int:
        if sequences not in shared:
            if () in sequences:
                return -1
            shared[sequences] = number = len(plan)
            plan.append(())
            after: dict[tuple[int, int], list] = {}
            for sequence in sequences:
                after.setdefault(sequence[0], []).append(sequence[1:])
            edges: list[tuple[int, int, int]] = []
            for (low, high), rests in sorted(after.items()):
                target = node_for(frozenset(rests))
                if edges and edges[-1][2] == target and edges[-1][1] == low - 1:
                    low = edges.pop()[0]
                edges.append((low, high, target))
            plan[number] = tuple(edges)
        return shared[sequences]

    node_for(frozenset(sequence for low, high in ranges for sequence in _utf8(low, high)))
    return tuple(plan)


def _utf8(low: int, high: int) -> Iterator[Ranges]:
    """The characters low..high as sequences of byte ranges, each the product of its ranges."""
    for first, last in _LENGTHS:
        if low <= last and high >= first:
            yield from _same_length(max(low, first), min(high, last))


def _same_length(low: int, high: int) -> Iterator[Ranges]:
    left, right = chr(low).encode("utf-8", "surrogatepass"), chr(high).encode("utf-8", "surrogatepass")
    for place in range(1, len(left)):
        block = 1 << (6 * place)  # characters that share all but their last `place` bytes
        if low // block == high // block:
            break
        if low % block:
            edge = (low // block + 1) * block
            yield from _same_length(low, edge - 1)
            yield from _same_length(edge, high)
            return
        if (high + 1) % block:
            edge = high // block * block
            yield from _same_length(low, edge - 1)
            yield from _same_length(edge, high)
            return
    yield tuple(zip(left, right, strict=True))


def _ranges_of(kind: object, value: object, flags: int) -> Ranges:
    """Characters that one item of the parsed pattern matches."""
    if kind is op.ANY:
        return _complement(()) if flags & re.DOTALL else _complement(((10, 10),))
    parts = value if kind is op.IN else [(op.LITERAL, value)]
    negated = kind is op.NOT_LITERAL
    ranges: list[tuple[int, int]] = []
    for part, content in parts:
        if part is op.NEGATE:
            negated = True
        elif part is op.CATEGORY:
            ranges += _category(content, flags & re.ASCII)
        else:
            low, high = content if part is op.RANGE else (content, content)
            ranges += _any_case(low, high, flags & re.ASCII) if flags & re.IGNORECASE else [(low, high)]
    return _complement(tuple(ranges)) if negated else _without_surrogates(_merged(ranges))


def _category(category: object, ascii_only: int) -> Ranges:
    name = str(category)
    letter = {"DIGIT": "d", "SPACE": "s", "WORD": "w"}[name.rsplit("_", 1)[-1]]
    found = _scan(f"\\{letter}", ascii_only)
    return _complement(found) if "_NOT_" in name else found


def _any_case(low: int, high: int, ascii_only: int) -> Ranges:
    return _scan(f"[\\U{low:08x}-\\U{high:08x}]", re.IGNORECASE | ascii_only)


@lru_cache(maxsize=1)
def _every_character() -> str:
    return "".join(map(chr, [*range(_SURROGATES[0]), *range(_SURROGATES[1] + 1, _LAST + 1)]))


@lru_cache(maxsize=1024)
def _scan(one: str, flags: int) -> Ranges:
    """Ranges of the characters that a pattern for one character matches: `re` itself is asked about each."""
    gap, width = _SURROGATES[0], _SURROGATES[1] + 1 - _SURROGATES[0]
    found = []
    for run in re.finditer(f"(?:{one})+", _every_character(), flags):
        low, high = run.start(), run.end() - 1
        if low < gap <= high:
            found += [(low, gap - 1), (gap + width, high + width)]
        else:
            found.append((low, high) if high < gap else (low + width, high + width))
    return tuple(found)


def _merged(ranges: list[tuple[int, int]] | Ranges) -> Ranges:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _without_surrogates(ranges: Ranges) -> Ranges:
    kept = []
    for low, high in ranges:
        pieces = ((low, min(high, _SURROGATES[0] - 1)), (max(low, _SURROGATES[1] + 1), high))
        kept += [piece for piece in pieces if piece[0] <= piece[1]]
    return tuple(kept)


def _complement(ranges: Ranges) -> Ranges:
    found, place = [], 0
    for low, high in _merged([*ranges, _SURROGATES]):
        if place < low:
            found.append((place, low - 1))
        place = high + 1
    return tuple([*found, (place, _LAST)] if place <= _LAST else found)


def _byte_classes(edges: list[list[tuple[int, int, int]]]) -> tuple[np.ndarray, list[list[tuple[int, int, int]]], int]:
    """Bytes that no edge tells apart as one class (256,), and the edges over classes."""
    cuts = np.zeros(257, dtype=np.int64)
    for low, high, _ in (edge for some in edges for edge in some):
        cuts[low] = cuts[high + 1] = 1
    classes = np.cumsum(cuts)[:256] - cuts[0]
    over = [[(int(classes[low]), int(classes[high]), target) for low, high, target in some] for some in edges]
    return classes, over, int(classes[-1]) + 1


def _short(pattern: str) -> str:
    return repr(pattern if len(pattern) <= 60 else f"{pattern[:57]}...")
