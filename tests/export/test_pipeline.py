"""The whole way, from labelled texts to a bundle, and what happens when it is broken off."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from export.data import DataSettings
from export.pipeline import export_bundle
from export.planning import ExportSettings, plan
from export.recipes import Recipe, recipes
from runtime.bench.conversions import kept_checkpoint
from runtime.bundle import open_bundle
from runtime.coreml_reference.package import read_package
from runtime.errors import BundleError, UserError
from runtime.files import files_below
from runtime.manifest import contract_sha256
from runtime.rejected import open_to_study

from support import ROOT, TINY_SETTINGS, export_settings


def _bytes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files_below(folder)
    }


def test_the_bundle_has_every_file_of_the_design(bundle_folder: Path) -> None:
    assert {path.name for path in bundle_folder.iterdir()} == {
        "manifest.json", "model.onnx", "model_int8.onnx", "model.tflite", "model_int8.tflite",
        "tokenizer.json", "tokenizer_config.json", "vocab.txt", "labels.txt", "golden.json",
        "parity.json", "README.md", "model.mlpackage", "model_int8.mlpackage", "check_on_mac.py",
        "reference_trace.npz", "compatibility.json",
    }  # fmt: skip
    assert (bundle_folder / "labels.txt").read_text() == "rainy\nsnowy\nsunny\n"
    manifest = open_bundle(bundle_folder).manifest
    assert {artifact.gate for artifact in manifest.artifacts} == {"pass"}
    for artifact in manifest.artifacts:
        assert [(t.name, t.dtype) for t in artifact.inputs] == [
            ("input_ids", "int32"), ("attention_mask", "int32"),
        ]  # fmt: skip
        assert [(t.name, t.dtype) for t in artifact.outputs] == [("logits", "float32")]
    quantized = [a for a in manifest.artifacts if a.precision == "int8"]
    assert len(quantized) == 3
    assert all(a.weights.float_weights == () for a in quantized)


def test_nothing_in_it_depends_on_the_machine(bundle_folder: Path) -> None:
    """No absolute path, user name or year-month of today in any file."""
    today = time.strftime("%Y-%m").encode()
    for path in files_below(bundle_folder):
        data = path.read_bytes()
        for secret in (
            str(bundle_folder.parent).encode(),
            str(ROOT).encode(),
            b"/root/",
            b"/home/",
        ):
            assert secret not in data, path.name
        if path.name != "golden.json":  # which has a date among its awkward texts
            assert today not in data, path.name


@pytest.mark.slow
def test_two_exports_give_the_same_bytes(
    bundle_folder: Path, checkpoint_folder: Path, weather_file: Path, tmp_path: Path
) -> None:
    """Another process, working directory and hash seed."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from support import export_settings\n"
        "from export.pipeline import export_bundle\n"
        "c, d, o = map(Path, sys.argv[2:])\n"
        "assert export_bundle(export_settings(c, d, o, targets=('all',))).bundle\n"
    )
    out = tmp_path / bundle_folder.name
    arguments = [str(ROOT / "tests"), str(checkpoint_folder), str(weather_file), str(out)]
    environment = os.environ | {"PYTHONHASHSEED": "77", "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-c", script, *arguments],
        check=True, cwd=tmp_path, env=environment, capture_output=True,
    )  # fmt: skip
    assert _bytes(out) == _bytes(bundle_folder)


@pytest.mark.slow
def test_from_texts_alone_with_the_small_default(weather_file: Path, tmp_path: Path) -> None:
    settings = ExportSettings(
        targets=("onnx",),
        recipes=("int8",),
        out=tmp_path / "out",
        data=DataSettings(source=str(weather_file)),
        model=TINY_SETTINGS,
        checkpoints=tmp_path / "checkpoints",
    )
    first = export_bundle(settings)
    assert first.bundle is not None
    assert first.training is not None
    assert first.training.metric_name == "accuracy"
    assert [a.path for a in first.manifest.artifacts] == ["model_int8.onnx"]
    (run,) = (tmp_path / "checkpoints").iterdir()
    assert kept_checkpoint(open_bundle(first.bundle), run.parent) == run, "the bench finds it"
    trained = (run / "training.json").stat().st_mtime_ns
    before = _bytes(tmp_path / "out")
    assert export_bundle(settings).training is None
    assert (run / "training.json").stat().st_mtime_ns == trained, "a finished run is used again"
    assert _bytes(tmp_path / "out") == before
    export_bundle(replace(settings, fine_tune="always"))
    assert (run / "training.json").stat().st_mtime_ns != trained
    assert "golden.json" in before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"targets": ("tflit",)},
            "unknown TARGET 'tflit'. choose one of: coreai, coreml, onnx, tflite, all",
        ),
        ({"targets": ()}, "no TARGET was named"),
        ({"recipes": ("int3",)}, "unknown RECIPE 'int3' for the target onnx. choose among:"),
        ({"lengths": (16, 4000)}, "no artifact can be made for texts of 4000 ids"),
        (
            {"options": {"layout": "ane"}},
            "the target onnx has no layout to choose. it is for coreml",
        ),
        (
            {"targets": ("coreml",), "options": {"layout": "gpu"}},
            "unknown layout 'gpu' for the target coreml. choose one of: default, ane",
        ),
        (
            {"targets": ("coreml",), "options": {"shapes": "enumerated"}},
            "iOS16 cannot enumerate the lengths of two inputs",
        ),
        (
            {
                "targets": ("coreml",),
                "recipes": ("int4",),
                "options": {"deployment_target": "iOS16", "shapes": "fixed"},
            },
            "the recipe int4 needs the deployment target iOS18",
        ),
    ],
)
def test_unknown_names_list_the_known_ones(
    tmp_path: Path, values: dict[str, tuple[str, ...]], message: str
) -> None:
    settings = export_settings(tmp_path, tmp_path, tmp_path / "out", **values)
    with pytest.raises(UserError) as caught:
        plan(settings)
    assert message in str(caught.value)


