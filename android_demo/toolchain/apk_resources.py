"""The app's resources, manifest and assets, linked by aapt2 as Gradle would have it done."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from android_demo.toolchain.assets import FORMAT
from android_demo.toolchain.debian_tools import AndroidTools
from android_demo.toolchain.projects import DEMO
from runtime.errors import UserError

MAIN = DEMO / "app" / "src" / "main"
GRADLE = DEMO / "app" / "build.gradle.kts"


@dataclass(frozen=True, slots=True)
class AppSettings:
    """What Gradle puts into the manifest, read from ``app/build.gradle.kts``."""

    namespace: str
    application_id: str
    min_sdk: str
    target_sdk: str
    version_code: str
    version_name: str


@dataclass(frozen=True, slots=True)
class Linked:
    """An APK without code, and the text of R.java, which numbers its resources."""

    apk: Path
    r_java: str


def read_app_settings(gradle: Path = GRADLE) -> AppSettings:
    """The literals of the app's Gradle file.

    Raises:
        UserError: one is not there as a plain literal.
    """
    text = gradle.read_text(encoding="utf-8")

    def literal(name: str) -> str:
        found = re.search(rf'^\s*{name} = "?([\w.]+)"?\s*$', text, re.MULTILINE)
        if found is None:
            raise UserError(f"{gradle} has no line {name} = …", why="it must be a plain literal")
        return found[1]

    names = ("namespace", "applicationId", "minSdk", "targetSdk", "versionCode", "versionName")
    return AppSettings(*map(literal, names))


def link_resources(
    main: Path, settings: AppSettings, tools: AndroidTools, work: Path, assets: Path | None = None
) -> Linked:
    """Compile and link.

    Args:
        main: the app's ``src/main``.
        settings: for the manifest.
        tools: for aapt2.
        work: an empty folder for what is written.
        assets: a folder whose content becomes ``assets/``.

    Raises:
        UserError: aapt2's first words of complaint.
    """
    compiled, apk, manifest = (
        work / name for name in ("resources.zip", "base.apk", "AndroidManifest.xml")
    )
    tools.run("aapt2", "compile", "--dir", main / "res", "-o", compiled)
    text = (main / "AndroidManifest.xml").read_text(encoding="utf-8")
    # Gradle adds this, too; aapt2 insists on it.
    text = re.sub(r"<manifest(?=\s)", f'<manifest package="{settings.namespace}"', text, count=1)
    manifest.write_text(text, encoding="utf-8")
    arguments: list[str | Path] = ["link", "-I", tools.framework, "--manifest", manifest]
    arguments += ["--min-sdk-version", settings.min_sdk]
    arguments += ["--target-sdk-version", settings.target_sdk]
    arguments += ["--version-code", settings.version_code]
    arguments += ["--version-name", f"{settings.version_name}-smoke"]
    arguments += ["--java", work / "gen", "-o", apk]
    if settings.application_id != settings.namespace:
        arguments += ["--rename-manifest-package", settings.application_id]
    if assets is not None:
        # Without the dot aapt2 compresses the model and does not say so.
        arguments += ["-A", assets, "-0", f".{FORMAT}"]
    tools.run("aapt2", *arguments, compiled)
    r_java = work / "gen" / Path(*settings.namespace.split("."), "R.java")
    return Linked(apk, r_java.read_text(encoding="utf-8"))
