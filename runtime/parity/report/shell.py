"""What every page of ours is wrapped in: it stands alone and fetches nothing."""

from __future__ import annotations

from runtime.parity.report.markup import Html, element
from runtime.parity.report.style import STYLE

# Should escaping ever fail: no script runs and nothing is fetched.
NO_SCRIPT = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def whole_page(title: str, *body: Html, style: str = "", policy: str = NO_SCRIPT) -> str:
    """A document that can be written as UTF-8.

    Args:
        title: text, not markup.
        body: what stands in the body.
        style: CSS after the house's.
        policy: the content security policy.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("link", rel="icon", href="data:,"),
        element("style", Html(STYLE + style)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', *body), lang='en')}\n"
