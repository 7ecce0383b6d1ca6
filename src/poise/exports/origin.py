"""Where settings come from, as an artefact says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poise.escapes import visible
from poise.exports.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Origin:
    """What an artefact says of itself.

    Args:
        by: the program and its version.
        date: of the export, ISO.
        settings: as they were before, as users write them.
        study: name of the study's file; empty where there was none.
        model: that the study was drawn with.
        use_case: that they are for.
        evidence: what the verdict on them says.
        losses: what is not exact, one sentence each.
    """

    by: str
    date: str
    settings: str
    study: str = ""
    model: str = ""
    use_case: str = ""
    evidence: str = ""
    losses: tuple[str, ...] = ()

    def record(self, target: str) -> dict[str, object]:
        """It as plain data, what is empty left out.

        Args:
            target: what it was written for.
        """
        said = {"by": self.by, "date": self.date, "target": target, "settings": self.settings, "study": self.study,
                "model": self.model, "use_case": self.use_case, "evidence": self.evidence,
                "losses": list(self.losses)}  # fmt: skip
        return {name: value for name, value in said.items() if value}

    def comments(self, target: str) -> list[str]:
        """It as comment lines, without the marks that begin them.

        Args:
            target: what it was written for.
        """
        losses = [("not exact", loss) for loss in self.losses]
        said = [("written by", f"{self.by}, {self.date}, for {target}"), ("settings", self.settings),
                ("study", self.study), ("model", self.model), ("use case", self.use_case), ("evidence", self.evidence),
                *losses]  # fmt: skip
        return [f"{name}: {_line(value)}" for name, value in said if value]


def said_of(outcomes: Sequence[Outcome], model: str = "") -> tuple[str, ...]:
    """What is not exact, one sentence each.

    Args:
        outcomes: of an export.
        model: on which losses were measured; empty where they were not.
    """
    return tuple(f"{o.parameter}, {o.kind}: {o.why}{_measured(o, model)}" for o in outcomes if o.kind != "exact")


def _measured(outcome: Outcome, model: str) -> str:
    found = outcome.total_variation
    return "" if found is None else f"; total variation {found} on {model}"


def _line(text: str) -> str:
    """In one line, with nothing that would end a comment."""
    return " ".join(visible(text).split())
