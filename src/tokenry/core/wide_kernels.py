"""Numba intrinsics that read memory by its address, a byte or eight at once, for kernels that work on short strings.

An array that is handed from function to function costs a count of its references each time, and the eight bytes that
a processor takes at once lie on no border in a text.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

ONES = np.uint64(0x0101010101010101)
"""One in each byte."""


@intrinsic
def byte_at(context, address):
    """The byte at an address; nothing is checked."""

    def generate(context, builder, signature, arguments):
        place = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        return builder.zext(builder.load(place), ir.IntType(64))

    return types.int64(types.int64), generate


@intrinsic
def eight_at(context, address):
    """The eight bytes from an address as one number, the first one lowest; nothing is checked."""

    def generate(context, builder, signature, arguments):
        return builder.load(builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()), align=1)

    return types.uint64(types.int64), generate


@intrinsic
def put_eight(context, address, word):
    """Write the eight bytes of a number to an address, the lowest first; nothing is checked."""

    def generate(context, builder, signature, arguments):
        place = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        builder.store(arguments[1], place, align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.uint64), generate


@intrinsic
def first_byte_of(context, word):
    """Place of the lowest byte of a number that is not 0; 8 when all are."""

    def generate(context, builder, signature, arguments):
        zeros = builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))
        return builder.lshr(zeros, ir.Constant(ir.IntType(64), 3))

    return types.int64(types.uint64), generate