def test_a_foreign_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(UserError, match="holds something else"):
        plan(export_settings(tmp_path, tmp_path, tmp_path / "out"))


def _strict(target: str, real=recipes) -> dict[str, Recipe]:  # type: ignore[no-untyped-def]
    """The real recipes with a limit that nothing can meet."""
    return {
        name: replace(recipe, gate={k: v | {"sqnr_db": 1e9} for k, v in recipe.gate.items()})
        for name, recipe in real(target).items()
    }


def test_a_failing_gate_leaves_no_bundle_and_keeps_the_old_one(
    checkpoint_folder: Path, weather_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    settings = export_settings(checkpoint_folder, weather_file, out, recipes=("int8",))
    with monkeypatch.context() as patch:
        patch.setattr("export.recipes.choice.recipes", _strict)
        failed = export_bundle(settings)
    assert failed.report.verdict == "fail"
    assert failed.bundle is None
    assert not out.exists()
    assert failed.rejected is not None
    with pytest.raises(BundleError, match="is not a bundle"):
        open_bundle(failed.rejected)
    checks = json.loads((failed.rejected / "parity.json").read_bytes())["artifacts"][0]["checks"]
    assert [c["figure"] for c in checks if c["verdict"] != "pass"] == ["sqnr_db"]
    assert [a.path for a in open_to_study(failed.rejected).manifest.artifacts] == [
        "model_int8.onnx"
    ]

    assert export_bundle(settings).bundle == out
    assert not failed.rejected.exists(), "out of date"
    before = _bytes(out)
    with monkeypatch.context() as patch:
        patch.setattr("export.recipes.choice.recipes", _strict)
        export_bundle(settings)
    assert _bytes(out) == before


def test_a_recipe_that_skips_weights_fails_the_export(
    checkpoint_folder: Path, weather_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The converter hands back the float file, as ai-edge-quantizer once did."""
    from export.targets import targets

    monkeypatch.setattr(targets()["onnx"], "quantize", lambda a, _, b, **__: shutil.copyfile(a, b))
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"the recipe int8 left .* in float32"):
        export_bundle(export_settings(checkpoint_folder, weather_file, out))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "delays", [(6.0,), pytest.param((0.3, 1.5, 3.0, 9.0), marks=pytest.mark.slow)]
)
def test_killed_at_any_moment_there_is_a_whole_bundle(
    delays: tuple[float, ...],
    bundle_folder: Path,
    checkpoint_folder: Path,
    weather_file: Path,
    tmp_path: Path,
) -> None:
    out = Path(shutil.copytree(bundle_folder, tmp_path / "out"))
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from support import export_settings\n"
        "from export.pipeline import export_bundle\n"
        "c, d, o = map(Path, sys.argv[2:])\n"
        "while True: print('go', flush=True); export_bundle(export_settings(c, d, o))\n"
    )
    arguments = [str(ROOT / "tests"), str(checkpoint_folder), str(weather_file), str(out)]
    for delay in delays:
        child = subprocess.Popen(
            [sys.executable, "-c", script, *arguments], cwd=ROOT,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(delay)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        open_bundle(out)


def test_a_package_on_its_own_names_its_bundle_and_its_maker(
    bundle_folder: Path, checkpoint_folder: Path, weather_file: Path, tmp_path: Path
) -> None:
    manifest = open_bundle(bundle_folder).manifest
    usual = read_package(bundle_folder / "model.mlpackage").metadata
    assert usual.user_defined["mobile_export.contract_sha256"] == contract_sha256(
        manifest.task, manifest.tokenizer, manifest.source, manifest.data
    )
    assert usual.author.startswith("mobile-export ")
    assert "name it with LICENSE=" in usual.license
    settings = export_settings(
        checkpoint_folder, weather_file, tmp_path / "out",
        targets=("coreml",), recipes=("float16",),
        author="Ann", license="MIT", version="2.1",
    )  # fmt: skip
    assert export_bundle(settings).bundle
    named = read_package(tmp_path / "out" / "model.mlpackage").metadata
    assert (named.author, named.license, named.version) == ("Ann", "MIT", "2.1")
