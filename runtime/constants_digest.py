"""Hashes constants of an artifact, so that a device can tell whether they are still the same.

The larger weights have a hash each (`digest`), which names the one that changed. Everything else
that the file stores (scales, zero points, biases, the mask's score, a table of positions …) shares
one (`digest_rest`), because hundreds of scalars would hide the weights in a table. The rest is
whatever the manifest does not list by name, so that nothing can be added unseen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

# Name and role under which a manifest lists the hash of the rest.
REST_NAME = "everything else"
REST_ROLE = "rest"


def digest(name: str, array: npt.NDArray[Any]) -> str:
    """Hex SHA-256 of a constant's name, dtype, shape and values.

    Args:
        name: as the artifact calls it.
        array: any shape; hashed without a copy if its elements lie in row-major order.
    """
    # Little-endian on every machine, so that all agree.
    values = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    result = hashlib.sha256(f"{name}\n{array.dtype.name}\n{list(array.shape)}\n".encode())
    result.update(values.reshape(-1).view(np.uint8).data)
    return result.hexdigest()


def digest_rest(arrays: Mapping[str, npt.NDArray[Any]], listed: Collection[str]) -> str:
    """Hex SHA-256 of every constant that is not listed by itself, in the order of their names.

    Args:
        arrays: name → values of every constant of the artifact.
        listed: names of those that have a hash of their own.
    """
    result = hashlib.sha256()
    for name in sorted(set(arrays) - set(listed)):
        result.update(digest(name, arrays[name]).encode())
    return result.hexdigest()


def digests(arrays: Mapping[str, npt.NDArray[Any]], listed: Collection[str]) -> dict[str, str]:
    """`digest` of each listed constant that is there, and under `REST_NAME` that of the others.

    Args:
        arrays: name → values of every constant of the artifact.
        listed: names that have a hash of their own; `REST_NAME` among them is passed over.
    """
    found = {name: digest(name, arrays[name]) for name in listed if name in arrays}
    return found | {REST_NAME: digest_rest(arrays, listed)}
