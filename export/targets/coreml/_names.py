"""Which constant of a program holds which parameter: by name alone, never by how it is wired.

The wiring is what a wrong graph has wrong, so it cannot be asked which weight is whose.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from runtime.errors import UserError

# What the converter and the compressor append to a constant's name.
_ENDINGS = re.compile(r"(_to_fp16|_to_fp32|_cast_fp16|_quantized|_palettized|_sparsified)+$")
_ROOT = "model."


def constant_name(parameter: str) -> str:
    """What the converter calls a parameter's constant, endings not counted."""
    return re.sub(r"\W", "_", _ROOT + parameter)


def parameters_by_constant(
    constants: Iterable[str], parameters: Iterable[str]
) -> Mapping[str, str]:
    """Constant → the parameter that it holds, for those that hold one.

    Args:
        constants: names in the program.
        parameters: names in the state dictionary.

    Raises:
        UserError: two constants claim one parameter, or two parameters would share a name.
    """
    known: dict[str, str] = {}
    for parameter in parameters:
        if (twin := known.setdefault(constant_name(parameter), parameter)) != parameter:
            raise UserError(f"{parameter} and {twin} would have one name in Core ML")
    found: dict[str, str] = {}
    for constant in constants:
        parameter_or_none = known.get(_ENDINGS.sub("", constant))
        if parameter_or_none is None:
            continue
        if parameter_or_none in found.values():
            raise UserError(
                f"the package holds {parameter_or_none} twice", why=f"the second is {constant}"
            )
        found[constant] = parameter_or_none
    return found
