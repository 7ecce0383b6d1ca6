"""The floors of the house: imports go to lower ones only."""

from __future__ import annotations

from typing import NamedTuple


class Floor(NamedTuple):
    """Files and packages that do not import each other, and what they are about."""

    about: str
    units: tuple[str, ...]


# From the top down. A new file gets its place here; a test compares.
FLOORS = (
    Floor("the face", ("cli",)),
    Floor("what does nothing, or changes elsewhere", ("lints",)),
    Floor("the way out", ("dumps", "exports")),
    Floor("the page", ("reports",)),
    Floor("the verdict", ("verdicts",)),
    Floor("what is left on other prompts", ("holdouts",)),
    Floor("what may be concluded", ("comparisons", "curves", "samples")),
    Floor(
        "draw everything, measure everything",
        ("sweeps", "dials", "whys", "traces", "measurements", "judging", "fakeserver"),
    ),
    Floor("along the range, against a reference, before a judge", ("partings", "forecasts", "references", "judges")),
    Floor("models and metrics, what goes in and out", ("engines", "metrics", "asks", "branches", "costs")),
    Floor("what a server did", ("served", "sameness")),
    Floor("what servers honour", ("probes",)),
    Floor("draw and keep", ("sampler", "contests", "numerics", "study", "usecases", "models", "scores", "servers")),
    Floor("what dials keep", ("shelf",)),
    Floor("what verdicts keep", ("dossier",)),
    Floor("who draws, what was drawn", ("sessions", "ledger", "trials")),
    Floor(
        "the law at speed, the file, the words",
        (
            "steps",
            "draws",
            "distances",
            "codec",
            "database",
            "tables",
            "tabular",
            "targets",
            "pieces",
            "forks",
            "races",
        ),
    ),
    Floor(
        "the law, the records, all pairs",
        ("law", "records", "summaries", "motions", "breakers", "families", "looks", "effects", "fronts"),
    ),
    Floor(
        "parameters, noise, numbers",
        (
            "params",
            "noise",
            "stats",
            "texts",
            "schema",
            "places",
            "spans",
            "bands",
            "goals",
            "numerals",
            "checks",
            "examiner",
        ),
    ),
    Floor("engines as data, what is no number", ("dialects", "param_lists")),
    Floor("the parameters as data", ("parameters",)),
    Floor("the ground", ("errors", "escapes", "jsontexts", "resampling")),
)
HEIGHT = {unit: len(FLOORS) - depth for depth, floor in enumerate(FLOORS) for unit in floor.units}
