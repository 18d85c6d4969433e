from __future__ import annotations

import shutil
import zipfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from android_demo.toolchain.apk import build_apk
from android_demo.toolchain.apk_resources import GRADLE, MAIN, read_app_settings
from android_demo.toolchain.dex_report import read_dex
from android_demo.toolchain.kotlin import CompileError
from runtime.errors import BundleError, UserError

from apk_support import Smoke, smoke_build


@pytest.fixture(scope="module")
def smoke(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    return smoke_build(bundle_folder, tmp_path_factory.mktemp("apk"))


def test_the_smoke_build_holds_every_point(smoke: Smoke) -> None:
    checks = smoke.check(smoke.apk)
    assert {name: check.problems for name, check in checks.items()} == dict.fromkeys(checks, ())
    assert checks["signature"].found == "v2, v3"
    assert checks["permissions"].found == "none"
    assert checks["intents"].found == "MAIN, SEND"
    assert [p.name for p in smoke.apk.parent.iterdir()] == ["app.apk"]


def test_every_step_is_named(smoke: Smoke) -> None:
    assert [step.split(" ")[0] for step in smoke.steps] == [
        "bundle",
        "tools",
        "resources",
        "Kotlin",
        "dex",
        "align",
    ]


def test_neither_litert_nor_r_is_packaged(smoke: Smoke) -> None:
    defined = read_dex(smoke.apk, smoke.tools, ("dev/mobileexport/",)).defined
    assert "dev/mobileexport/core/TextClassifier" in defined
    assert "kotlin/Unit" in defined
    assert not [name for name in defined if name.startswith("com/google/ai/edge/litert/")]
    assert not [name for name in defined if name.endswith(("/R", "/R$id", "/R$layout"))]


def test_the_bundle_lies_in_it_byte_for_byte(smoke: Smoke, bundle_folder: Path) -> None:
    with zipfile.ZipFile(smoke.apk) as archive:
        names = [n for n in archive.namelist() if n.startswith("assets/")]
        assert "assets/bundle/model.tflite" in names
        for name in names:
            original = bundle_folder / name.removeprefix("assets/bundle/")
            assert archive.read(name) == original.read_bytes()


def test_sources_that_do_not_compile_leave_the_old_apk(
    smoke: Smoke, bundle_folder: Path, tmp_path: Path
) -> None:
    main = shutil.copytree(MAIN, tmp_path / "main", ignore=shutil.ignore_patterns("assets"))
    (main / "kotlin" / "Broken.kt").write_text("fun f(): Int = R.string.app_name.length\n")
    out = tmp_path / "out" / "app.apk"
    out.parent.mkdir()
    out.write_bytes(b"the old one")
    with pytest.raises(CompileError, match=r"Broken\.kt:1"):
        build_apk(bundle_folder, out, nullcontext, main=main)
    assert out.read_bytes() == b"the old one"
    assert [p.name for p in out.parent.iterdir()] == ["app.apk"]


def test_resources_that_do_not_link_are_quoted(
    smoke: Smoke, bundle_folder: Path, tmp_path: Path
) -> None:
    main = shutil.copytree(MAIN, tmp_path / "main", ignore=shutil.ignore_patterns("assets"))
    (main / "res" / "values" / "odd.xml").write_text(
        '<resources><string name="odd">@string/nowhere</string></resources>', encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"aapt2 failed.*nowhere"):
        build_apk(bundle_folder, tmp_path / "app.apk", nullcontext, main=main)


def test_a_changed_bundle_is_refused_before_anything_is_built(
    bundle_folder: Path, tmp_path: Path, smoke: Smoke
) -> None:
    bundle = shutil.copytree(bundle_folder, tmp_path / "bundle")
    with (bundle / "labels.txt").open("ab") as stream:
        stream.write(b"\n")
    with pytest.raises(BundleError, match=r"labels\.txt"):
        build_apk(bundle, tmp_path / "out" / "app.apk", nullcontext)
    assert list((tmp_path / "out").iterdir()) == []


def test_settings_are_read_from_gradles_own_file(tmp_path: Path) -> None:
    settings = read_app_settings()
    assert settings.namespace == settings.application_id == "dev.mobileexport.demo"
    assert int(settings.min_sdk) >= 26
    changed = tmp_path / "build.gradle.kts"
    text = GRADLE.read_text(encoding="utf-8")
    changed.write_text(text.replace("minSdk = ", "minSdk = base + "), encoding="utf-8")
    with pytest.raises(UserError, match="no line minSdk"):
        read_app_settings(changed)
