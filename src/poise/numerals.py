"""Numbers as a reader wants them: few digits, units, true minus signs."""

from __future__ import annotations

PERCENT_UNITS = frozenset({"share"})


def figure(value: float | None, unit: str) -> str:
    """One value with as many digits as carry meaning.

    Args:
        value: None where there is no data.
        unit: shares print as percentages.

    Returns:
        For example ``62%``, ``0.0314`` or ``1,204``; an en dash where there is no data.

    >>> figure(0.6249, "share"), figure(0.004, "share"), figure(1234.5, "tokens"), figure(-0.03141, "nats")
    ('62%', '0.4%', '1,234', '−0.031')
    """
    if value is None:
        return "–"
    if unit in PERCENT_UNITS:
        return _signed(f"{100 * value:.{_share_digits(value)}f}%")
    return _signed(_plain(value))


def difference(value: float, unit: str) -> str:
    """A difference, with its sign; of shares, in percentage points.

    >>> difference(-0.584, "share"), difference(0.25, "nats")
    ('−58 points', '+0.25')
    """
    return with_sign(value, unit) + (" points" if unit in PERCENT_UNITS else "")


def interval(low: float | None, high: float | None, unit: str, *, of_difference: bool = False) -> str:
    """A 95 % interval in brackets, empty where there is none.

    >>> interval(0.5, 0.75, "share"), interval(-0.5, 0.25, "share", of_difference=True), interval(None, None, "")
    ('[50%, 75%]', '[−50, +25]', '')
    """
    if low is None or high is None:
        return ""
    if not of_difference:
        return f"[{figure(low, unit)}, {figure(high, unit)}]"
    return f"[{with_sign(low, unit)}, {with_sign(high, unit)}]"


def with_sign(value: float, unit: str) -> str:
    """A difference's number with its sign, of shares in points; zero has none.

    >>> with_sign(0.25, "nats"), with_sign(-0.5, "share"), with_sign(0.0, "nats")
    ('+0.25', '−50', '0')
    """
    text = points(value) if unit in PERCENT_UNITS else _signed(_plain(value))
    return f"+{text}" if value > 0 else text


def points(share: float) -> str:
    """A share as percentage points, without the word."""
    return _signed(f"{100 * share:.{_share_digits(share)}f}")


def count(number: int, noun: str) -> str:
    """A count with its noun.

    >>> count(1, "prompt"), count(1200, "draw")
    ('1 prompt', '1,200 draws')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _share_digits(share: float) -> int:
    """Whole percents, and below one percent as many digits as it takes to see the first."""
    size = abs(share)
    return 0 if size == 0 or size >= 0.00995 else 1 if size >= 0.000995 else 2


def _plain(value: float) -> str:
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.1 else f"{value:.2g}"


def _signed(text: str) -> str:
    return text.replace("-", "−")
