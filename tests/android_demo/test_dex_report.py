from __future__ import annotations

import zipfile

import pytest

from android_demo.toolchain.dex_report import DexReport, read_dex
from android_demo.toolchain.kotlin import Module, compile_module

from apk_support import all_tools, dex_of_classes

_SOURCE = r"""
package sample

open class Parent
class Named
class Behind
class Element
class Thrown : RuntimeException()
class Unused

interface Signature {
    fun call(count: Int, long: Long, value: Behind): Array<Element>
}

class User : Parent(), Signature {
    override fun call(count: Int, long: Long, value: Behind): Array<Element> = try {
        println("Lsample/NotAClass;")
        arrayOf(Element())
    } catch (thrown: Thrown) {
        println(Named::class.java)
        emptyArray()
    }
}
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> DexReport:
    folder = tmp_path_factory.mktemp("dex")
    kotlin, tools = all_tools()
    source = folder / "Sample.kt"
    source.write_text(_SOURCE, encoding="utf-8")
    classes = compile_module(Module("dex-sample", (source,), jvm_target="1.8"), kotlin)
    apk = folder / "sample.apk"
    with zipfile.ZipFile(apk, "w") as archive:
        archive.writestr("classes.dex", dex_of_classes(classes, folder))
    return read_dex(apk, tools, ("sample/",))


def _of_sample(names: frozenset[str]) -> set[str]:
    return {name.removeprefix("sample/") for name in names if name.startswith("sample/")}


def test_every_class_is_listed_once(report: DexReport) -> None:
    names = ["Behind", "Element", "Named", "Parent", "Signature", "Thrown", "Unused", "User"]
    assert sorted(report.defined) == [f"sample/{name}" for name in names]


def test_references_of_code_signatures_and_parents(report: DexReport) -> None:
    assert _of_sample(report.referenced["sample/User"]) == {
        *("Parent", "Signature", "Behind", "Element", "Thrown", "Named", "User")
    }
    assert "java/lang/String" not in report.referenced["sample/Unused"]


def test_a_class_behind_a_number_in_a_signature_is_seen(report: DexReport) -> None:
    assert {"Behind", "Element"} <= _of_sample(report.referenced["sample/Signature"])


def test_a_text_that_looks_like_a_class_is_none(report: DexReport) -> None:
    assert "sample/NotAClass" not in report.referenced["sample/User"]
