"""The entry of a description that stands for every constant that is not listed by itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy.typing as npt

from export.targets.base import WeightInfo
from runtime.constants_digest import REST_NAME, REST_ROLE, digest_rest


def rest_of(constants: Mapping[str, npt.NDArray[Any]], listed: Collection[str]) -> WeightInfo:
    """Scales, biases and other small constants, hashed together.

    Args:
        constants: every constant of an artifact, as the session that compares them reads it.
        listed: names of those that are described by themselves.
    """
    others = [array for name, array in constants.items() if name not in listed]
    elements = sum(array.size for array in others)
    return WeightInfo(
        name=REST_NAME,
        shape=(elements,),
        precision="mixed",
        role=REST_ROLE,
        scales=0,
        bits=8 * sum(array.nbytes for array in others) / elements if elements else None,
        sha256=digest_rest(constants, listed),
    )
