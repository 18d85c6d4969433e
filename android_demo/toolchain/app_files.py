"""Compares the app's code with its resources and its manifest, as a build without R would not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from runtime.errors import UserError

_ANDROID = "{http://schemas.android.com/apk/res/android}"
_COMPONENTS = ("activity", "service", "receiver", "provider")
# Of a resource's folder; night or de alone would leave the others without it.
_EVERYWHERE = ("", "anydpi")
_CODE = re.compile(r"(?<![\w.])R\.(\w+)\.(\w+)")
_XML = re.compile(r"@\+?(\w+)/([\w.]+)")
_NEW_ID = re.compile(r"@\+id/(\w+)")
# %1$s, %2$d: a string is filled with as many arguments as the highest number says.
_PLACEHOLDER = re.compile(r"%(\d+)\$")


def app_problems(app: Path, namespace: str) -> list[str]:
    """What the app's code, resources and manifest say of each other and is not so.

    Args:
        app: the Gradle module's folder.
        namespace: package of its R class.

    Returns:
        One sentence each, the file first; empty if all is well.

    Raises:
        UserError: an XML file cannot be parsed.
    """
    main = app / "src" / "main"
    present = _resources(main / "res")
    return [
        *_missing(app, present),
        *_unused(app, present),
        *_component_problems(main, namespace),
        *_format_problems(main / "res"),
    ]


def _resources(res: Path) -> set[tuple[str, str]]:
    """(type, name) of every resource that all devices have, ids that layouts make included."""
    found = set()
    for file in sorted(res.rglob("*.xml")):
        kind, _, qualifier = file.parent.name.partition("-")
        if qualifier not in _EVERYWHERE:
            continue
        root = _parse(file)
        if kind == "values":
            found |= {(element.tag, str(element.get("name"))) for element in root}
        else:
            found.add((kind, file.stem))
        found |= {("id", name) for name in _NEW_ID.findall(file.read_text(encoding="utf-8"))}
    return found


def _references(app: Path) -> Iterator[tuple[Path, str, str]]:
    for file in sorted(app.glob("src/*/kotlin/**/*.kt")):
        text = file.read_text(encoding="utf-8")
        yield from ((file, kind, name) for kind, name in _CODE.findall(text))
    for file in sorted((app / "src" / "main").rglob("*.xml")):
        text = file.read_text(encoding="utf-8")
        yield from ((file, kind, name) for kind, name in _XML.findall(text))


def _missing(app: Path, present: set[tuple[str, str]]) -> Iterator[str]:
    for file, kind, name in _references(app):
        if (kind, name) not in present:
            yield f"{file.relative_to(app)}: there is no {kind} {name} among the resources"


def _unused(app: Path, present: set[tuple[str, str]]) -> Iterator[str]:
    used = {(kind, name) for _, kind, name in _references(app)}
    for kind, name in sorted(present - used):
        if kind in ("string", "color", "layout", "drawable"):
            yield f"src/main/res: the {kind} {name} is used nowhere"


def _component_problems(main: Path, namespace: str) -> Iterator[str]:
    manifest = _parse(main / "AndroidManifest.xml")
    if manifest.get("package") or manifest.find("uses-sdk") is not None:
        yield "AndroidManifest.xml: package and uses-sdk belong to build.gradle.kts"
    for tag in _COMPONENTS:
        for component in manifest.iter(tag):
            name = str(component.get(f"{_ANDROID}name"))
            full = f"{namespace}{name}" if name.startswith(".") else name
            package, _, simple = full.rpartition(".")
            file = main / "kotlin" / Path(*package.split(".")) / f"{simple}.kt"
            declared = rf"^(public )?class {re.escape(simple)}\b"
            if not file.is_file() or not re.search(declared, file.read_text("utf-8"), re.MULTILINE):
                yield f"AndroidManifest.xml: there is no public class {full} in the app's code"
            if component.find("intent-filter") is not None and not component.get(
                f"{_ANDROID}exported"
            ):
                yield f"AndroidManifest.xml: {name} has an intent filter and no android:exported"


def _format_problems(res: Path) -> Iterator[str]:
    """A translation, or another variant, that takes other arguments than the first."""
    arguments: dict[str, set[str]] = {}
    for file in sorted(res.glob("values*/*.xml")):
        for element in _parse(file).iter("string"):
            text = "".join(element.itertext())
            places = set(_PLACEHOLDER.findall(text))
            name = str(element.get("name"))
            if re.search(r"%[sdf]", text):
                yield f"{file.name}: {name} has a placeholder without a number"
            if arguments.setdefault(name, places) != places:
                yield f"{file.parent.name}/{file.name}: {name} takes other arguments than values/"


def _parse(file: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(file).getroot()  # noqa: S314  our own files
    except (ElementTree.ParseError, OSError) as error:
        raise UserError(f"{file} cannot be read", why=str(error)) from error
