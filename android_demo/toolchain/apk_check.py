"""Reads an APK and says, point by point, whether it is what it has to be.

Nothing of the build is trusted: the file itself is read, with Android's tools and as a zip file.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from android_demo.toolchain.android_classes import (
    JAVA_FLAGS,
    AppClasses,
    class_names,
    compile_app,
)
from android_demo.toolchain.apk_resources import (
    MAIN,
    AppSettings,
    link_resources,
    read_app_settings,
)
from android_demo.toolchain.assets import FORMAT
from android_demo.toolchain.debian_tools import AndroidTools, complaint
from android_demo.toolchain.dex_report import read_dex
from android_demo.toolchain.downloads import Say, quiet
from android_demo.toolchain.kotlin import KotlinTools
from android_demo.toolchain.pages import page_problems
from runtime.bundle import MANIFEST
from runtime.errors import UserError
from runtime.files import sha256_of
from runtime.manifest import ArtifactSpec, FileSpec, Manifest
from runtime.provisioning.tools import run_tool

PACKAGES = ("dev/mobileexport/",)
_TESTS = ("org/junit/", "junit/", "androidx/test/", "org/hamcrest/")
_ASSETS = "assets/bundle/"
_ACTIONS = ("android.intent.action.MAIN", "android.intent.action.SEND")
_LOCAL_HEADER = struct.Struct("<26xHH")
_SIGNATURES = re.compile(r"^Verified using (v[23]) scheme .*: (true|false)$", re.MULTILINE)
_NAME = re.compile(r':name\(0x01010003\)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Check:
    """One point.

    Attributes:
        found: what was seen, for the table.
        problems: what is wrong; none if the point holds.
    """

    name: str
    found: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expected:
    """What the APK has to agree with.

    Attributes:
        settings: of the app's Gradle file.
        classes: compiled from the sources.
        bundle: the bundle that it should carry; None to take whichever it carries.
    """

    settings: AppSettings
    classes: AppClasses
    bundle: Path | None = None


def expected_from_sources(
    kotlin: KotlinTools,
    tools: AndroidTools,
    bundle: Path | None = None,
    say: Say = quiet,
    *,
    main: Path = MAIN,
) -> Expected:
    """What an APK of the sources as they are now would hold; compiles what has changed.

    Raises:
        UserError: the sources do not compile.
    """
    settings = read_app_settings()
    with tempfile.TemporaryDirectory(prefix="mobile-export-apk-") as work:
        r_java = link_resources(main, settings, tools, Path(work)).r_java
    return Expected(settings, compile_app(r_java, kotlin, tools, say, app=main / "kotlin"), bundle)


def check_apk(apk: Path, expected: Expected, java: Path, tools: AndroidTools) -> tuple[Check, ...]:
    """All points, in the order of a reader's interest.

    Raises:
        UserError: the file is not a zip file, or a tool cannot be run at all.
    """
    if not apk.is_file():
        raise UserError(f"{apk} is not there", todo="build it with: make apk BUNDLE=…")
    try:
        with zipfile.ZipFile(apk) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{apk} is not an APK", why=str(error)) from error
    return (
        _signature(apk, java, tools),
        *_manifest(apk, expected.settings, tools),
        _stored(apk, entries),
        _libraries(apk, entries),
        _assets(apk, entries, expected.bundle),
        _classes(apk, expected.classes, tools),
    )


def _signature(apk: Path, java: Path, tools: AndroidTools) -> Check:
    done = run_tool(
        str(java),
        *JAVA_FLAGS,
        *("-cp", tools.apksigner, "com.android.apksigner.ApkSignerTool", "verify", "--verbose"),
        apk,
    )
    schemes = dict(_SIGNATURES.findall(done.stdout))
    problems = []
    if done.returncode:
        problems.append(f"the signature is not valid: {complaint(done)}")
    else:
        problems = [f"no {s} signature" for s in ("v2", "v3") if schemes.get(s) != "true"]
    signed = ", ".join(s for s, valid in schemes.items() if valid == "true") or "none"
    return Check("signature", signed, tuple(problems))


def _manifest(apk: Path, settings: AppSettings, tools: AndroidTools) -> tuple[Check, ...]:
    done = tools.start("aapt2", "dump", "badging", apk)
    badging, tree = (
        done.stdout,
        tools.start("aapt2", "dump", "xmltree", "--file", "AndroidManifest.xml", apk),
    )
    if done.returncode or tree.returncode:
        broken = (f"aapt2 cannot read it: {complaint(done)}",)
        return (Check("manifest", "unreadable", broken),)
    wanted = {
        "package: name=": settings.application_id,
        "sdkVersion:": settings.min_sdk,
        "targetSdkVersion:": settings.target_sdk,
        "launchable-activity: name=": f"{settings.namespace}.MainActivity",
    }
    problems = []
    seen = []
    for key, value in wanted.items():
        match = re.search(rf"^{re.escape(key)}'([^']*)'", badging, re.MULTILINE)
        found = match[1] if match else "nothing"
        seen.append(found)
        if found != value:
            problems.append(f"{key.split(':')[0]} is {found}, not {value}")
    asked = re.findall(r"^uses-permission[^:]*: name='([^']*)'", badging, re.MULTILINE)
    return (
        Check("manifest", ", ".join(seen), tuple(problems)),
        Check(
            "permissions",
            ", ".join(asked) or "none",
            tuple(f"it asks for {permission}" for permission in asked),
        ),
        _components(tree.stdout, badging),
    )


def _components(tree: str, badging: str) -> Check:
    """One activity that others may start, by its icon and by sharing a text."""
    elements = re.split(r"^ *E: ", tree, flags=re.MULTILINE)
    kinds = Counter(element.split(" ", 1)[0] for element in elements)
    actions = [m[1] for e in elements if e.startswith("action ") and (m := _NAME.search(e))]
    problems = [f"no intent filter has {action}" for action in _ACTIONS if action not in actions]
    problems += [
        f"unexpected: {kind}" for kind in ("service", "receiver", "provider") if kinds[kind]
    ]
    if kinds["activity"] != 1:
        problems.append(f"{kinds['activity']} activities, not 1")
    if '"text/plain"' not in tree:
        problems.append("it does not take text/plain")
    if "application-debuggable" in badging:
        problems.append("it is debuggable")
    shown = ", ".join(action.rsplit(".", 1)[-1] for action in actions) or "none"
    return Check("intents", shown, tuple(problems))


def _stored(apk: Path, entries: list[zipfile.ZipInfo]) -> Check:
    """Android maps what is stored; it can do so only if that begins on a multiple of 4."""
    problems = []
    names = Counter(entry.filename for entry in entries)
    problems += [f"{name} is in it {n} times" for name, n in names.items() if n > 1]
    models = [e for e in entries if e.filename.endswith(f".{FORMAT}")]
    must = [*models, *(e for e in entries if e.filename == "resources.arsc")]
    problems += [
        f"{e.filename} is compressed" for e in must if e.compress_type != zipfile.ZIP_STORED
    ]
    if not models:
        problems.append("there is no model in it")
    seen = []
    with apk.open("rb") as stream:
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED:
                continue
            stream.seek(entry.header_offset)
            name_length, extra_length = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
            offset = entry.header_offset + _LOCAL_HEADER.size + name_length + extra_length
            if offset % 4:
                problems.append(f"{entry.filename} begins at byte {offset}, not a multiple of 4")
            if entry in models:
                seen.append(f"{Path(entry.filename).name} at {offset:,}")
    return Check("stored and aligned", ", ".join(seen) or "no model", tuple(problems))


def _libraries(apk: Path, entries: list[zipfile.ZipInfo]) -> Check:
    """Of a smoke build there are none; whatever is added must fit pages of 16 KB."""
    found = [entry.filename for entry in entries if entry.filename.startswith("lib/")]
    return Check("native libraries", ", ".join(found) or "none", tuple(page_problems(apk)))


def _assets(apk: Path, entries: list[zipfile.ZipInfo], bundle: Path | None) -> Check:
    with zipfile.ZipFile(apk) as archive:
        present = {e.filename: e for e in entries if e.filename.startswith("assets/")}
        name = f"{_ASSETS}{MANIFEST}"
        if name not in present:
            return Check("assets", "no bundle", (f"{name} is missing",))
        try:
            raw = archive.read(name)
            manifest = Manifest.from_json(json.loads(raw))
            problems = _compare(archive, present, manifest)
        except (UserError, ValueError, zipfile.BadZipFile) as error:
            return Check("assets", "unreadable", (str(error),))
    if bundle is not None and hashlib.sha256(raw).hexdigest() != sha256_of(bundle / MANIFEST):
        problems.append(f"its manifest is not that of {bundle}")
    gates = ", ".join(f"{a.path} {a.gate}" for a in manifest.artifacts if a.format == FORMAT)
    return Check("assets", f"{manifest.name}: {len(present)} files, {gates}", tuple(problems))


def _compare(
    archive: zipfile.ZipFile, present: dict[str, zipfile.ZipInfo], manifest: Manifest
) -> list[str]:
    promised: list[FileSpec | ArtifactSpec] = [*manifest.files]
    promised += [a for a in manifest.artifacts if a.format == FORMAT]
    problems = []
    for entry in promised:
        name = f"{_ASSETS}{entry.path}"
        if name not in present:
            problems.append(f"{name} is missing")
            continue
        with archive.open(present[name]) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
        if digest != entry.sha256:
            problems.append(f"{name} is not the file that the manifest describes")
    known = {f"{_ASSETS}{entry.path}" for entry in promised} | {f"{_ASSETS}{MANIFEST}"}
    return problems + [f"{name} is not in the manifest" for name in sorted(set(present) - known)]


def _classes(apk: Path, classes: AppClasses, tools: AndroidTools) -> Check:
    """Every class of ours is there, and so is every class that they name."""
    report = read_dex(apk, tools, PACKAGES)
    defined = Counter(report.defined)
    own = class_names(classes.core) | class_names(classes.app)
    litert = class_names(classes.litert)
    with zipfile.ZipFile(tools.android_jar) as jar:
        android = {name.removesuffix(".class") for name in jar.namelist()}
    problems = [f"the class {name} is missing" for name in sorted(own - set(defined))]
    problems += [f"the class {name} is in it {n} times" for name, n in defined.items() if n > 1]
    problems += [
        f"the class {name} is not of the app's sources"
        for name in sorted(defined)
        if (name.startswith(PACKAGES) and name not in own) or name.startswith(_TESTS)
    ]
    problems += [
        f"{user} needs the class {name}, which is neither in the APK nor in Android"
        for user, names in sorted(report.referenced.items())
        for name in sorted(names - set(defined) - android - litert)
    ]
    found = f"{len(own & set(defined))} of {len(own)} own, {len(report.defined)} in all"
    return Check("classes", found, tuple(problems))
