"""The compiled loops of the Less-is-Better learner; kept apart because importing numba takes time.

Entries are numbered by priority: entry 0 is the head of the lexicon. The index over them is a trie whose edges lie in
one hash table. A frame, two chunks around a gap, is an entry too: gap, first chunk, gap, second chunk, where a chunk
without symbols is an edge of the sentence. No text holds the gap symbol, so no frame is ever read as a chunk.
"""

# Axes: N symbols of the text, E entries, L longest entry, K edge slots, M nodes.

import numpy as np
from numba import njit

_SYMBOL_BITS = 21
_GAP = 1 << 20


@njit(cache=True, nogil=True)
def uniform(random):
    """The next number in [0, 1) of a splitmix64 generator whose state is `random` (uint64, one cell)."""
    random[0] += np.uint64(0x9E3779B97F4A7C15)
    z = random[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * 2.0**-53


@njit(cache=True, nogil=True)
def _mixed(value):
    z = np.uint64(value) * np.uint64(0x9E3779B97F4A7C15)
    return z ^ (z >> np.uint64(29))


@njit(cache=True, nogil=True)
def _slot(keys_K, key):
    """Where the edge lies, or the free slot where it would."""
    mask = np.uint64(keys_K.size - 1)
    at = _mixed(key) & mask
    while keys_K[at] != -1 and keys_K[at] != key:
        at = (at + np.uint64(1)) & mask
    return at


@njit(cache=True, nogil=True)
def _child(keys_K, children_K, node, symbol):
    key = (np.int64(node) << _SYMBOL_BITS) | symbol
    at = _slot(keys_K, key)
    return children_K[at] if keys_K[at] == key else -1


@njit(cache=True, nogil=True)
def index_entry(keys_K, children_K, entry_M, symbols, entry, sizes):
    """Put one entry into the trie; returns its node. `sizes` is (entries, nodes)."""
    node = 0
    for symbol in symbols:
        key = (np.int64(node) << _SYMBOL_BITS) | symbol
        at = _slot(keys_K, key)
        if keys_K[at] != key:
            keys_K[at], children_K[at] = key, sizes[1]
            entry_M[sizes[1]] = -1
            sizes[1] += 1
        node = children_K[at]
    entry_M[node] = entry
    return node


@njit(cache=True, nogil=True)
def index_all(keys_K, children_K, entry_M, symbols_EL, length_E, node_E, first_E, frames_M, sizes):
    """Index every entry anew."""
    keys_K[:] = -1
    entry_M[0] = -1
    frames_M[:] = 0
    sizes[1] = 1
    for e in range(sizes[0]):
        node_E[e] = index_entry(keys_K, children_K, entry_M, symbols_EL[e, : length_E[e]], e, sizes)
        first_E[e] = -1
        if symbols_EL[e, 0] == _GAP:
            first_E[e] = _node_of_first(keys_K, children_K, symbols_EL[e])
            frames_M[first_E[e]] += 1


@njit(cache=True, nogil=True)
def _node_of_first(keys_K, children_K, symbols):
    """The node behind the second gap symbol of an indexed frame."""
    node, at = _child(keys_K, children_K, 0, _GAP), 1
    while symbols[at] != _GAP:
        node = _child(keys_K, children_K, node, symbols[at])
        at += 1
    return _child(keys_K, children_K, node, _GAP)


@njit(cache=True, nogil=True)
def _match(keys_K, children_K, entry_M, data, at, stop):
    """Longest match at a place as (entry, length), and the second-longest; (-1, 0) where there is none."""
    best, best_length, second, second_length = -1, 0, -1, 0
    node = 0
    for end in range(at, stop):
        node = _child(keys_K, children_K, node, data[end])
        if node < 0:
            break
        if entry_M[node] >= 0:
            second, second_length = best, best_length
            best, best_length = entry_M[node], end + 1 - at
    return best, best_length, second, second_length


@njit(cache=True, nogil=True)
def _find(keys_K, children_K, entry_M, data, start, length):
    """The entry spelled by `data[start:start+length]`, or -1."""
    node = 0
    for at in range(start, start + length):
        node = _child(keys_K, children_K, node, data[at])
        if node < 0:
            return -1
    return entry_M[node]


@njit(cache=True, nogil=True)
def _was_seen(seen, data, start, length):
    """Whether the same string was proposed before in this document; it is noted when not."""
    value = np.int64(length)
    for at in range(start, start + length):
        value = np.int64(_mixed(value * 1_000_003 + data[at]))
    mask = np.uint64(seen.shape[0] - 1)
    slot = _mixed(value) & mask
    while seen[slot, 1] > 0:
        if seen[slot, 1] == length:
            other, same = seen[slot, 0], True
            for d in range(length):
                if data[other + d] != data[start + d]:
                    same = False
                    break
            if same:
                return True
        slot = (slot + np.uint64(1)) & mask
    seen[slot, 0], seen[slot, 1] = start, length
    return False


@njit(cache=True, nogil=True)
def _holds_inner(data, start, length, barred):
    return (data[start + 1 : start + length] == barred).any()


@njit(cache=True, nogil=True)
def _wanted(last_length, last_known, length, max_length, max_gap):
    """Length of what is proposed, from where the last chunk or unknown run starts; 0 for nothing."""
    if last_known:
        return last_length + length if last_length + length <= max_length else 0
    return last_length if 0 < last_length <= max_gap else 0


@njit(cache=True, nogil=True)
def read_document(
    data, ends, keys_K, children_K, entry_M, symbols_EL, length_E, life_E, node_E, move_E, first_E, frame_E, frames_M,
    sizes, random, seen, seen_frames, rules, p,
):  # fmt: skip
    """Read one document: match, memorise, examine, look through frames. Arrays must have room for what it may append.

    Args:
        data: int32, the document's symbols. ends: int64, (first start, end of each sentence).
        life_E: epochs left on probation, 0 for none. move_E: accumulated signs.
        first_E: node of a frame's first half, -1 for other entries. frame_E: the frame an entry came from, or -1.
        frames_M: frames that begin at a node.
        sizes: (entries, nodes). seen, seen_frames: int64 (power of two, 2 and 5), cleared.
        rules: (longest entry, longest unknown run to learn, symbol barred inside an entry or -1, place in `GAPS`,
            longest filler). p: probability of memorising.

    Returns:
        (known chunks, unknown symbols).
    """
    max_length, max_gap, barred = rules[0], rules[1], rules[2]
    chunk = np.empty((np.diff(ends).max(), 5), np.int64)  # start, length, entry, length of the second match, its entry
    n_known, n_unknown = 0, 0
    for s in range(ends.size - 1):
        at, stop, n_chunks = ends[s], ends[s + 1], 0
        last_start, last_length, last_known = at, 0, False
        while at < stop:
            entry, length, second, second_length = _match(
                keys_K, children_K, entry_M, data, at, min(stop, at + max_length)
            )
            chunk[n_chunks, 0], chunk[n_chunks, 2] = at, entry
            chunk[n_chunks, 1], chunk[n_chunks, 3], chunk[n_chunks, 4] = max(length, 1), second_length, second
            n_chunks += 1
            if entry < 0:
                n_unknown += 1
                if last_known:
                    last_start, last_length, last_known = at, 0, False
                last_length += 1
                at += 1
                continue
            n_known += 1
            wanted = _wanted(last_length, last_known, length, max_length, max_gap) if uniform(random) < p else 0
            if wanted and not (barred >= 0 and _holds_inner(data, last_start, wanted, barred)):
                is_new = _find(keys_K, children_K, entry_M, data, last_start, wanted) < 0
                if is_new and _was_seen(seen, data, last_start, wanted):
                    e = sizes[0]
                    symbols_EL[e, :wanted] = data[last_start : last_start + wanted]
                    length_E[e], life_E[e], move_E[e], first_E[e], frame_E[e] = wanted, 0, 0, -1, -1
                    node_E[e] = index_entry(keys_K, children_K, entry_M, symbols_EL[e, :wanted], e, sizes)
                    sizes[0] += 1
            if second < 0:
                life_E[entry] = 0  # read, and no rival to be measured against
            last_start, last_length, last_known = at, length, True
            at += length
        _examine(data, stop, max_length, chunk, n_chunks, keys_K, children_K, entry_M, life_E, move_E)
        if rules[3]:
            _look_through_frames(data, chunk, n_chunks, keys_K, children_K, entry_M, symbols_EL, length_E, life_E,
                                 node_E, move_E, first_E, frame_E, frames_M, sizes, random, seen_frames, rules,
                                 p)  # fmt: skip
    return n_known, n_unknown


@njit(cache=True, nogil=True)
def _look_through_frames(
    data, chunk, n_chunks, keys_K, children_K, entry_M, symbols_EL, length_E, life_E, node_E, move_E, first_E, frame_E,
    frames_M, sizes, random, seen_frames, rules, p,
):  # fmt: skip
    """Propose frames of a read sentence, then learn what stands in those that are known."""
    _propose_frames(data, chunk, n_chunks, keys_K, children_K, entry_M, symbols_EL, length_E, life_E, node_E, move_E,
                    first_E, frame_E, frames_M, sizes, random, seen_frames, p * p)  # fmt: skip
    _fill_frames(data, chunk, n_chunks, keys_K, children_K, entry_M, symbols_EL, length_E, life_E, node_E, move_E,
                 first_E, frame_E, frames_M, sizes, random, rules, p)  # fmt: skip


@njit(cache=True, nogil=True)
def _propose_frames(
    data, chunk, n_chunks, keys_K, children_K, entry_M, symbols_EL, length_E, life_E, node_E, move_E, first_E, frame_E,
    frames_M, sizes, random, seen_frames, p,
):  # fmt: skip
    """Propose the neighbours of each chunk as a frame; at its second sighting in the document it is learned."""
    for c in range(n_chunks):
        if uniform(random) >= p:
            continue
        a_start, a_length, b_start, b_length = 0, 0, 0, 0
        if c > 0:
            a_start, a_length = chunk[c - 1, 0], chunk[c - 1, 1]
        if c + 1 < n_chunks:
            b_start, b_length = chunk[c + 1, 0], chunk[c + 1, 1]
        first = _first_half(keys_K, children_K, data, a_start, a_length)
        node = _walk(keys_K, children_K, first, data, b_start, b_length) if first >= 0 else -1
        if (node >= 0 and entry_M[node] >= 0) or not _frame_was_seen(
            seen_frames, data, a_start, a_length, b_start, b_length
        ):
            continue
        e, size = sizes[0], a_length + b_length + 2
        symbols_EL[e, 0] = symbols_EL[e, 1 + a_length] = _GAP
        symbols_EL[e, 1 : 1 + a_length] = data[a_start : a_start + a_length]
        symbols_EL[e, 2 + a_length : size] = data[b_start : b_start + b_length]
        length_E[e], life_E[e], move_E[e], frame_E[e] = size, 0, 0, -1
        node_E[e] = index_entry(keys_K, children_K, entry_M, symbols_EL[e, :size], e, sizes)
        first_E[e] = _node_of_first(keys_K, children_K, symbols_EL[e])
        frames_M[first_E[e]] += 1
        sizes[0] += 1


@njit(cache=True, nogil=True)
def _fill_frames(
    data, chunk, n_chunks, keys_K, children_K, entry_M, symbols_EL, length_E, life_E, node_E, move_E, first_E, frame_E,
    frames_M, sizes, random, rules, p,
):  # fmt: skip
    """Learn, at once, two or more chunks that stand between the halves of a known frame as one entry.

    Places run from 0, the start of the sentence, over its chunks to the end. The nearest second half counts.
    """
    barred, gives_up, limit = rules[2], rules[3] == 1, min(rules[4], rules[0])
    for k in range(n_chunks + 1):
        start, length = (chunk[k - 1, 0], chunk[k - 1, 1]) if k else (0, 0)
        first = _first_half(keys_K, children_K, data, start, length)
        if first < 0 or frames_M[first] == 0:
            continue
        frame, j = -1, k
        while frame < 0 and j <= n_chunks:
            j += 1
            node = first
            if j <= n_chunks:
                node = _walk(keys_K, children_K, first, data, chunk[j - 1, 0], chunk[j - 1, 1])
            frame = entry_M[node] if node >= 0 else -1
        if frame < 0 or j == k + 1:
            if gives_up:
                return
            continue
        start, length = chunk[k, 0], chunk[j - 2, 0] + chunk[j - 2, 1] - chunk[k, 0]
        if j - k < 3 or length > limit or uniform(random) >= p:
            continue
        if barred >= 0 and _holds_inner(data, start, length, barred):
            continue
        if _find(keys_K, children_K, entry_M, data, start, length) < 0:
            e = sizes[0]
            symbols_EL[e, :length] = data[start : start + length]
            length_E[e], life_E[e], move_E[e], first_E[e], frame_E[e] = length, 0, 0, -1, frame
            node_E[e] = index_entry(keys_K, children_K, entry_M, symbols_EL[e, :length], e, sizes)
            sizes[0] += 1


@njit(cache=True, nogil=True)
def _walk(keys_K, children_K, node, data, start, length):
    """The node below another that is reached by `data[start:start+length]`, or -1."""
    for at in range(start, start + length):
        node = _child(keys_K, children_K, node, data[at])
        if node < 0:
            return -1
    return node


@njit(cache=True, nogil=True)
def _first_half(keys_K, children_K, data, start, length):
    """The node where the second halves of frames begin whose first half this is, or -1."""
    node = _child(keys_K, children_K, 0, _GAP)
    if node >= 0:
        node = _walk(keys_K, children_K, node, data, start, length)
    return _child(keys_K, children_K, node, _GAP) if node >= 0 else -1


@njit(cache=True, nogil=True)
def _frame_was_seen(seen, data, a_start, a_length, b_start, b_length):
    """Whether the same frame was proposed before in this document; it is noted when not."""
    value = np.int64(a_length)
    for at in range(a_start, a_start + a_length):
        value = np.int64(_mixed(value * 1_000_003 + data[at]))
    value = np.int64(_mixed(value * 1_000_003 + _GAP))
    for at in range(b_start, b_start + b_length):
        value = np.int64(_mixed(value * 1_000_003 + data[at]))
    mask = np.uint64(seen.shape[0] - 1)
    slot = _mixed(value) & mask
    while seen[slot, 4] > 0:
        if seen[slot, 1] == a_length and seen[slot, 3] == b_length:
            same = True
            for d in range(a_length):
                same = same and data[seen[slot, 0] + d] == data[a_start + d]
            for d in range(b_length):
                same = same and data[seen[slot, 2] + d] == data[b_start + d]
            if same:
                return True
        slot = (slot + np.uint64(1)) & mask
    seen[slot, 0], seen[slot, 1], seen[slot, 2], seen[slot, 3], seen[slot, 4] = a_start, a_length, b_start, b_length, 1
    return False


@njit(cache=True, nogil=True)
def _examine(data, stop, max_length, chunk, n_chunks, keys_K, children_K, entry_M, life_E, move_E):
    """Compare each chunk with reading on from its second-longest match, until both meet at a boundary."""
    for c in range(n_chunks):
        if chunk[c, 4] < 0:
            continue
        ours_u, ours_c, ours_r = 0, 1, chunk[c, 2]
        theirs_u, theirs_c, theirs_r = 0, 1, chunk[c, 4]
        end, other, ahead = chunk[c, 0] + chunk[c, 1], chunk[c, 0] + chunk[c, 3], c + 1
        while end != other:
            if other < end:
                entry, length, _, _ = _match(keys_K, children_K, entry_M, data, other, min(stop, other + max_length))
                if entry < 0:
                    theirs_u += 1
                    other += 1
                else:
                    theirs_c += 1
                    theirs_r += entry
                    other += length
            else:
                if chunk[ahead, 2] < 0:
                    ours_u += 1
                else:
                    ours_c += 1
                    ours_r += chunk[ahead, 2]
                end += chunk[ahead, 1]
                ahead += 1
        wins = theirs_u < ours_u or (
            theirs_u == ours_u and (theirs_c < ours_c or (theirs_c == ours_c and theirs_r < ours_r))
        )
        if wins:
            move_E[chunk[c, 2]] += 1
            move_E[chunk[c, 4]] -= 1
        else:
            move_E[chunk[c, 2]] -= 1
            life_E[chunk[c, 2]] = 0


@njit(cache=True, nogil=True)
def wanted_places(moves_E, rate):
    """Where each entry wants to go: one move for each accumulated sign; below 0 above the head."""
    n = moves_E.size
    wanted_E = np.arange(n)
    for e in range(n):
        place, left = e, moves_E[e]
        while left < 0 and place > 0:
            place -= np.int64(np.floor(place * rate)) + 1
            left += 1
        while left > 0 and place < n:
            place += np.int64(np.floor(place * rate)) + 1
            left -= 1
        wanted_E[e] = place + min(left, 0)
    return wanted_E
