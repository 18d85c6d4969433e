"""Thousands of damaged packages: each is read, or refused with a CoreMLError, in little memory."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import pytest
from coreml_mutations import Fuzzer
from coreml_packages import MODEL, WEIGHTS, save_variant
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.program import CoreMLError

CASES = 300
VARIANTS = ("classifier", "ios18-int4", "ios18-sparse-palette")


@pytest.fixture(scope="module", params=VARIANTS)
def fuzzer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fuzzer:
    package = save_variant(request.param, tmp_path_factory.mktemp("packages"))
    return Fuzzer(package, seed=len(request.param))


def test_random_damage_is_read_or_refused(
    fuzzer: Fuzzer, record_property: pytest.RecordProperty
) -> None:
    for _ in range(CASES):
        fuzzer.case()
    record_property("cases", f"{fuzzer.refused} refused, {fuzzer.accepted} read")
    # Damage that nothing notices (a changed weight, a description) is the smaller part.
    assert fuzzer.refused > CASES // 2
    assert fuzzer.accepted > CASES // 50
    assert len(fuzzer.reasons) > 20


def test_damage_takes_little_memory(fuzzer: Fuzzer) -> None:
    size = sum(path.stat().st_size for path in (fuzzer.package / MODEL, fuzzer.package / WEIGHTS))
    fuzzer.random.seed(4)
    tracemalloc.start()
    try:
        for _ in range(40):
            fuzzer.case()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 * size


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.sampled_from((MODEL, "Manifest.json", WEIGHTS)),
    at=st.floats(0, 1),
    removed=st.integers(0, 20),
    inserted=st.binary(max_size=20),
)
def test_any_edit_is_read_or_refused(
    fuzzer: Fuzzer, name: str, at: float, removed: int, inserted: bytes
) -> None:
    data = (fuzzer.package / name).read_bytes()
    start = int(at * len(data))
    fuzzer.read(name, data[:start] + inserted + data[start + removed :])


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_file_is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    package = tmp_path_factory.mktemp("package")
    (package / "Manifest.json").write_bytes(data)
    with pytest.raises(CoreMLError):
        read_package(package)


def test_cut_short_anywhere(fuzzer: Fuzzer) -> None:
    for name in (MODEL, "Manifest.json", WEIGHTS):
        data = (fuzzer.package / name).read_bytes()
        refused = fuzzer.refused
        lengths = random.Random(2).sample(range(len(data) - 1), 60)
        for length in lengths:
            fuzzer.read(name, data[:length])
        assert fuzzer.refused == refused + len(lengths)


def test_the_package_itself_is_sound_afterwards(fuzzer: Fuzzer) -> None:
    assert isinstance(fuzzer.package, Path)
    assert read_package(fuzzer.package).function.operations
