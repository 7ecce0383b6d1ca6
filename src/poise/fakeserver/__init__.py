"""A public fake server: any law, any lie, any fault."""

from poise.fakeserver.language import Language, make_language
from poise.fakeserver.lies import LIES, Lies, read_lies
from poise.fakeserver.styles import STYLES, Style
from poise.fakeserver.wire import FakeWire

__all__ = ["LIES", "STYLES", "FakeWire", "Language", "Lies", "Style", "make_language", "read_lies"]
