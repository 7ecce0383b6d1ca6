"""The scripts of a page, and a policy that allows nothing else."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Sequence
from importlib import resources

from markupsafe import Markup

# What a JSON block inside HTML must not contain: tags, comments, and JavaScript's extra line ends.
_JSON_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


@functools.cache
def script() -> Markup:
    """Vega, Vega-Lite, Vega-Embed and the page's own code as one script, about 0.9 MB."""
    import vl_convert

    libraries = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    own = (resources.files("poise.reports") / "templates" / "page.js").read_text(encoding="utf-8")
    return raw_text(f"{libraries}\n{own}", "script")


@functools.cache
def style() -> Markup:
    """The page's style sheet."""
    css = (resources.files("poise.reports") / "templates" / "page.css").read_text(encoding="utf-8")
    return raw_text(css, "style")


def policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """A content-security policy: no network, no eval, and only the scripts and styles given.

    Args:
        scripts: the exact content of each script element.
        styles: the exact content of each style element.

    Returns:
        The policy, for a meta element.
    """
    return "; ".join([
        "default-src 'none'",
        f"script-src {' '.join(map(_hash, scripts))}",
        f"style-src {' '.join(map(_hash, styles))}",
        "img-src data:", "base-uri 'none'", "form-action 'none'",
    ])  # fmt: skip


def embedded_json(value: object) -> Markup:
    """Data as JSON that cannot end its script element, whatever it holds.

    >>> embedded_json("</script><!--")
    Markup('"\\\\u003c/script\\\\u003e\\\\u003c!--"')
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return Markup(text.translate(_JSON_ESCAPES))  # noqa: S704  every character that HTML sees is escaped


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def raw_text(content: str, element: str) -> Markup:
    """The content of a script or style element, exactly as the browser will hash it."""
    # The browser hashes what it parsed: line ends as \n, and no end tag inside.
    content = content.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\\0")
    if element == "script":
        content = content.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    assert f"</{element}" not in content.lower(), f"{element} would end early"
    return Markup(content)  # noqa: S704  files of this package and of Vega, checked above
