"""Settings carried between engines: written as each takes them, and read back."""

from __future__ import annotations

from poise.exports.exporting import Export as Export
from poise.exports.exporting import export as export
from poise.exports.reading import read as read
