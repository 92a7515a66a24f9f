"""Numba kernels of data mixture inference: replay merges on words, sum changes, and search steps for violations.

Papers: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
"""

import heapq

import numpy as np
from numba import njit

from tokenry.tokenization.pair_kernels import EMPTY, NEVER, find, pack

MOST_EMITTED = 6
"""Changes a word of n symbols emits, per symbol, at most: n - 1 first pairs, and each merge takes away a symbol and
touches at most three old pairs and two new ones."""


@njit(cache=True, nogil=True)
def rank_chains(merges, stamp):
    """Hash of pair -> its first rank, and for each rank the next one of the same pair: (keys, firsts, following)."""
    room = 1024
    while room < 3 * len(merges):
        room *= 2
    keys, firsts = np.full(room, EMPTY), np.zeros(room, np.int64)
    following = np.full(len(merges), NEVER)
    for rank in range(len(merges) - 1, -1, -1):
        key = pack(merges[rank, 0], merges[rank, 1])
        slot = find(keys, key)
        if slot < 0:
            slot = -slot - 1
            keys[slot] = key
        else:
            following[rank] = firsts[slot]
        firsts[slot] = rank
    return keys, firsts, following


@njit(cache=True, nogil=True)
def _next_rank(chains, left, right, last):
    """The smallest rank of a pair that is greater than `last`."""
    slot = find(chains[0], pack(left, right))
    if slot < 0:
        return NEVER
    rank = chains[1][slot]
    while rank <= last:
        rank = chains[2][rank]
    return rank


@njit(cache=True, nogil=True)
def _emit(out, end, step, left, right, word, change):
    out[0][end] = step
    out[1][end] = pack(left, right)
    out[2][end] = word
    out[3][end] = change
    return end + 1


@njit(cache=True, nogil=True)
def _merge_all(cells, ahead, n, rank, chains, results):
    """Merge every pair of this rank, left to right; marks what was taken (old places) and made (new places)."""
    taken, made = np.zeros(n + 1, np.bool_), np.zeros(n + 1, np.bool_)
    i = size = 0
    while i < n:
        if i < n - 1 and ahead[i] == rank:
            taken[i] = taken[i + 1] = made[size] = True
            cells[size] = results[rank]
            i += 2
        else:
            cells[size] = cells[i]
            ahead[size] = ahead[i]
            i += 1
        size += 1
    for j in range(size - 1):
        if made[j] or made[j + 1]:
            ahead[j] = _next_rank(chains, cells[j], cells[j + 1], rank)
    return size, taken, made


@njit(cache=True, nogil=True)
def _replay_word(cells, word, chains, results, first_step, out, end):
    """Apply the merges to one word in place and emit the changes of its pairs; returns the end of what is emitted."""
    n = len(cells)
    ahead = np.full(n, NEVER)
    old = cells.copy()
    for i in range(n - 1):
        ahead[i] = _next_rank(chains, cells[i], cells[i + 1], -1)
    told = False
    while True:
        rank = NEVER
        for i in range(n - 1):
            rank = min(rank, ahead[i])
        if not told and rank >= first_step:
            told = True
            for i in range(n - 1):
                end = _emit(out, end, first_step, cells[i], cells[i + 1], word, 1)
        if rank == NEVER:
            return end
        old[:n] = cells[:n]
        size, taken, made = _merge_all(cells, ahead, n, rank, chains, results)
        if told:
            for i in range(n - 1):
                if taken[i] or taken[i + 1]:
                    end = _emit(out, end, rank + 1, old[i], old[i + 1], word, -1)
            for i in range(size - 1):
                if made[i] or made[i + 1]:
                    end = _emit(out, end, rank + 1, cells[i], cells[i + 1], word, 1)
        n = size


@njit(cache=True, nogil=True)
def _numbered(keys, numbers, n, key):
    """(keys, numbers, n, number of the key): a growing hash that numbers keys from 0 in the order they come."""
    slot = find(keys, key)
    if slot >= 0:
        return keys, numbers, n, numbers[slot]
    if 2 * n >= len(keys):
        old_keys, old_numbers = keys, numbers
        keys, numbers = np.full(2 * len(old_keys), EMPTY), np.zeros(2 * len(old_keys), np.int32)
        for i in range(len(old_keys)):
            if old_keys[i] != EMPTY:
                place = -find(keys, old_keys[i]) - 1
                keys[place], numbers[place] = old_keys[i], old_numbers[i]
        slot = find(keys, key)
    keys[-slot - 1], numbers[-slot - 1] = key, n
    return keys, numbers, n + 1, np.int32(n)


