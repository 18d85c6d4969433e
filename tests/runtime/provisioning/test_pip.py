from __future__ import annotations

import pytest

from runtime.provisioning.pip import pip_reason


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "WARNING: slow\nERROR: versions: 1, 2, 3\nERROR: no match for x==9\n",
            "no match for x==9",
        ),
        ("  something broke\n\n", "something broke"),
        ("", "it does not say why"),
    ],
)
def test_the_last_error_is_the_reason(said: str, reason: str) -> None:
    assert pip_reason(said) == reason
