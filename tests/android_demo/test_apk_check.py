"""Every check is shown a fault of its kind, in an APK that is validly signed otherwise."""

from __future__ import annotations

import dataclasses
import json
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from android_demo.toolchain.apk_check import Check, check_apk
from android_demo.toolchain.apk_resources import MAIN, link_resources, read_app_settings
from android_demo.toolchain.cli import make_app
from android_demo.toolchain.kotlin import Module, compile_module
from runtime.errors import UserError

from apk_support import Smoke, dex_of_classes, smoke_build, spoilt

MODEL = "assets/bundle/model.tflite"


@pytest.fixture(scope="module")
def smoke(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    return smoke_build(bundle_folder, tmp_path_factory.mktemp("apk"))


def _only(checks: dict[str, Check], name: str) -> str:
    """The problems of the one check that fails."""
    assert {n: check.problems for n, check in checks.items() if check.problems}.keys() == {name}
    return "; ".join(checks[name].problems)


def test_a_copy_that_is_signed_again_has_no_fault(smoke: Smoke, tmp_path: Path) -> None:
    checks = smoke.check(spoilt(smoke, tmp_path, {}))
    assert not [check for check in checks.values() if check.problems]


def test_a_compressed_model(smoke: Smoke, tmp_path: Path) -> None:
    apk = spoilt(smoke, tmp_path, {}, compress=(MODEL, "resources.arsc"))
    said = _only(smoke.check(apk), "stored and aligned")
    assert f"{MODEL} is compressed" in said
    assert "resources.arsc is compressed" in said


def test_a_model_at_an_odd_offset(smoke: Smoke, tmp_path: Path) -> None:
    odd = tmp_path / "odd.apk"
    with zipfile.ZipFile(smoke.apk) as old, zipfile.ZipFile(odd, "w") as new:
        for entry in old.infolist():
            info = zipfile.ZipInfo(entry.filename)
            info.compress_type = entry.compress_type
            if entry.filename == MODEL:
                here = new.start_dir + 30 + len(MODEL) + 6
                info.extra = struct.pack("<HH", 0xD935, 2 + (3 - here % 4)) + b"\0" * (
                    2 + (3 - here % 4)
                )
            new.writestr(info, old.read(entry))
    checks = smoke.check(odd)
    assert "not a multiple of 4" in "; ".join(checks["stored and aligned"].problems)


def test_a_native_library_that_cannot_be_mapped(smoke: Smoke, tmp_path: Path) -> None:
    library = next(smoke.tools.programs.glob("lib/*/libexpat.so.1")).read_bytes()
    apk = spoilt(smoke, tmp_path, {"lib/x86_64/libexpat.so": library})
    said = _only(smoke.check(apk), "native libraries")
    assert "lib/x86_64/libexpat.so is compressed" in said


def test_a_changed_asset(smoke: Smoke, tmp_path: Path) -> None:
    said = _only(
        smoke.check(spoilt(smoke, tmp_path, {"assets/bundle/labels.txt": b"a\nb\nc\n"})), "assets"
    )
    assert said == "assets/bundle/labels.txt is not the file that the manifest describes"


def test_a_missing_and_an_additional_asset(smoke: Smoke, tmp_path: Path) -> None:
    apk = spoilt(smoke, tmp_path, {"assets/bundle/vocab.txt": None, "assets/secret.txt": b"x"})
    said = _only(smoke.check(apk), "assets")
    assert "assets/bundle/vocab.txt is missing" in said
    assert "assets/secret.txt is not in the manifest" in said


def test_a_manifest_of_an_unknown_version(smoke: Smoke, tmp_path: Path) -> None:
    with zipfile.ZipFile(smoke.apk) as archive:
        manifest = json.loads(archive.read("assets/bundle/manifest.json"))
    manifest["schema_version"] = 9
    changed = {"assets/bundle/manifest.json": json.dumps(manifest).encode()}
    said = _only(smoke.check(spoilt(smoke, tmp_path, changed)), "assets")
    assert "schema version 9" in said


def test_another_bundle_than_the_one_that_was_asked_for(smoke: Smoke, tmp_path: Path) -> None:
    assert smoke.expected.bundle is not None
    (tmp_path / "manifest.json").write_bytes(
        (smoke.expected.bundle / "manifest.json").read_bytes() + b"\n"
    )
    expected = dataclasses.replace(smoke.expected, bundle=tmp_path)
    checks = {c.name: c for c in check_apk(smoke.apk, expected, smoke.kotlin.java, smoke.tools)}
    assert "its manifest is not that of" in _only(checks, "assets")


def test_libraries_that_are_missing(smoke: Smoke, tmp_path: Path) -> None:
    said = _only(smoke.check(spoilt(smoke, tmp_path, {"classes2.dex": None})), "classes")
    assert "needs the class kotlin/jvm/internal/Intrinsics, which is neither" in said
    assert "dev/mobileexport/demo/MainActivity is missing" not in said


def test_a_class_of_ours_that_is_missing(smoke: Smoke, tmp_path: Path) -> None:
    without = shutil.copytree(smoke.expected.classes.core, tmp_path / "classes")
    shutil.copytree(smoke.expected.classes.app, without, dirs_exist_ok=True)
    (without / "dev/mobileexport/core/TextClassifier.class").unlink()
    (tmp_path / "dex").mkdir()
    code = dex_of_classes(without, tmp_path / "dex")
    said = _only(smoke.check(spoilt(smoke, tmp_path, {"classes.dex": code})), "classes")
    assert "the class dev/mobileexport/core/TextClassifier is missing" in said
    assert "needs the class dev/mobileexport/core/TextClassifier, which is neither" in said


def test_a_test_class_that_is_packaged(smoke: Smoke, tmp_path: Path) -> None:
    source = tmp_path / "SampleTest.kt"
    source.write_text("package dev.mobileexport.core\n\npublic class SampleTest\n")
    module = Module("packaged-test", (source,), jvm_target="1.8")
    classes = compile_module(module, smoke.kotlin)
    (tmp_path / "dex").mkdir()
    code = dex_of_classes(classes, tmp_path / "dex")
    said = _only(smoke.check(spoilt(smoke, tmp_path, {"classes3.dex": code})), "classes")
    assert said == "the class dev/mobileexport/core/SampleTest is not of the app's sources"


def test_no_signature(smoke: Smoke, tmp_path: Path) -> None:
    spoilt(smoke, tmp_path, {})
    said = _only(smoke.check(tmp_path / "aligned.apk"), "signature")
    assert "the signature is not valid" in said


def test_a_byte_that_was_changed_after_signing(smoke: Smoke, tmp_path: Path) -> None:
    data = bytearray(smoke.apk.read_bytes())
    with zipfile.ZipFile(smoke.apk) as archive:
        entry = archive.getinfo(MODEL)
    data[entry.header_offset + 30 + len(MODEL) + entry.file_size // 2] ^= 1
    tampered = tmp_path / "tampered.apk"
    tampered.write_bytes(data)
    checks = smoke.check(tampered)
    assert "the signature is not valid" in "; ".join(checks["signature"].problems)
    assert checks["assets"].problems


def test_a_manifest_that_asks_for_more(smoke: Smoke, tmp_path: Path) -> None:
    main = tmp_path / "main"
    shutil.copytree(MAIN / "res", main / "res")
    text = (MAIN / "AndroidManifest.xml").read_text(encoding="utf-8")
    text = text.replace("android.intent.action.SEND", "android.intent.action.VIEW")
    text = text.replace(
        "<application",
        '<uses-permission android:name="android.permission.INTERNET" />\n<application',
    )
    text = text.replace("</application>", '<service android:name=".Spy" /></application>')
    (main / "AndroidManifest.xml").write_text(text, encoding="utf-8")
    settings = dataclasses.replace(read_app_settings(), target_sdk="29")
    (tmp_path / "work").mkdir()
    linked = link_resources(main, settings, smoke.tools, tmp_path / "work")
    with zipfile.ZipFile(linked.apk) as archive:
        binary = archive.read("AndroidManifest.xml")

    checks = smoke.check(spoilt(smoke, tmp_path, {"AndroidManifest.xml": binary}))

    assert checks["manifest"].problems == ("targetSdkVersion is 29, not 36",)
    assert checks["permissions"].problems == ("it asks for android.permission.INTERNET",)
    assert checks["intents"].problems == (
        "no intent filter has android.intent.action.SEND",
        "unexpected: service",
    )


def test_the_command_has_an_exit_status_and_says_every_problem(
    smoke: Smoke, tmp_path: Path
) -> None:
    runner, app, bundle = CliRunner(), make_app(), str(smoke.expected.bundle)
    good = runner.invoke(app, ["apk-check", str(smoke.apk), "--bundle", bundle])
    assert good.exit_code == 0
    apk = spoilt(smoke, tmp_path, {"assets/bundle/vocab.txt": None}, compress=(MODEL,))
    bad = runner.invoke(app, ["apk-check", str(apk)])
    assert bad.exit_code == 1
    assert "PASS: all 8 checks hold" in good.stdout
    assert f"stored and aligned: {MODEL} is compressed" in bad.stderr
    assert "assets: assets/bundle/vocab.txt is missing" in bad.stderr


def test_what_is_no_apk_at_all(smoke: Smoke, tmp_path: Path) -> None:
    file = tmp_path / "x.apk"
    with pytest.raises(UserError, match="is not there"):
        smoke.check(file)
    file.write_bytes(b"PK but not really")
    with pytest.raises(UserError, match="is not an APK"):
        smoke.check(file)