@njit(cache=True, nogil=True)
def replay_block(symbols, offsets, chains, results, first_step, stamp):
    """Replay a block of words: (event of each change, word, change) and (step, packed pair) of each event."""
    room = MOST_EMITTED * (offsets[-1] - offsets[0]) + 1
    out = (np.empty(room, np.int32), np.empty(room, np.int64), np.empty(room, np.int32), np.empty(room, np.int16))
    end = 0
    for word in range(len(offsets) - 1):
        if offsets[word + 1] - offsets[word] > 1:
            cells = symbols[offsets[word] : offsets[word + 1]].copy()
            end = _replay_word(cells, word, chains, results, first_step, out, end)
    pairs, pair_numbers, n_pairs = np.full(4096, EMPTY), np.zeros(4096, np.int32), 0
    held, held_numbers, n_events = np.full(4096, EMPTY), np.zeros(4096, np.int32), 0
    event, steps, packed = np.empty(end, np.int32), np.empty(end, np.int32), np.empty(end, np.int64)
    for k in range(end):
        pairs, pair_numbers, n_pairs, pair = _numbered(pairs, pair_numbers, n_pairs, out[1][k])
        held, held_numbers, n_after, number = _numbered(held, held_numbers, n_events, pack(out[0][k], pair))
        if n_after > n_events:
            steps[number], packed[number] = out[0][k], out[1][k]
            n_events = n_after
        event[k] = number
    return event, out[2][:end].copy(), out[3][:end].copy(), steps[:n_events].copy(), packed[:n_events].copy()


@njit(cache=True, nogil=True)
def place_rows(part, rows, first_word, fill, indices, data):
    """Copy the rows of a part (indptr, words, changes) behind what the rows of the whole hold already."""
    indptr, words, changes = part
    for k in range(len(rows)):
        to = fill[rows[k]]
        for j in range(indptr[k], indptr[k + 1]):
            indices[to] = first_word + words[j]
            data[to] = changes[j]
            to += 1
        fill[rows[k]] = to


@njit(cache=True, nogil=True)
def counts_at(pairs, steps, by_pair, event_step, rows, n_columns):
    """Count of each pair (-1: none) before its step is chosen, by column: float64 (K, C).

    `by_pair` = (events ordered by pair and step, where each pair starts); `rows` = (indptr, columns, values) by event.
    """
    order, starts = by_pair
    indptr, columns, values = rows
    out = np.zeros((len(pairs), n_columns))
    for k in range(len(pairs)):
        if pairs[k] >= 0:
            for e in range(starts[pairs[k]], starts[pairs[k] + 1]):
                event = order[e]
                if event_step[event] > steps[k]:
                    break
                for j in range(indptr[event], indptr[event + 1]):
                    out[k, columns[j]] += values[j]
    return out


@njit(cache=True, nogil=True)
def floors(target_T):
    """The smallest target of this step and all later ones: a pair below it can violate nothing as it stands."""
    out = np.empty(len(target_T))
    least = np.inf
    for t in range(len(target_T) - 1, -1, -1):
        least = min(least, target_T[t])
        out[t] = least
    return out


@njit(cache=True, nogil=True)
def find_violations(events, target_T, merged_T, slack_P, tolerance, top):
    """Walk the steps with a queue of pairs and list the `top` worst violations of each.

    Args:
        events: (step, pair, change of the mixed count), by rising step, a pair at most once at a step.
        target_T: mixed count of the merged pair plus its step's slack; infinite where the step is no evidence.
        merged_T: the merged pair.
        slack_P: slack of each pair; infinite for a pair that is no evidence.
        tolerance: a smaller violation is none.
        top: listed at a step, at most.

    Returns:
        Steps, pairs and amounts of the violations, and float64 (T,) the worst of each step.
    """
    event_step, event_pair, change = events
    floor_T, n_steps, n_events = floors(target_T), len(target_T), len(event_step)
    count, seen = np.zeros(len(slack_P)), np.full(len(slack_P), -1, np.int64)
    worst_T = np.zeros(n_steps)
    room = 1024
    steps, pairs, amounts = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room)
    n, e = 0, 0
    queue = [(0.0, np.int64(0)) for _ in range(0)]
    for t in range(n_steps):
        if floor_T[t] == np.inf:
            break
        while e < n_events and event_step[e] <= t:
            pair = event_pair[e]
            count[pair] += change[e]
            e += 1
            if count[pair] - slack_P[pair] > floor_T[t] + tolerance:
                heapq.heappush(queue, (slack_P[pair] - count[pair], np.int64(pair)))
        least, found, again = target_T[t] + tolerance, 0, 0
        first = n
        while len(queue) and -queue[0][0] > least and found < top:
            value, pair = heapq.heappop(queue)
            if seen[pair] == t or value != slack_P[pair] - count[pair]:
                continue
            seen[pair] = t
            if n + 1 >= room:
                room *= 2
                steps, pairs, amounts = _longer(steps, room), _longer(pairs, room), _longer(amounts, room)
            if pair == merged_T[t]:
                again = 1  # its own entry is put back as it was
                continue
            steps[n], pairs[n], amounts[n] = t, pair, -value - target_T[t]
            worst_T[t] = max(worst_T[t], amounts[n])
            n += 1
            found += 1
        for k in range(first, n):
            heapq.heappush(queue, (slack_P[pairs[k]] - count[pairs[k]], np.int64(pairs[k])))
        if again:
            own = np.int64(merged_T[t])
            heapq.heappush(queue, (slack_P[own] - count[own], own))
    return steps[:n].copy(), pairs[:n].copy(), amounts[:n].copy(), worst_T


