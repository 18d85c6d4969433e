"""Resources, manifest and code agree, and every check can fail."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from android_demo.toolchain import android_classes
from android_demo.toolchain.apk_resources import GRADLE, read_app_settings
from android_demo.toolchain.app_files import app_problems
from android_demo.toolchain.projects import DEMO
from runtime import processor
from runtime.errors import UserError

NAMESPACE = read_app_settings().namespace
CODE = "src/main/kotlin/dev/mobileexport/demo"
RES = "src/main/res"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    shutil.copytree(DEMO / "app" / "src", tmp_path / "src", ignore=shutil.ignore_patterns("assets"))
    return tmp_path


def test_the_app_is_consistent() -> None:
    assert app_problems(DEMO / "app", NAMESPACE) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        (
            f"{CODE}/Screen.kt",
            "R.string.no_label",
            "R.string.no_labels",
            "there is no string no_labels",
        ),
        (f"{CODE}/Screen.kt", "R.id.headline", "R.id.head", "there is no id head"),
        (
            f"{CODE}/MainActivity.kt",
            "R.layout.activity_main",
            "R.layout.main",
            "there is no layout main",
        ),
        (f"{RES}/layout/row_label.xml", "@+id/percent", "@+id/share", "there is no id percent"),
        (f"{RES}/layout/activity_main.xml", "@id/text", "@id/texts", "there is no id texts"),
        (f"{RES}/values/themes.xml", "Theme.Demo", "Theme.Other", "no style Theme.Demo"),
        (f"{RES}/values/colors.xml", "brand_night", "brand_dark", "there is no color brand_night"),
        (
            "src/main/AndroidManifest.xml",
            "@style/Theme.Demo",
            "@style/Theme.Dem",
            "no style Theme.Dem",
        ),
        (
            "src/main/AndroidManifest.xml",
            ".MainActivity",
            ".Main",
            "no public class dev.mobileexport.demo.Main",
        ),
        (
            f"{CODE}/MainActivity.kt",
            "class MainActivity",
            "internal class MainActivity",
            "no public class",
        ),
        ("src/main/AndroidManifest.xml", 'android:exported="true"', "", "no android:exported"),
        (
            "src/main/AndroidManifest.xml",
            "<application",
            '<uses-sdk android:minSdkVersion="21" /><application',
            "belong to build.gradle.kts",
        ),
        (
            f"{RES}/values/strings.xml",
            "</resources>",
            '<string name="old">x</string></resources>',
            "the string old is used nowhere",
        ),
        (f"{RES}/values/strings.xml", "%1$s refused", "%s refused", "placeholder without a number"),
    ],
)
def test_a_planted_fault_is_found(app: Path, file: str, old: str, new: str, sentence: str) -> None:
    text = (app / file).read_text(encoding="utf-8")
    assert old in text
    (app / file).write_text(text.replace(old, new), encoding="utf-8")
    found = app_problems(app, NAMESPACE)
    assert any(sentence in problem for problem in found), found


def test_a_variant_with_other_arguments_is_found(app: Path) -> None:
    german = app / RES / "values-de" / "strings.xml"
    german.parent.mkdir()
    german.write_text(
        '<resources><string name="row_spoken">%1$s</string></resources>', encoding="utf-8"
    )
    assert app_problems(app, NAMESPACE) == [
        "values-de/strings.xml: row_spoken takes other arguments than values/"
    ]


def test_broken_xml_is_a_sentence(app: Path) -> None:
    (app / RES / "values" / "colors.xml").write_text("<resources>", encoding="utf-8")
    with pytest.raises(UserError, match=r"colors\.xml cannot be read"):
        app_problems(app, NAMESPACE)


def test_the_device_is_described_as_the_gate_describes_machines() -> None:
    """Limits are found by architecture, and results of unlike processors are kept apart."""
    source = next((DEMO / "app" / "src" / "androidTest").rglob("Device.kt")).read_text("utf-8")
    features = source.partition("FEATURES =")[2].partition(")")[0]
    assert tuple(re.findall(r'"(\w+)"', features)) == processor._FEATURES
    names = dict(re.findall(r'"([\w-]+)" to "(\w+)"', source.partition("ARCHITECTURES =")[2]))
    abis = re.findall(r'"([\w-]+)"', GRADLE.read_text("utf-8").partition("abiFilters +=")[2])[:2]
    assert abis == ["arm64-v8a", "x86_64"]
    assert [names.get(abi, abi) for abi in abis] == list(map(processor.architecture_of, abis))


def test_dex_is_made_for_the_same_android_as_the_manifest_says() -> None:
    source = Path(android_classes.__file__).read_text("utf-8")
    assert f'"--min-sdk-version={read_app_settings().min_sdk}"' in source
