"""A pytest fixture that runs the gate: for the tests of whoever ships a bundle.

def test_the_app_gives_pytorchs_answers(parity_gate):
parity_gate("app/src/main/assets/bundle")
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from runtime.parity.judge import ParityReport

_SHOWN = ("max_abs", "cosine", "sqnr_db", "flips", "flip_rate_bound", "metric_drop")


@pytest.fixture
def parity_gate(record_property: Callable[[str, object], None]) -> Callable[..., ParityReport]:
    """A function (bundle, artifact=None, results=None) that fails the test unless the gate passes.

    It takes what `runtime.parity.gate` takes and returns its report. The most telling figures
    become properties of the test in a JUnit file.
    """

    def judged(
        bundle: Path | str, artifact: str | None = None, *, results: Path | str | None = None
    ) -> ParityReport:
        # Not at the top: pytest imports every plug-in, and most tests do not use this one.
        from runtime.errors import UserError
        from runtime.parity.api import gate
        from runtime.parity.table import explanations

        try:
            report = gate(bundle, artifact, results=results)
        except UserError as error:
            pytest.fail(str(error), pytrace=False)
        for found in report.artifacts:
            for name in _SHOWN:
                record_property(f"{found.path}.{name}", found.figures[name])
        if report.verdict != "pass":
            lines = [f"parity of {bundle}: {report.verdict.upper()}", *explanations(report)]
            pytest.fail("\n  ".join(lines), pytrace=False)
        return report

    return judged
