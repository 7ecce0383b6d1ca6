"""Which decoding settings to use, and what each of them really does."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Every public name and the module that defines it. Names load on first use, so that
# `import poise` stays fast and needs no library at all.
_WHERE = {
    "Check": "poise.checks",
    "Comparison": "poise.comparisons",
    "Comparisons": "poise.comparisons",
    "Completion": "poise.records",
    "Curve": "poise.curves",
    "Dial": "poise.pieces",
    "Dials": "poise.pieces",
    "ENGINES": "poise.engines",
    "Export": "poise.exports",
    "Goal": "poise.goals",
    "Judging": "poise.judging",
    "Lint": "poise.lints",
    "METRICS": "poise.metrics",
    "Measurement": "poise.measurements",
    "Measurements": "poise.measurements",
    "Piece": "poise.pieces",
    "PoiseError": "poise.errors",
    "Probe": "poise.servers.honours",
    "Prompt": "poise.records",
    "SamplingParams": "poise.params",
    "Score": "poise.scores",
    "ServerOptions": "poise.engines.remote_options",
    "Study": "poise.study",
    "Trace": "poise.traces",
    "UseCase": "poise.usecases",
    "Verdict": "poise.verdicts",
    "Verdicts": "poise.verdicts",
    "Why": "poise.whys",
    "allow_callable": "poise.checks",
    "built_in_names": "poise.usecases",
    "chart": "poise.reports.charts",
    "check_claims": "poise.reports.claims",
    "compare": "poise.comparisons",
    "curve": "poise.curves",
    "curve_chart": "poise.reports.charts",
    "decide": "poise.verdicts",
    "dial": "poise.dials",
    "dial_report": "poise.reports.dialpage",
    "distinct_texts": "poise.curves",
    "dump": "poise.dumps",
    "export": "poise.exports",
    "generate": "poise.sweeps",
    "grid": "poise.params",
    "human_nll": "poise.curves",
    "judge": "poise.judging",
    "latest_study": "poise.places",
    "law_chart": "poise.reports.lawcharts",
    "lint": "poise.lints",
    "load": "poise.engines",
    "load_use_case": "poise.usecases",
    "measure": "poise.measurements",
    "plan": "poise.sweeps",
    "plan_dial": "poise.dials",
    "plan_judging": "poise.judging",
    "plan_rounds": "poise.verdicts",
    "probe": "poise.probes",
    "read": "poise.exports",
    "read_check": "poise.checks",
    "read_checks": "poise.checks",
    "read_goal": "poise.goals",
    "report": "poise.reports",
    "score": "poise.scores",
    "sweep": "poise.sweeps",
    "sweep_until_decided": "poise.verdicts",
    "template_text": "poise.usecases",
    "trace": "poise.traces",
    "why": "poise.whys",
}

if TYPE_CHECKING:
    from poise.checks import Check as Check
    from poise.checks import allow_callable as allow_callable
    from poise.checks import read_check as read_check
    from poise.checks import read_checks as read_checks
    from poise.comparisons import Comparison as Comparison
    from poise.comparisons import Comparisons as Comparisons
    from poise.comparisons import compare as compare
    from poise.curves import Curve as Curve
    from poise.curves import curve as curve
    from poise.curves import distinct_texts as distinct_texts
    from poise.curves import human_nll as human_nll
    from poise.dials import dial as dial
    from poise.dials import plan_dial as plan_dial
    from poise.dumps import dump as dump
    from poise.engines import ENGINES as ENGINES
    from poise.engines import load as load
    from poise.engines.remote_options import ServerOptions as ServerOptions
    from poise.errors import PoiseError as PoiseError
    from poise.exports import Export as Export
    from poise.exports import export as export
    from poise.exports import read as read
    from poise.goals import Goal as Goal
    from poise.goals import read_goal as read_goal
    from poise.judging import Judging as Judging
    from poise.judging import judge as judge
    from poise.judging import plan_judging as plan_judging
    from poise.lints import Lint as Lint
    from poise.lints import lint as lint
    from poise.measurements import Measurement as Measurement
    from poise.measurements import Measurements as Measurements
    from poise.measurements import measure as measure
    from poise.metrics import METRICS as METRICS
    from poise.params import SamplingParams as SamplingParams
    from poise.params import grid as grid
    from poise.pieces import Dial as Dial
    from poise.pieces import Dials as Dials
    from poise.pieces import Piece as Piece
    from poise.places import latest_study as latest_study
    from poise.probes import probe as probe
    from poise.records import Completion as Completion
    from poise.records import Prompt as Prompt
    from poise.reports import report as report
    from poise.reports.charts import chart as chart
    from poise.reports.charts import curve_chart as curve_chart
    from poise.reports.claims import check_claims as check_claims
    from poise.reports.dialpage import dial_report as dial_report
    from poise.reports.lawcharts import law_chart as law_chart
    from poise.scores import Score as Score
    from poise.scores import score as score
    from poise.servers.honours import Probe as Probe
    from poise.study import Study as Study
    from poise.sweeps import generate as generate
    from poise.sweeps import plan as plan
    from poise.sweeps import sweep as sweep
    from poise.traces import Trace as Trace
    from poise.traces import trace as trace
    from poise.usecases import UseCase as UseCase
    from poise.usecases import built_in_names as built_in_names
    from poise.usecases import load_use_case as load_use_case
    from poise.usecases import template_text as template_text
    from poise.verdicts import Verdict as Verdict
    from poise.verdicts import Verdicts as Verdicts
    from poise.verdicts import decide as decide
    from poise.verdicts import plan_rounds as plan_rounds
    from poise.verdicts import sweep_until_decided as sweep_until_decided
    from poise.whys import Why as Why
    from poise.whys import why as why

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"poise has no {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
