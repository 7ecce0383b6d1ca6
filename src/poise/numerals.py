"""Numbers as a reader wants them: few digits, units, true minus signs."""

from __future__ import annotations

PERCENT_UNITS = frozenset({"share"})
PLAIN_UNITS = frozenset({"ratio", "cosine", "1 - cosine"})  # numbers without a unit: what they are stands in brackets
NOTHING = 1e-12  # what comes of the last bits of a mean is no number


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


def amount(value: float, unit: str) -> str:
    """A difference as a sentence says it: with its sign and its unit.

    >>> amount(-0.584, "share"), amount(0.25, "nats/token"), amount(0.25, "cosine")
    ('−58 points', '+0.25 nats/token', '+0.25 (cosine)')
    """
    return difference(value, unit) + unit_after(unit)


def size(value: float, unit: str) -> str:
    """How large a difference is, without its sign.

    >>> size(-0.584, "share"), size(0.25, "nats/token")
    ('58 points', '0.25 nats/token')
    """
    return amount(abs(value), unit).lstrip("+")


def quantity(value: float | None, unit: str) -> str:
    """One value as a sentence says it: with its unit.

    >>> quantity(0.625, "share"), quantity(20.5, "tokens"), quantity(None, "tokens")
    ('62%', '20.5 tokens', '–')
    """
    return figure(value, unit) + ("" if value is None else unit_after(unit))


def unit_after(unit: str) -> str:
    """A unit as it follows a number; nothing for shares, whose number has its sign."""
    if unit in PERCENT_UNITS:
        return ""
    return f" ({unit})" if unit in PLAIN_UNITS else f" {unit}"


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
    """A difference's number with its sign, of shares in points; zero has none, nor has what is shown as zero.

    >>> with_sign(0.25, "nats"), with_sign(-0.5, "share"), with_sign(-0.0, "nats"), with_sign(-0.00001, "share")
    ('+0.25', '−50', '0', '0')
    """
    text = points(value) if unit in PERCENT_UNITS else _signed(_plain(value))
    if not any(c in text for c in "123456789"):
        return "0"
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
    large = abs(share)
    return 0 if large < NOTHING or large >= 0.00995 else 1 if large >= 0.000995 else 2


def _plain(value: float) -> str:
    large = abs(value)
    if large < NOTHING:
        return "0"
    if large >= 1000:
        return f"{value:,.0f}"
    if large >= 100:
        return f"{value:.0f}"
    if large >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if large >= 0.1 else f"{value:.2g}"


def _signed(text: str) -> str:
    """With a true minus sign, of which zero has none."""
    return text.replace("-", "−" if any(c in text.partition("e")[0] for c in "123456789") else "")
