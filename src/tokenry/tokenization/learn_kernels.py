"""Numba kernels of the merge engine, second part: learn merges. `merges.py` is the door and explains the rules.

Each pair in the queue has a list of the positions where it was seen when it arose. Lists are never updated: a position
is checked against the cells when its pair is merged. `pair_kernels.py` explains cells and packed arguments; `book` =
(bytes, starts, hash slots) of what each symbol spells.
"""

import numpy as np
from numba import njit

from tokenry.tokenization.pair_kernels import (
    EMPTY,
    NEVER,
    add,
    find,
    joined_mark,
    longer,
    look_afresh,
    may_join,
    mix,
    next_token,
    pack,
    pop,
    push,
    sift_down,
    word_index,
    word_of,
)


@njit(cache=True, nogil=True)
def _spelling_slot(book, data):
    """Slot of a spelling in the book's hash: (slot, symbol or -1)."""
    pool, starts, slots = book
    h = np.uint64(0xCBF29CE484222325)
    for byte in data:
        h = (h ^ np.uint64(byte)) * np.uint64(0x100000001B3)
    mask = np.uint64(len(slots) - 1)
    slot = mix(np.int64(h >> np.uint64(1))) & mask
    while True:
        symbol = slots[slot]
        if symbol < 0:
            return np.int64(slot), np.int64(-1)
        if starts[symbol + 1] - starts[symbol] == len(data):
            same = True
            for k in range(len(data)):
                if pool[starts[symbol] + k] != data[k]:
                    same = False
                    break
            if same:
                return np.int64(slot), np.int64(symbol)
        slot = (slot + np.uint64(1)) & mask


@njit(cache=True, nogil=True)
def _open_book(spelled, starts, n_most):
    room = 1024
    while room < 2 * n_most:
        room *= 2
    slots = np.full(room, np.int32(-1))
    pool = np.empty(2 * len(spelled) + 1024, np.uint8)
    pool[: len(spelled)] = spelled
    all_starts = np.zeros(n_most + 1, np.int64)
    all_starts[: len(starts)] = starts
    book = (pool, all_starts, slots)
    for symbol in range(len(starts) - 1):
        if starts[symbol + 1] > starts[symbol]:
            slot, known = _spelling_slot(book, pool[starts[symbol] : starts[symbol + 1]])
            if known < 0:
                slots[slot] = symbol
    return book


@njit(cache=True, nogil=True)
def _name_merge(book, n_names, left, right):
    """(book, symbol): the symbol that spells left + right, entered into the book where it is new."""
    pool, starts, slots = book
    n_left, n_right = starts[left + 1] - starts[left], starts[right + 1] - starts[right]
    data = np.empty(n_left + n_right, np.uint8)
    data[:n_left] = pool[starts[left] : starts[left + 1]]
    data[n_left:] = pool[starts[right] : starts[right + 1]]
    slot, known = _spelling_slot(book, data)
    if known >= 0:
        return book, known
    end = starts[n_names] + len(data)
    if end > len(pool):
        pool = longer(pool, 2 * end)
    pool[starts[n_names] : end] = data
    starts[n_names + 1] = end
    slots[slot] = n_names
    return (pool, starts, slots), np.int64(n_names)


@njit(cache=True, nogil=True)
def _merge_positions(cells, words, found, merge, seen, sides):
    """Merge one pair at all its positions; what stood beside it goes into `sides` (weights by neighbour symbol).

    Args:
        words: (offsets, counts, guards, index of blocks).
        found: the pair's positions, rising.
        merge: (left, right, new symbol).
        seen: (left symbols, left positions, right symbols, right positions), filled from the front.
        sides: (weight, guard, number) arrays of the left side, then of the right side, by symbol.

    Returns:
        n_left, n_right: how much of `seen` was filled.
    """
    offsets, counts, guards, index = words
    a, b, new = merge
    left_symbols, left_positions, right_symbols, right_positions = seen
    left_weight, left_guard, left_number, right_weight, right_guard, right_number = sides
    n_left, n_right = 0, 0
    for i in range(len(found)):
        p = found[i]
        if cells[p] != a:
            continue
        q = next_token(cells, p)
        if cells[q] != b:
            continue
        word = word_of(index, offsets, p)
        if q >= offsets[word + 1]:
            continue
        end = next_token(cells, q)
        weight = counts[word]
        guard = guards[word] if len(guards) else np.int64(0)
        if p > offsets[word]:
            before = p - 1 if cells[p - 1] >= 0 else p + cells[p - 1]
            symbol = cells[before]
            left_symbols[n_left], left_positions[n_left] = symbol, before
            left_weight[symbol] += weight
            left_guard[symbol] += guard
            left_number[symbol] += 1
            n_left += 1
        if end < offsets[word + 1]:
            symbol = cells[end]
            right_symbols[n_right], right_positions[n_right] = symbol, p
            right_weight[symbol] += weight
            right_guard[symbol] += guard
            right_number[symbol] += 1
            n_right += 1
        cells[p] = new
        cells[q] = -1
        cells[p + 1] = p - end
        cells[end - 1] = p - end
    return n_left, n_right


