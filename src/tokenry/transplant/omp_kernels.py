"""The inner loop of matching pursuit by correlations, compiled; imported only when a pursuit runs on numpy arrays."""

import numpy as np
from numba import njit

# Axes: B targets, N anchors, K picks. `images` holds anchors @ q_j for the orthonormal directions q_j of a target.


@njit(cache=True, nogil=True, fastmath=True)
def largest(alpha_N):
    """Index of the greatest absolute value, the first of equals; -1 if all are zero."""
    best, where = alpha_N.dtype.type(0), -1
    for start in range(0, alpha_N.size, 1024):
        stop = min(start + 1024, alpha_N.size)
        top = alpha_N.dtype.type(0)
        for i in range(start, stop):
            top = max(top, abs(alpha_N[i]))
        if top > best:
            best, where = top, start
    if where >= 0:
        while abs(alpha_N[where]) != best:
            where += 1
    return where


@njit(cache=True, nogil=True, fastmath=True)
def extend(gram_N, square, pick, images_KN, alpha_N, lower_K, s, degenerate):
    """Add one pick to a target: its direction's image, the new row of the triangle, the correlations after it.

    Returns the coefficient along the new direction, or 0 if the anchor lies in the span of the earlier picks.
    """
    inside = 0.0
    for j in range(s):
        lower_K[j] = images_KN[j, pick]
        inside += lower_K[j] * lower_K[j]
    if square - inside <= degenerate * square:
        return alpha_N.dtype.type(0)
    delta = alpha_N.dtype.type(np.sqrt(square - inside))
    lower_K[s] = delta
    out = images_KN[s]
    out[:] = gram_N
    j = 0
    # Eight directions a pass: the output row is read and written once for all of them.
    while j + 8 <= s:
        a, b, c, d = lower_K[j], lower_K[j + 1], lower_K[j + 2], lower_K[j + 3]
        e, f, g, h = lower_K[j + 4], lower_K[j + 5], lower_K[j + 6], lower_K[j + 7]
        v0, v1, v2, v3 = images_KN[j], images_KN[j + 1], images_KN[j + 2], images_KN[j + 3]
        v4, v5, v6, v7 = images_KN[j + 4], images_KN[j + 5], images_KN[j + 6], images_KN[j + 7]
        for i in range(out.size):
            low = a * v0[i] + b * v1[i] + c * v2[i] + d * v3[i]
            out[i] -= low + e * v4[i] + f * v5[i] + g * v6[i] + h * v7[i]
        j += 8
    while j < s:
        a, v0 = lower_K[j], images_KN[j]
        for i in range(out.size):
            out[i] -= a * v0[i]
        j += 1
    scale = alpha_N.dtype.type(1) / delta
    step = alpha_N[pick] * scale
    for i in range(out.size):
        out[i] *= scale
        alpha_N[i] -= step * out[i]
    alpha_N[pick] = 0
    return step


@njit(cache=True, nogil=True)
def pursue(
    rows_SN, slots_N, squares_N, images_BKN, alpha_BN, lower_BKK, beta_BK, picks_BK, left_B, limit_B, degenerate
):
    """Run every target of the batch until it is done or needs a Gram row that is not there.

    Returns how many targets wait for a row. Everything a target needs to go on lies in the arrays, so the caller
    computes the missing rows and calls again.
    """
    waiting = 0
    k = picks_BK.shape[1]
    for b in range(alpha_BN.shape[0]):
        s = 0
        while s < k and picks_BK[b, s] >= 0:
            s += 1
        while s < k and left_B[b] > limit_B[b]:
            pick = largest(alpha_BN[b])
            if pick < 0:
                left_B[b] = 0.0
                break
            if slots_N[pick] < 0:
                waiting += 1
                break
            gram_N, square, lower_K = rows_SN[slots_N[pick]], squares_N[pick], lower_BKK[b, s]
            step = extend(gram_N, square, pick, images_BKN[b], alpha_BN[b], lower_K, s, degenerate)
            if step == 0:
                lower_BKK[b, s, :] = 0
                lower_BKK[b, s, s] = 1
                left_B[b] = 0.0
                break
            picks_BK[b, s], beta_BK[b, s] = pick, step
            left_B[b] -= np.float64(step) ** 2
            s += 1
    return waiting
