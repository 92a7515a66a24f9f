"""The compiled loops of `ByteTrie`; kept apart because importing numba takes time."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def build_nodes(data, offsets, order):
    """Nodes of a trie over sorted strings: (child_start, labels, children, values).

    Args:
        data: uint8, the strings end to end. offsets: int64 (n + 1,). order: int32 (n,), the id of each string.
    """
    bound = data.size + 1
    parent = np.empty(bound, np.int32)
    label = np.empty(bound, np.uint8)
    value = np.full(bound, -1, np.int32)
    longest = 0
    for s in range(order.size):
        longest = max(longest, offsets[s + 1] - offsets[s])
    path = np.zeros(longest + 1, np.int32)
    n_nodes, depth = 1, 0
    previous = 0
    for s in range(order.size):
        begin, length = offsets[s], offsets[s + 1] - offsets[s]
        common = 0
        while common < length and common < depth and data[begin + common] == data[previous + common]:
            common += 1
        for d in range(common, length):
            parent[n_nodes], label[n_nodes] = path[d], data[begin + d]
            path[d + 1] = n_nodes
            n_nodes += 1
        depth, previous = length, begin
        if value[path[length]] < 0:
            value[path[length]] = order[s]
    child_start = np.zeros(n_nodes + 1, np.int64)
    for node in range(1, n_nodes):
        child_start[parent[node] + 1] += 1
    for node in range(n_nodes):
        child_start[node + 1] += child_start[node]
    fill = child_start[:-1].copy()
    labels, children = np.empty(n_nodes - 1, np.uint8), np.empty(n_nodes - 1, np.int32)
    # Sorted strings make the children of a node in the order of their labels.
    for node in range(1, n_nodes):
        slot = fill[parent[node]]
        labels[slot], children[slot] = label[node], node
        fill[parent[node]] += 1
    return child_start, labels, children, value[:n_nodes].copy()


@njit(cache=True, nogil=True)
def _step(child_start, labels, children, node, byte):
    """The child of `node` along `byte`, or -1."""
    low, high = child_start[node], child_start[node + 1]
    while low < high:
        middle = (low + high) // 2
        if labels[middle] < byte:
            low = middle + 1
        else:
            high = middle
    if low < child_start[node + 1] and labels[low] == byte:
        return children[low]
    return -1


@njit(cache=True, nogil=True)
def matches_at(child_start, labels, children, values, data, start):
    """Ids and lengths of all strings at `start`, shortest first."""
    ids, lengths = np.empty(8, np.int32), np.empty(8, np.int32)
    count, node = 0, 0
    for at in range(start, data.size):
        node = _step(child_start, labels, children, node, data[at])
        if node < 0:
            break
        if values[node] >= 0:
            if count == ids.size:
                ids = np.append(ids, np.empty(count, np.int32))
                lengths = np.append(lengths, np.empty(count, np.int32))
            ids[count], lengths[count] = values[node], at + 1 - start
            count += 1
    return ids[:count], lengths[:count]


@njit(cache=True, nogil=True)
def greedy_pieces(child_start, labels, children, values, data):
    """Longest match from the left; empty when it gets stuck."""
    out = np.empty(data.size, np.int32)
    count, start = 0, 0
    while start < data.size:
        node, best, length = 0, -1, 0
        for at in range(start, data.size):
            node = _step(child_start, labels, children, node, data[at])
            if node < 0:
                break
            if values[node] >= 0:
                best, length = values[node], at + 1 - start
        if best < 0:
            return out[:0]
        out[count] = best
        count += 1
        start += length
    return out[:count]


@njit(cache=True, nogil=True)
def fewest_pieces(child_start, labels, children, values, data):
    """Fewest pieces by dynamic programming from the right; the longest first piece on a tie; empty if impossible."""
    size = data.size
    far = size + 1
    cost = np.full(size + 1, far, np.int64)
    pick, step = np.full(size + 1, -1, np.int32), np.zeros(size + 1, np.int64)
    cost[size] = 0
    for start in range(size - 1, -1, -1):
        node = 0
        for at in range(start, size):
            node = _step(child_start, labels, children, node, data[at])
            if node < 0:
                break
            if values[node] >= 0 and cost[at + 1] + 1 <= cost[start] and cost[at + 1] < far:
                cost[start], pick[start], step[start] = cost[at + 1] + 1, values[node], at + 1 - start
    out = np.empty(size, np.int32)
    count, start = 0, 0
    while start < size:
        if pick[start] < 0:
            return out[:0]
        out[count] = pick[start]
        count += 1
        start += step[start]
    return out[:count]