@njit(cache=True, nogil=True)
def _longer(array, size):
    out = np.empty(size, array.dtype)
    out[: len(array)] = array
    return out


@njit(cache=True, nogil=True)
def greedy_matching(order, steps, pairs, n_steps, n_pairs):
    """Of the violations in this order, those whose step and pair no earlier one has taken: bool (K,)."""
    step_free, pair_free = np.ones(n_steps, np.bool_), np.ones(n_pairs, np.bool_)
    chosen = np.zeros(len(steps), np.bool_)
    for k in order:
        if step_free[steps[k]] and pair_free[pairs[k]]:
            chosen[k] = True
            step_free[steps[k]] = pair_free[pairs[k]] = False
    return chosen


@njit(cache=True, nogil=True)
def auction(by_step, by_pair, weights, order, price, epsilon):
    """Match steps and pairs, nearly as heavily as can be: steps bid for pairs, then pairs left over cut their prices.

    The forward and reverse auction of Bertsekas and Castanon (1992), from any prices: a step may stay out for nothing,
    and a pair that stays alone must have the price 0 at the end.

    Args:
        by_step: (starts, pairs): step t has the edges from `starts[t]` on, before `starts[t + 1]`, with these pairs.
        by_pair: (starts, edges, steps): the same by pair.
        weights: of the edges.
        order: steps by the order of their first bids, last first.
        price: float64 (P,), the prices to begin with, changed in place.
        epsilon: least change of a price; the matching is lighter than the heaviest by this for each step at most.

    Returns:
        int64 (T,) edge of each step, -1 for none. With each step's slack the most that an edge weighs over its price (0
        at least), slacks and prices are feasible for the dual.
    """
    starts, pairs = by_step
    owner = np.full(len(price), -1, np.int64)
    edge_of, profit = np.full(len(starts) - 1, -1, np.int64), np.zeros(len(starts) - 1)
    waiting, n = np.empty(len(starts), np.int64), len(order)
    waiting[:n] = order
    while n:
        n -= 1
        step = waiting[n]
        best, second, edge = 0.0, 0.0, -1
        for k in range(starts[step], starts[step + 1]):
            value = weights[k] - price[pairs[k]]
            if value > best:
                best, second, edge = value, best, k
            elif value > second:
                second = value
        profit[step] = 0.0
        if edge < 0:
            continue
        pair = pairs[edge]
        price[pair] += best - second + epsilon
        profit[step] = second - epsilon
        if owner[pair] >= 0:
            edge_of[owner[pair]] = -1
            waiting[n] = owner[pair]
            n += 1
        owner[pair], edge_of[step] = step, edge
    _cut_prices(by_pair, pairs, weights, (price, owner, edge_of, profit), epsilon)
    return edge_of


@njit(cache=True, nogil=True)
def _cut_prices(by_pair, pairs, weights, state, epsilon):
    """Pairs without a step lower their price to what a step offers, and take it, or to 0."""
    starts, edges, steps = by_pair
    price, owner, edge_of, profit = state
    waiting = [np.int64(p) for p in range(len(price)) if owner[p] < 0 and price[p] > 0]
    while len(waiting):
        pair = waiting.pop()
        best, second, edge = 0.0, 0.0, -1
        for k in range(starts[pair], starts[pair + 1]):
            value = weights[edges[k]] - profit[steps[k]]
            if value > best:
                best, second, edge = value, best, edges[k]
            elif value > second:
                second = value
        if edge < 0 or best <= epsilon:
            price[pair] = 0.0
            continue
        step = -1
        for k in range(starts[pair], starts[pair + 1]):
            if edges[k] == edge:
                step = steps[k]
        rise = min(best, best - second + epsilon)
        price[pair] = best - rise
        profit[step] += rise
        if edge_of[step] >= 0:
            left = pairs[edge_of[step]]
            owner[left] = -1
            if price[left] > 0:
                waiting.append(np.int64(left))
        owner[pair], edge_of[step] = step, edge


@njit(cache=True, nogil=True)
def best_offers(starts, pairs, weights, price):
    """What each step's best edge weighs over the price of its pair, 0 at least: float64 (T,)."""
    out = np.zeros(len(starts) - 1)
    for step in range(len(out)):
        for k in range(starts[step], starts[step + 1]):
            out[step] = max(out[step], weights[k] - price[pairs[k]])
    return out
