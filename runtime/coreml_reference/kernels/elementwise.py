"""Arithmetic, comparisons, logic, simple functions and casts, element by element."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.coreml_reference.kernels.registry import Context, broadcast, floats, kernel
from runtime.coreml_reference.numerics import FLOAT_TYPES
from runtime.coreml_reference.program import NUMPY_TYPES, Array, CoreMLError

# Of the functions of one argument.
_ALSO_INTEGERS = frozenset({"abs", "logical_not", "sign", "square"})
_CAST_TYPES = ("int8", "uint8", "int16", "uint16", "int32", "fp16", "fp32", "bool")


def _enter_binary(kind: str, function: Callable[[Array, Array], Array]) -> None:
    def run(context: Context, x: Array, y: Array) -> Array:
        broadcast(context, x, y)
        return function(x, y)

    kernel(kind)(run)


for _kind, _binary in {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "pow": np.power,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}.items():
    _enter_binary(_kind, _binary)


def _enter_unary(kind: str, function: Callable[[Array], Array]) -> None:
    def run(_context: Context, x: Array) -> Array:
        if kind not in _ALSO_INTEGERS:
            floats(x)
        return function(x)

    kernel(kind)(run)


for _kind, _unary in {
    "abs": np.abs,
    "ceil": np.ceil,
    "cos": np.cos,
    "exp": np.exp,
    "exp2": np.exp2,
    "floor": np.floor,
    "logical_not": np.logical_not,
    "round": np.rint,
    "sign": np.sign,
    "sin": np.sin,
    "sqrt": np.sqrt,
    "square": np.square,
    "tanh": np.tanh,
}.items():
    _enter_unary(_kind, _unary)


def _refuse_zero_divisor(y: Array) -> None:
    if y.dtype.kind != "f" and not y.all():
        raise CoreMLError("an integer is divided by zero")


@kernel("floor_div")
def floor_div(context: Context, x: Array, y: Array) -> Array:
    """Quotient x / y rounded towards negative infinity."""
    broadcast(context, x, y)
    _refuse_zero_divisor(y)
    return np.floor_divide(x, y)


@kernel("mod")
def mod(context: Context, x: Array, y: Array) -> Array:
    """Rest x − y·floor(x / y): the sign is the divisor's."""
    broadcast(context, x, y)
    _refuse_zero_divisor(y)
    return np.remainder(x, y)


@kernel("real_div")
def real_div(context: Context, x: Array, y: Array) -> Array:
    """Quotient x / y. Apple's text does not say how integers round: they must divide exactly."""
    broadcast(context, x, y)
    if x.dtype.kind == "f":
        return np.divide(x, y)
    _refuse_zero_divisor(y)
    quotient, rest = np.divmod(x, y)
    if rest.any():
        raise CoreMLError("real_div of integers that do not divide exactly is not defined")
    return np.asarray(quotient)


@kernel("inverse")
def inverse(context: Context, x: Array, epsilon: float = 1e-4) -> Array:
    """1 / (x + epsilon)."""
    floats(x)
    return np.reciprocal(context.numerics.inner(x + x.dtype.type(epsilon)))


@kernel("log")
def log(context: Context, x: Array, epsilon: float = 1e-45) -> Array:
    """ln(x + epsilon)."""
    floats(x)
    return np.log(context.numerics.inner(x + x.dtype.type(epsilon)))


@kernel("rsqrt")
def rsqrt(context: Context, x: Array, epsilon: float = 1e-12) -> Array:
    """1 / √(x + epsilon)."""
    floats(x)
    inside = context.numerics.inner(x + x.dtype.type(epsilon))
    return np.reciprocal(context.numerics.inner(np.sqrt(inside)))


@kernel("clip")
def clip(_context: Context, x: Array, alpha: float, beta: float) -> Array:
    """min(max(x, alpha), beta)."""
    floats(x)
    return np.asarray(np.minimum(np.maximum(x, x.dtype.type(alpha)), x.dtype.type(beta)))


@kernel("select")
def select(context: Context, cond: Array, a: Array, b: Array) -> Array:
    """`a` where `cond` is true, else `b`; all three are broadcast."""
    if cond.dtype != np.bool_:
        raise CoreMLError(f"the condition is {cond.dtype}, not bool")
    broadcast(context, a, b)
    context.allow(np.broadcast_shapes(cond.shape, a.shape, b.shape))
    return np.where(cond, a, b)


@kernel("cast")
def cast(context: Context, x: Array, dtype: str) -> Array:
    """Another element type; floats are cut off towards zero.

    Apple's text does not say what becomes of a value that the new type cannot hold; devices wrap
    it, so that a token id of 40000 becomes another token. It is refused here.
    """
    if dtype not in _CAST_TYPES:
        raise CoreMLError(
            f"a cast to {dtype} is unknown", why=f"known are {', '.join(_CAST_TYPES)}"
        )
    if dtype in FLOAT_TYPES:
        return x.astype(context.numerics.float_type)
    target = np.dtype(NUMPY_TYPES[dtype])
    if dtype != "bool" and x.size and x.dtype != np.bool_:
        limits = np.iinfo(target)
        lowest, highest = x.min(), x.max()
        # Written so that a NaN is refused as well.
        if not (lowest > float(limits.min) - 1 and highest < float(limits.max) + 1):
            outside = lowest if not lowest > float(limits.min) - 1 else highest
            raise CoreMLError(f"the value {outside} does not fit into {dtype}")
    return x.astype(target)