@njit(cache=True, nogil=True)
def _settle(table, n_used, merge, seen, n_seen, sides, rules):
    """Bring the pair counts up to date after a merge: new neighbours first, then those that are gone.

    `rules` = (sizes, limits, least to remember). A new pair rarer than `least` can never be merged, as counts
    only fall once a pair is there, and is not entered.
    """
    a, b, new = merge
    left_weight, left_guard, left_number, right_weight, right_guard, right_number = sides
    (lengths, marks), limits, least = rules
    for i in range(n_seen[0]):
        s = seen[0][i]
        if left_number[s] > 0 and may_join(lengths, marks, limits, s, new):
            table, n_used = add(table, n_used, pack(s, new), (left_weight[s], left_guard[s]),
                                 left_weight[s] >= least, least)  # fmt: skip
        left_number[s] = -abs(left_number[s])
    for i in range(n_seen[1]):
        s = seen[2][i]
        if right_number[s] > 0 and may_join(lengths, marks, limits, new, s):
            net = right_weight[s] - (left_weight[new] if s == a else 0)
            table, n_used = add(table, n_used, pack(new, s), (right_weight[s], right_guard[s]), net >= least, least)
        right_number[s] = -abs(right_number[s])
    for i in range(n_seen[0]):
        s = seen[0][i]
        if left_number[s] < 0:
            table, n_used = add(table, n_used, pack(s, a), (-left_weight[s], -left_guard[s]), False, least)
            left_number[s] = -left_number[s]
    for i in range(n_seen[1]):
        s = seen[2][i]
        if right_number[s] < 0:
            table, n_used = add(table, n_used, pack(b, s), (-right_weight[s], -right_guard[s]), False, least)
            right_number[s] = -right_number[s]
    return table, n_used


@njit(cache=True, nogil=True)
def _sort(pool, start, end):
    """Shell sort: called for few positions and seldom, and the library's sort takes seconds to compile."""
    gap = (end - start) // 2
    while gap:
        for i in range(start + gap, end):
            held, j = pool[i], i
            while j - gap >= start and pool[j - gap] > held:
                pool[j] = pool[j - gap]
                j -= gap
            pool[j] = held
        gap //= 2


@njit(cache=True, nogil=True)
def _queue_side(queue, table, new, on_left, symbols, positions, number, least):
    """Queue the new pairs of one side, each with its positions; leaves `number` at 0 for all symbols seen."""
    heap, size, pool, end = queue
    start_of_new = 0
    for i in range(len(symbols)):
        s = symbols[i]
        if number[s] > 0:
            key = pack(s, new) if on_left else pack(new, s)
            slot = find(table[0], key)
            n = number[s]
            number[s] = 0
            if slot >= 0 and table[1][slot] >= least:
                heap = push(heap, size, (table[1][slot], key, end, n))
                size += 1
                number[s] = -end - 1
                start_of_new = end if s == new else start_of_new
                end += n
    for i in range(len(symbols)):
        s = symbols[i]
        if number[s] < 0:
            pool[-number[s] - 1] = positions[i]
            number[s] -= 1
    for i in range(len(symbols)):
        s = symbols[i]
        if s == new and number[s] < 0:  # where an older symbol was made again, two lists met here
            _sort(pool, start_of_new, -number[s] - 1)
        number[s] = 0
    return heap, size, pool, end


@njit(cache=True, nogil=True)
def _next_merge(heap, size, table, least, guard_limit, keep_rare):
    """Pop entries until one holds its true count: (entry, size), with count 0 when the words are used up."""
    while size:
        key = heap[1][0]
        slot = find(table[0], key)
        count = table[1][slot] if slot >= 0 else np.int64(0)
        if count == heap[0][0]:
            if count < least:
                break
            if len(table[2]) and table[2][slot] > guard_limit:
                _, size = pop(heap, size)
                continue
            return pop(heap, size)
        if count < least and not keep_rare:
            _, size = pop(heap, size)
        else:
            heap[0][0] = count
            sift_down(heap, 0, size)
    return (np.int64(0), np.int64(0), np.int64(0), np.int64(0)), size


@njit(cache=True, nogil=True)
def _join_own_sides(seen, n_seen, new, left_number, right_number):
    """Move the right-hand positions of the pair (new, new) to its left-hand list; only a reused symbol has such."""
    n_left = n_seen[0]
    if left_number[new] > 0 and right_number[new] > 0:
        for i in range(n_seen[1]):
            if seen[2][i] == new:
                seen[0][n_left], seen[1][n_left] = new, seen[3][i]
                n_left += 1
        left_number[new] += right_number[new]
        right_number[new] = 0
    return n_left, n_seen[1]


