"""What pip meant, from what it printed."""

from __future__ import annotations

_ERROR = "ERROR:"


def pip_reason(said: str) -> str:
    """The one line of pip's standard error that tells why it failed.

    Of several errors the last: it names the requirement, and those before it list every version
    that there is.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    wrong = [line for line in lines if line.startswith(_ERROR)] or lines
    return wrong[-1].removeprefix(_ERROR).strip() if wrong else "it does not say why"
