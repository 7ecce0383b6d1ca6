"""Say what a study allows to conclude, and nothing more."""

from __future__ import annotations

from poise.verdicts.deciding import decide as decide
from poise.verdicts.rounds import plan_rounds as plan_rounds
from poise.verdicts.rounds import sweep_until_decided as sweep_until_decided
from poise.verdicts.verdict import Verdict as Verdict
from poise.verdicts.words import Verdicts as Verdicts
