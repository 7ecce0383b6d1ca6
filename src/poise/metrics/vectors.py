"""Word vectors of texts, from the table inside the wheel wordllama."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import FetchError

_BATCH = 128
_KEPT = 20_000  # vectors kept; a text drawn again under the next setting is not read twice


class WordVectors:
    """The mean of a text's word vectors, with length 1. It hears which words are used, not what they say.

    >>> near = WordVectors()
    >>> round(float(near.of("a good story") @ near.of("not a good story")), 1)
    0.9
    """

    def __init__(self) -> None:
        self._known: dict[str, NDArray[np.float32]] = {}

    def prepare(self, texts: Iterable[str]) -> None:
        """Read many texts at once; much faster than one by one.

        Args:
            texts: any strings; those known already are skipped.
        """
        if len(self._known) > _KEPT:
            self._known.clear()
        waiting = [t for t in dict.fromkeys(texts) if t not in self._known]
        for start in range(0, len(waiting), _BATCH):
            batch = waiting[start : start + _BATCH]
            self._known.update(zip(batch, _embed(batch), strict=True))

    def of(self, text: str) -> NDArray[np.float64] | None:
        """The vector of one text.

        Args:
            text: any string.

        Returns:
            (256,), length 1; None for a text without words.
        """
        if text not in self._known:
            self._known.update(zip([text], _embed([text]), strict=True))
        vector = self._known[text].astype(np.float64)
        length = np.sqrt(vector @ vector)
        return vector / length if length > 0 else None


def _embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Mean word vector of each text, (len(texts), 256); a text's value does not depend on its neighbours."""
    tokenizer, table = _model()
    encodable = [t.encode("utf-8", "replace").decode("utf-8") for t in texts]
    means = np.zeros((len(texts), table.shape[1]), dtype=np.float32)
    for row, found in enumerate(tokenizer.encode_batch_fast(encodable, add_special_tokens=False)):
        if found.ids:
            means[row] = table[np.minimum(found.ids, len(table) - 1)].mean(axis=0)
    return means


@cache
def _model() -> tuple[Any, NDArray[np.float32]]:
    """Tokenizer and table (V, 256). The wheel looks for its tokenizer in the wrong folder unless told."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    import wordllama  # takes 0.5 s, and only these metrics need it

    root.handlers, root.level = handlers, level  # importing it sets up logging for the whole process
    folder = Path(wordllama.__file__).parent
    try:
        model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
    except (OSError, ValueError) as error:
        raise FetchError(
            "Word vectors come inside the wheel wordllama 0.4.0.post1",
            f"{type(error).__name__}: {error}",
            "Install it again: pip install --force-reinstall wordllama==0.4.0.post1",
        ) from error
    model.tokenizer.no_padding()
    return model.tokenizer, model.embedding
