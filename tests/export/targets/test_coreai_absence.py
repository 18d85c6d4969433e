"""Without the extra coreai nothing breaks, and whoever asks for it is told what to install."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from export.recipes import recipes
from export.reference import reference_from_model
from export.targets import coreai, targets
from export.targets.base import ArtifactMetadata, Job, Source
from runtime.errors import MissingExtraError
from runtime.manifest import ArtifactSpec, TaskSpec, WeightsSummary
from runtime.sessions import SessionSettings, open_session, session_modules

from support import ROOT, seeded_classifier

EMPTY = ArtifactSpec(
    path="m.aimodel",
    format="coreai",
    recipe="float32",
    precision="float32",
    bytes=1,
    sha256="",
    inputs=(),
    outputs=(),
    lengths=None,
    minimum_runtime={"iOS": "28.1"},
    weights=WeightsSummary({}, ()),
    gate="pass",
)


def found_but_unused(name: str) -> ModuleType:
    """Stands in for a package that `find_spec` is to find; nothing of it is used."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    return module


def test_the_target_is_found_by_name_and_is_experimental() -> None:
    assert targets()["coreai"].SUFFIX == ".aimodel"
    assert targets()["coreai"].EXPERIMENTAL
    assert recipes("coreai")["float32"].file.endswith(".aimodel")


def test_importing_the_target_loads_no_heavy_package() -> None:
    script = (
        "import sys, export.targets.coreai as found; found.available()\n"
        "print(sorted({'coreai', 'coreai_torch', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "package"), [("coreai_torch", "coreai-torch"), ("coreai", "coreai-core")]
)
def test_a_missing_package_is_one_line_with_the_install_command(
    module: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("coreai_torch", "coreai"):
        if name != module and find_spec(name) is None:
            monkeypatch.setitem(sys.modules, name, found_but_unused(name))
    monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]
    line = coreai.available()
    assert line is not None and "\n" not in line
    assert package in line and "pip install 'mobile-export[coreai-export]'" in line
    metadata = ArtifactMetadata("n", "d", "a", "l", "1", "0" * 64)
    task = TaskSpec("single_label", "softmax", ("a", "b", "c"))
    source = Source(reference_from_model(seeded_classifier(1)), (64,), task, 0, metadata)
    job = Job(source, recipes("coreai")["float32"], {}, tmp_path)
    for call in (
        lambda: coreai.make(job, tmp_path / "x.aimodel"),
        lambda: coreai.describe(tmp_path / "x.aimodel"),
        lambda: coreai.effective(tmp_path / "x.aimodel", job),
    ):
        with pytest.raises(MissingExtraError, match=package):
            call()
    assert not (tmp_path / "x.aimodel").exists()


def test_importing_the_session_loads_no_heavy_package() -> None:
    script = (
        "import sys, runtime.sessions.coreai_session as found; found.available()\n"
        "print(sorted({'coreai', 'PIL', 'torch', 'export'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_without_the_runtime_there_is_one_line_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "coreai", None)  # type: ignore[arg-type]
    line = session_modules()["coreai"].available()
    assert line is not None and "\n" not in line
    assert "coreai-core" in line and "pip install 'mobile-export[coreai]'" in line
    with pytest.raises(MissingExtraError, match="coreai-core"):
        open_session(tmp_path / "m.aimodel", EMPTY, SessionSettings())


def test_the_card_says_that_it_is_a_beta() -> None:
    line = coreai.usage(EMPTY)
    assert "experimental beta" in line and "28.1" in line and "coreai-torch" in line
    assert coreai.companions(EMPTY) == {}
