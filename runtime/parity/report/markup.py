"""HTML and SVG that is escaped by construction, and texts made fit to be shown.

A string becomes markup only through `element`, which escapes it; whatever a text, a label or a file
name holds, it stays text. Characters that XML forbids or that nobody can see become escapes, so a
page is also well-formed XML and can always be written as UTF-8.
"""

from __future__ import annotations

import html
import re
import unicodedata

VOID = frozenset({"br", "hr", "input", "link", "meta", "circle", "line", "path", "rect"})

# Control, format (bidi marks and joiners too), surrogate, private use, unassigned, and separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
# What XML 1.0 forbids or advises against: controls, lone surrogates, and what is no character.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane * 0x10000 + end) for plane in range(17) for end in (0xFFFE, 0xFFFF))
    + "]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_HEAD, _TAIL = 160, 40


class Html(str):
    """Markup that needs no more escaping."""

    __slots__ = ()


def element(name: str, /, *children: str | None, **attributes: str | float | bool | None) -> Html:
    """One element.

    Args:
        name: of the tag.
        children: markup, or texts to be escaped; None is left out.
        attributes: a trailing ``_`` is dropped and other ``_`` become ``-``; None and False leave
            an attribute out, and True repeats its name as XML wants it.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(key.rstrip("_"), value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in VOID and not any(children):
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str | None) -> Html:
    """Markup one after the other, escaping what is not markup yet."""
    return Html("".join(_safe(child) for child in children if child is not None))


def _safe(child: str) -> str:
    return child if isinstance(child, Html) else html.escape(plain(child))


def _attribute(key: str, value: str | float) -> str:
    if value is True:
        return key
    if isinstance(value, float):
        return repr(value)
    return html.escape(plain(str(value)))


def with_code(text: str) -> Html:
    """A sentence whose parts between backticks are code."""
    parts = text.split("`")
    return join(*(element("code", part) if i % 2 else part for i, part in enumerate(parts)))


def plain(text: str) -> str:
    """`text` with every character that XML 1.0 forbids, or that is no character, as an escape."""
    return _FORBIDDEN.sub(lambda match: escape_code(match[0]), text)


def escape_code(c: str) -> str:
    r"""``\n``, ``\u0000`` or ``\U0001f600``."""
    code = ord(c)
    return _SHORT.get(c) or (f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")


def shown_text(text: str, head: int = _HEAD, tail: int = _TAIL) -> Html:
    """A text of a reference set, safe to look at.

    Unseen characters are shown as marked escapes, a long text keeps `head` characters of its start
    and `tail` of its end, and the whole is isolated, so that no bidi text turns its surroundings.
    """
    if not text:
        return element("i", "empty text", class_="muted")
    if len(text) > head + tail + 20:
        left_out = len(text) - head - tail
        gap = element("span", f" … {left_out:,} characters … ", class_="muted")
        return element("bdi", _marked(text[:head]), gap, _marked(text[-tail:]), class_="text")
    return element("bdi", _marked(text), class_="text")


def _marked(text: str) -> Html:
    """Runs of unseen characters as one marked escape each; long runs of one are counted."""
    parts: list[str] = []
    start = 0
    while start < len(text):
        unseen = _is_unseen(text[start])
        end = start
        while end < len(text) and _is_unseen(text[end]) == unseen:
            end += 1
        run = text[start:end]
        parts.append(element("span", _escapes(run), class_="esc") if unseen else run)
        start = end
    return join(*parts)


def _escapes(run: str) -> str:
    out, start = "", 0
    while start < len(run):
        end = start
        while end < len(run) and run[end] == run[start]:
            end += 1
        code = escape_code(run[start])
        out += f"{code}×{end - start}" if end - start > 3 else code * (end - start)
        start = end
    return out


def _is_unseen(c: str) -> bool:
    return c != " " and unicodedata.category(c) in _UNSEEN