@njit(cache=True, nogil=True)
def _clear(seen, n_seen, sides):
    """Forget the weights of one merge."""
    for side in range(2):
        for i in range(n_seen[side]):
            s = seen[2 * side][i]
            sides[3 * side][s] = 0
            sides[3 * side + 1][s] = 0


@njit(cache=True, nogil=True)
def _scratch(n_cells, n_most):
    """The `seen` and `sides` of `_merge_positions`; what is not written to costs no memory."""
    seen = (np.empty(2 * n_cells, np.int32), np.empty(2 * n_cells, np.int32), np.empty(n_cells, np.int32),
            np.empty(n_cells, np.int32))  # fmt: skip
    sides = (np.zeros(n_most, np.int64), np.zeros(n_most, np.int64), np.zeros(n_most, np.int64),
             np.zeros(n_most, np.int64), np.zeros(n_most, np.int64), np.zeros(n_most, np.int64))  # fmt: skip
    return seen, sides


@njit(cache=True, nogil=True)
def _nothing():
    """An empty table of pairs, queue and pool of positions."""
    none = np.empty(0, np.int64)
    return (none, none, none), (none, none, none, none), np.empty(0, np.int32)


@njit(cache=True, nogil=True)
def _unpacked(keys):
    """int32 (M, 2): left and right symbol of packed pairs."""
    pairs = np.empty((len(keys), 2), np.int32)
    pairs[:, 0], pairs[:, 1] = keys >> 32, keys & 0xFFFFFFFF
    return pairs


@njit(cache=True, nogil=True)
def learn(cells, offsets, counts, guards, spelled, starts, name_lengths, name_marks, limits, exact, stamp):
    """Learn merges; see `merges.train_merges`. `exact` remembers rare pairs too.

    Afterwards `cells` hold the words as they are cut then, so learning can go on from them.

    Args:
        name_marks: word marks of the names; none where `max_words` is 0.
        stamp: `pair_kernels.STAMP`.
        limits: (n_merges, max_length, max_words, min_count, guard_limit, positions to list at once).

    Returns:
        pairs (M, 2) int32, results (M,) int32, counts (M,) int64.
    """
    n_merges, min_count, guard_limit, budget = min(limits[0], len(cells)), limits[3], limits[4], limits[5]
    n_names = len(name_lengths)
    n_most = n_names + n_merges
    lengths = np.zeros(n_most, np.int64)
    lengths[:n_names] = name_lengths
    marks = np.zeros(n_most if limits[2] else 0, np.int64)
    marks[: len(name_marks)] = name_marks
    words = (offsets, counts, guards, word_index(offsets, len(cells)))
    book = _open_book(spelled, starts, n_most)
    rules = ((lengths, marks), (limits[1], limits[2]), min_count)
    table, (heap, size, pool, end), floor = look_afresh(cells, words, rules, budget, exact)
    remember = -NEVER if exact else floor
    n_used = np.count_nonzero(table[0] != EMPTY)
    limit = end + budget
    seen, sides = _scratch(len(cells), n_most)
    keys, results, found = np.empty(1024, np.int64), np.empty(1024, np.int32), np.empty(1024, np.int64)
    n = 0
    while n_names < n_most:
        (count, key, start, length), size = _next_merge(heap, size, table, max(floor, min_count), guard_limit, exact)
        if count == 0 and floor <= min_count:
            break
        if count == 0 or (end > limit and not exact and len(guards) == 0):
            table, heap, pool = _nothing()  # the old lists and the new ones need not lie side by side
            table, (heap, size, pool, end), floor = look_afresh(cells, words, rules, budget, exact)
            remember, limit = floor, end + budget
            n_used = np.count_nonzero(table[0] != EMPTY)
            continue
        a, b = np.int32(key >> 32), np.int32(key & 0xFFFFFFFF)
        book, symbol = _name_merge(book, n_names, a, b)
        lengths[symbol] = lengths[a] + lengths[b]
        if len(marks):
            marks[symbol] = joined_mark(marks[a], marks[b])
        n_names = max(n_names, symbol + 1)
        if n == len(keys):
            keys, results, found = longer(keys, 2 * n), longer(results, 2 * n), longer(found, 2 * n)
        keys[n], results[n], found[n] = key, symbol, count
        n += 1
        merge = (a, b, np.int32(symbol))
        n_seen = _merge_positions(cells, words, pool[start : start + length], merge, seen, sides)
        table, n_used = _settle(table, n_used, merge, seen, n_seen, sides, (rules[0], rules[1], remember))
        _clear(seen, n_seen, sides)
        n_seen = _join_own_sides(seen, n_seen, symbol, sides[2], sides[5])
        queue = (heap, size, pool, end)
        queue = _queue_side(queue, table, merge[2], True, seen[0][: n_seen[0]], seen[1], sides[2], floor)
        queue = _queue_side(queue, table, merge[2], False, seen[2][: n_seen[1]], seen[3], sides[5], floor)
        heap, size, pool, end = queue
    return _unpacked(keys[:n]), results[:n].copy(), found[:n].copy()
