"""Builds an APK without Gradle and without anything from Google's registry: a smoke build.

It proves that the sources compile for Android, that resources, manifest and assets fit together,
and that the model lies in the APK as the app needs it. It cannot classify on a phone: LiteRT's
library cannot be had here, and its classes are not in it. Android Studio builds the real one.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from android_demo.toolchain.android_classes import (
    JAVA_FLAGS,
    compile_app,
    dex,
    libraries_dex,
    run_java,
)
from android_demo.toolchain.apk_resources import (
    MAIN,
    AppSettings,
    link_resources,
    read_app_settings,
)
from android_demo.toolchain.assets import install_bundle
from android_demo.toolchain.debian_tools import AndroidTools, get_android_tools
from android_demo.toolchain.downloads import Say, android_cache, filled, quiet
from android_demo.toolchain.kotlin import KotlinTools, kotlin_tools
from android_demo.toolchain.projects import CORE
from runtime.files import files_below

# The key only says that the build is the same from one day to the next; it protects nothing.
_KEY_WORDS = "android"
_EPOCH = (1980, 1, 1, 0, 0, 0)

Stage = Callable[[str], AbstractContextManager[None]]


def build_apk(
    bundle: Path,
    out: Path,
    stage: Stage,
    *,
    say: Say = quiet,
    allow_failed: bool = False,
    main: Path = MAIN,
) -> None:
    """Build, align, sign and verify an APK that carries a bundle.

    Args:
        bundle: a bundle's folder; verified before and after it is copied.
        out: the APK; it appears whole, or the old one stays.
        stage: wraps every step, told its name.
        say: told of downloads.
        allow_failed: as in `install_bundle`.
        main: the app's ``src/main``.

    Raises:
        UserError: whatever a step says.
    """
    settings = read_app_settings()
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        # First what may be refused, then what has to be fetched.
        with stage("bundle"):
            assets = work / "assets"
            install_bundle(bundle, assets / "bundle", allow_failed=allow_failed)
        with stage("tools"):
            kotlin, tools = kotlin_tools(say), get_android_tools(say)
        with stage("resources (aapt2)"):
            linked = link_resources(main, settings, tools, work, assets)
        with stage("Kotlin"):
            classes = compile_app(linked.r_java, kotlin, tools, say, app=main / "kotlin")
        with stage("dex (dx)"):
            own = dex((classes.core, classes.app), kotlin, tools, work)
            _add(
                linked.apk, {"classes.dex": own, "classes2.dex": libraries_dex(kotlin, tools, say)}
            )
            _add(linked.apk, _java_resources(main))
        with stage("align and sign"):
            aligned, signed = work / "aligned.apk", work / "signed.apk"
            tools.run("zipalign", "-p", "4", linked.apk, aligned)
            sign(aligned, signed, kotlin, tools, settings, say)
        signed.replace(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _java_resources(main: Path) -> dict[str, Path]:
    """Files that the code reads from its class path."""
    found: dict[str, Path] = {}
    for folder in (CORE.parent / "resources", main / "resources"):
        if folder.is_dir():
            found |= {file.relative_to(folder).as_posix(): file for file in files_below(folder)}
    return found


def _add(apk: Path, files: dict[str, Path]) -> None:
    with zipfile.ZipFile(apk, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, file in files.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, file.read_bytes())


def sign(
    apk: Path,
    out: Path,
    kotlin: KotlinTools,
    tools: AndroidTools,
    settings: AppSettings,
    say: Say = quiet,
) -> None:
    """Sign an aligned APK with a throw-away key, by all three schemes.

    Raises:
        UserError: the signer's first words of complaint.
    """
    key = _throw_away_key(kotlin, say)
    signer = "com.android.apksigner.ApkSignerTool"
    program = (*JAVA_FLAGS, "-cp", tools.apksigner, signer, "sign")
    flags = ["--ks", str(key), "--ks-pass", f"pass:{_KEY_WORDS}"]
    flags += [f"--v{number}-signing-enabled=true" for number in (1, 2, 3)]
    flags += ["--v4-signing-enabled=false", "--min-sdk-version", settings.min_sdk]
    run_java(kotlin.java, *program, *flags, "--out", out, apk)


def _throw_away_key(kotlin: KotlinTools, say: Say) -> Path:
    """A key of this machine, made on first use, so that one smoke build installs over another."""

    def fill(new: Path) -> None:
        say("making a throw-away signing key (once)")
        run_java(
            kotlin.java_home / "bin" / "keytool",
            *("-genkeypair", "-keystore", new / "key.p12", "-storetype", "PKCS12"),
            *("-storepass", _KEY_WORDS, "-alias", "smoke", "-keyalg", "RSA", "-keysize", "2048"),
            *("-validity", "10000", "-dname", "CN=mobile-export smoke build"),
        )

    return filled(android_cache() / "smoke-key", {"key": "RSA 2048"}, fill) / "key.p12"
