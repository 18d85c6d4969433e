"""The page's sections about tokens: ids, weights, and who looks at whom."""

from __future__ import annotations

import base64
import math

import numpy as np

from export.tracing.document import Floats, TextTrace, TokenStep
from export.tracing.page_parts import section, table
from export.tracing.shown import largest, length_sentence, shown_token, special_share, strengths
from runtime.parity.report.markup import Html, element, join, shown_text

# Weights of attention that the page carries, a byte each: 2 MB as text.
_MOST_CELLS = 1_500_000
_LAST = 2
_LONGEST, _MOST_WORDS = 400, 80
_TOP = 4


def tokens_section(trace: TextTrace) -> Html:
    """The text, its words and its tokens with their ids."""
    chips = [element("li", _chip(token, str(token.id))) for token in trace.tokens]
    words: list[str] = []
    for word in trace.words[:_MOST_WORDS]:
        words += [element("bdi", word[:_LONGEST], class_="text"), " "]
    if len(trace.words) > _MOST_WORDS:
        left_out = f"and {len(trace.words) - _MOST_WORDS:,} more"
        words.append(element("span", left_out, class_="muted"))
    return section(
        "Text to ids",
        element(
            "dl",
            *_pair("normalised", shown_text(trace.normalised, _LONGEST)),
            *_pair("words", join(*words) if words else element("i", "none", class_="muted")),
            *_pair("tokens", length_sentence(trace)),
            class_="pairs",
        ),
        element("ul", *chips, class_="tokens"),
        element(
            "p",
            "Below each token its id. Dashed: special tokens, which stand for no text.",
            class_="muted",
        ),
    )


def _pair(name: str, value: str) -> tuple[Html, Html]:
    return element("dt", name), element("dd", value)


def _chip(token: TokenStep, below: str, tag: str = "span", shade: float = 0.0) -> Html:
    kind = "special" if token.special else "unknown" if token.unknown else ""
    where = "special" if token.special else f"characters {token.start} to {token.end}"
    return element(
        tag,
        element("span", element("bdi", shown_token(token))),
        element("small", below),
        class_=f"tok {kind}".strip(),
        title=f"position {token.position}, {token.token}, id {token.id}, {where}",
        style=f"--w:{shade:.3f}" if shade else None,
        type="button" if tag == "button" else None,
    )


def rollout_section(trace: TextTrace) -> Html:
    """The text shaded by attention rollout, and what each layer looks at."""
    shades = strengths(trace, trace.rollout)
    parts: list[str] = []
    end = 0
    for token in trace.tokens:
        # Bytes of one character come as several tokens with the same text.
        if token.special or token.start < end:
            continue
        parts.append(trace.text[end : token.start])
        end = token.end
        weight = float(trace.rollout[token.position])
        parts.append(
            element(
                "span",
                token.text,
                style=f"--w:{float(shades[token.position]):.3f}",
                title=f"{token.token}: {weight:.1%}",
            )
        )
    share = special_share(trace, trace.rollout)
    rows = [
        element(
            "tr",
            element("th", f"layer {number}", scope="row"),
            element("td", *_named(trace, row)),
        )
        for number, row in enumerate(trace.looked_at, start=1)
    ]
    looker = shown_token(trace.tokens[trace.pooled_position])
    return section(
        "What the classified vector is made of",
        element("p", element("bdi", *parts), class_="shaded") if parts else None,
        element(
            "p",
            "The stronger the colour, the more of the classified vector can have come from there, "
            f"by attention rollout through all layers. {share:.0%} lies on special tokens and is "
            "not drawn.",
            class_="muted",
        ),
        element("h4", f"What {looker} looks at, layer by layer, mean over the heads"),
        table(("", "most"), rows, first_n=9),
    )


def _named(trace: TextTrace, weights: Floats) -> list[str]:
    parts: list[str] = []
    for position in largest(weights, _TOP):
        token = trace.tokens[position]
        name = element("bdi", shown_token(token), class_="text")
        parts += [name, f" {float(weights[position]):.0%}   "]
    return parts


def _kept(trace: TextTrace) -> list[int]:
    """Positions in the heat map: all, or the first ones and the last two of a long sequence."""
    layers, heads, n, _ = trace.attention.shape
    most = max(8, math.isqrt(_MOST_CELLS // (layers * heads)))
    if n <= most:
        return list(range(n))
    return [*range(most - _LAST), *range(n - _LAST, n)]


def attention_section(trace: TextTrace) -> Html:
    """Attention of every layer and head, as a map and on the tokens."""
    kept = _kept(trace)
    layers, heads = trace.attention.shape[:2]
    cells = np.rint(255 * trace.attention[:, :, kept][:, :, :, kept]).astype(np.uint8)
    chosen = [element("option", f"{i + 1}", value=str(i)) for i in range(layers)]
    chosen[-1] = element("option", f"{layers}", value=str(layers - 1), selected=True)
    several = [
        element("option", "mean of all", value="-1", selected=True),
        *(element("option", f"{i + 1}", value=str(i)) for i in range(heads)),
    ]
    left_out = len(trace.tokens) - len(kept)
    note = (
        f" Of {len(trace.tokens)} tokens the first {len(kept) - _LAST} and the last {_LAST} are "
        "shown here; what is looked at beyond them is not."
        if left_out
        else ""
    )
    chips = [element("li", _chip(trace.tokens[position], "", "button")) for position in kept]
    explorer = element(
        "div",
        element(
            "div",
            element("label", "layer", element("select", *chosen, id="layer")),
            element("label", "head", element("select", *several, id="head")),
            class_="controls",
        ),
        element("ul", *chips, class_="tokens"),
        element("p", " ", id="said", aria_live="polite"),
        element("div", element("canvas", " ", id="heat"), class_="map"),
        element("pre", base64.b64encode(cells.tobytes()).decode(), id="cells", hidden=True),
        id="explorer",
        hidden=True,
        data_layers=str(layers),
        data_heads=str(heads),
        data_n=str(len(kept)),
        data_source=str(kept.index(trace.pooled_position)),
    )
    return section(
        "Who looks at whom",
        element(
            "p",
            "Choose a token, or a row of the map: its weights sum to 100%, and shade what it looks "
            "at. Rows look at columns; the strongest colour is the largest weight of the map."
            f"{note}",
        ),
        explorer,
        element("noscript", element("p", "The map needs the page's script.", class_="muted")),
    )
