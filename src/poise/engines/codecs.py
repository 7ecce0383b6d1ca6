"""Tokenizer and chat template of a converted model, without transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers

from poise.engines import templates
from poise.errors import ModelError
from poise.records import Message


class PlainCodec:
    """tokenizer.json and chat_template.jinja of a folder that poise converted.

    Templates are programs of the model's maker: they run in Jinja's immutable sandbox.

    Args:
        directory: the converted model's folder.
    """

    def __init__(self, directory: Path) -> None:
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
        except Exception as error:  # the library raises plain Exception
            raise ModelError(
                "A model needs a readable tokenizer.json", str(error), "Delete its cache folder"
            ) from error
        settings = directory / "tokenizer_config.json"
        self._settings: dict[str, Any] = json.loads(settings.read_text("utf-8")) if settings.exists() else {}
        template = directory / "chat_template.jinja"
        self.template = template.read_text("utf-8") if template.exists() else None
        added = self._tokenizer.get_added_tokens_decoder()
        self.special_ids = frozenset(i for i, token in added.items() if token.special)

    def encode(self, text: str, special: bool) -> list[int]:
        """See `local.Codec.encode`."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special).ids
        return ids

    def render(self, messages: Sequence[Message], thinking: bool | None = None) -> str:
        """See `local.Codec.render`."""
        tokens = {n: v for n, v in self._settings.items() if n.endswith("_token") and isinstance(v, str)}
        return templates.render(self.template or "", messages, tokens, thinking)

    def decode(self, ids: Sequence[int], special: bool = False) -> str:
        """See `local.Codec.decode`."""
        said: str = self._tokenizer.decode(list(ids), skip_special_tokens=not special)
        return said
