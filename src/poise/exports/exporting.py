"""Export: settings, or a study's, as another engine takes them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from poise.asks import Given
from poise.dialects import DIALECTS
from poise.errors import UsageError
from poise.exports import ggufs
from poise.exports.carrying import Carried, carry
from poise.exports.catalogue import find_form, find_target
from poise.exports.choosing import Choice, choose
from poise.exports.measuring import Text, distances, drawn_texts, texts_of, whole_logits
from poise.exports.origin import Origin, said_of
from poise.exports.outcome import Outcome, Share
from poise.exports.target import Form, Sheet, Target
from poise.exports.working import BARRED, only
from poise.exports.writing import artefact, fields_of
from poise.param_lists import listed
from poise.params import SamplingParams
from poise.records import Trial
from poise.sessions import Engine
from poise.study import Study
from poise.tables import Footnotes, Table, figure
from poise.targets import checked_target, write_target

_WHAT, _EXAMPLE = "An artefact", "-o settings.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Settings as another engine takes them.

    Args:
        target: for whom.
        form: how it is written, a key of the target's sheets.
        file: the artefact's usual name.
        source: the settings as they were.
        params: what they are there, in the target's dialect; `poise.read` of the artefact gives the same.
        outcomes: what became of each parameter.
        text: the artefact.
        origin: where the settings come from.
        total_variation: how far the two laws are apart, all losses together; None where it was not measured.
        notes: what to know before using it.
    """

    target: str
    form: Form
    file: str
    source: SamplingParams
    params: SamplingParams
    outcomes: tuple[Outcome, ...]
    text: str
    origin: Origin
    total_variation: Share | None = None
    notes: tuple[str, ...] = ()

    @property
    def losses(self) -> tuple[Outcome, ...]:
        """What is not exact."""
        return tuple(o for o in self.outcomes if o.kind != "exact")

    def write(self, path: str | Path, gguf: str | Path | None = None) -> Path:
        """Write the artefact, whole or not at all.

        Args:
            path: its file.
            gguf: a GGUF file; a copy of it with these settings is written, for the target ``gguf``.

        Returns:
            The path.

        Raises:
            UsageError: a path that a file cannot have, a GGUF file that is none, or for another target.
            StoreError: it cannot be written.
        """
        target = checked_target(path, what=_WHAT, example=_EXAMPLE)
        if gguf is None:
            if self.form == "keys":
                raise UsageError("Keys are written into a GGUF file", "none", "Add --gguf MODEL.gguf")
            write_target(target, self.text, _WHAT)
            return target
        if self.form != "keys":
            raise UsageError("A GGUF file is written for the target gguf", self.target, "Take --to gguf")
        said = fields_of(self.params, find_target(self.target).sheets[self.form])
        ggufs.write_copy(Path(gguf), target, said, self.origin, self.target)
        return target

    def __str__(self) -> str:
        return self.table().text()

    def _repr_html_(self) -> str:
        return self.table().html()

    def table(self) -> Table:
        """What became of each parameter."""
        measured = any(o.total_variation is not None for o in self.outcomes)
        notes = Footnotes()
        rows = [
            [
                o.parameter, _shown(o.value), self._there(o), o.kind, *([_moved(o)] if measured else []),
                notes.mark(f"{o.why}." if o.why else ""),
            ]
            for o in self.outcomes
        ]  # fmt: skip
        head = ("parameter", "from", "there", "outcome", *([" moves the law by"] if measured else []), "")
        off = [] if rows else ["Nothing is on: every step is written as off."]
        total = [] if self.total_variation is None else [f"All together move the law by {self.total_variation}."]
        title = f"{self.source.label} for {self.target}"
        return Table(title, head, rows, [*notes.lines(), *off, *total, *self.notes])

    def _there(self, outcome: Outcome) -> str:
        """What a parameter is there; of barred words, what became biases too, and the other way round."""
        if outcome.parameter == "logit_bias":
            again = [p for p in outcome.value if (p[0],) in (self.params.bad_words or ()) and p[1] == BARRED]
            return _shown(tuple(sorted((*(outcome.there or ()), *again))) or None)
        if outcome.parameter != "bad_words":
            return _shown(outcome.there)
        barred = {word[0] for word in outcome.value if len(word) == 1}
        biases = tuple(pair for pair in self.params.logit_bias or () if pair[0] in barred)
        words = [_shown(outcome.there)] if outcome.there or not biases else []
        return ", ".join([*words, *([f"logit_bias {listed(biases)}"] if biases else [])])


def export(
    given: SamplingParams | Study,
    to: str,
    *,
    form: str | None = None,
    setting: str | SamplingParams | Trial | None = None,
    use_case: str | None = None,
    engine: Engine | None = None,
    prompts: Given | Sequence[Given] | None = None,
) -> Export:
    """Carry settings to another engine: the same law where that is possible, each loss named where it is not.

    Args:
        given: settings in their own dialect, or a study, which is exported at the setting that its verdict recommends.
        to: the target, a key of `catalogue.TARGETS`.
        form: how it is written, where a target has several ways: json, python, flags.
        setting: another setting of the study.
        use_case: one of the study's.
        engine: a model that gives logits: losses are then measured on its own next tokens.
        prompts: whose texts are looked at; None for a study's own texts.

    Returns:
        The artefact, and what became of each parameter.

    Raises:
        UsageError: an unknown target or form, a study without a verdict, an engine without logits.
        StudyError: no such setting or use case, a study of another model.

    >>> found = export(SamplingParams(temperature=0.5, min_p=0.25), to="ollama")
    >>> [o.kind for o in found.outcomes], found.params.min_p
    (['exact', 'exact'], 0.5)
    """
    target = find_target(to)
    chosen = find_form(target, form)
    _check(given, setting, use_case)
    study = given if isinstance(given, Study) else None
    choice = choose(study, setting, use_case) if study is not None else Choice(SamplingParams.model_validate(given))
    found, total = _carried(choice, (target, target.sheets[chosen]), engine, study, prompts)
    return _written(choice, (target, chosen), found, total, engine, study)


def _written(
    choice: Choice,
    way: tuple[Target, Form],
    found: Carried,
    total: Share | None,
    engine: Engine | None,
    study: Study | None,
) -> Export:
    target, form = way
    sheet = target.sheets[form]
    origin = _origin(choice, study, found, engine)
    return Export(
        target=target.name, form=form, file=sheet.file, source=choice.params, params=found.params,
        outcomes=found.outcomes, text=artefact(found.params, target, form, origin), origin=origin,
        total_variation=total, notes=tuple(_notes(target, sheet, found, engine, study)),
    )  # fmt: skip


def _carried(
    choice: Choice,
    way: tuple[Target, Sheet],
    engine: Engine | None,
    study: Study | None,
    prompts: Given | Sequence[Given] | None,
) -> tuple[Carried, Share | None]:
    """The settings there, measured where there is an engine, and how far all losses move the law."""
    found = carry(choice.params, *way)
    if engine is None:
        if prompts is not None:
            raise UsageError("Prompts are drawn by a model", "prompts without one", "Give an engine, or leave them out")
        return found, None
    texts = _texts(engine, study, choice, prompts)
    return _measured(engine, texts, choice.params, found, way)


def _origin(choice: Choice, study: Study | None, found: Carried, engine: Engine | None) -> Origin:
    return Origin(
        by=f"poise {metadata.version('poise')}", date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        settings=choice.params.label, study="" if study is None else study.path.name,
        model="" if study is None else study.fingerprint.model, use_case=choice.use_case, evidence=choice.evidence,
        losses=said_of(found.outcomes, "" if engine is None else engine.name),
    )  # fmt: skip


def _check(given: object, setting: object, use_case: object) -> None:
    if isinstance(given, Study):
        return
    if not isinstance(given, SamplingParams):
        raise UsageError(
            "Settings or a study are exported", repr(given)[:80], "For example SamplingParams(temperature=0.7)"
        )
    if setting is not None or use_case is not None:
        raise UsageError("A setting and a use case are a study's", "them with settings", "Give a study, or leave them")


def _texts(engine: Engine, study: Study | None, choice: Choice, prompts: Given | Sequence[Given] | None) -> list[Text]:
    """The texts along which the laws are compared."""
    ours = whole_logits(engine)
    if prompts is not None:
        return drawn_texts(ours, prompts, choice.params)
    if study is None:
        raise UsageError(
            "Laws are compared along texts of prompts", "a model without prompts", "Add -f USECASE or --prompt"
        )
    study.check(engine.fingerprint)  # raises where the study belongs to another model
    found = texts_of(list(study.completions(params=choice.params)))
    if not found:
        raise UsageError(
            "Laws are compared along a study's texts", "texts without tokens", "Add -f USECASE or --prompt"
        )
    return found


def _measured(
    engine: Engine, texts: list[Text], params: SamplingParams, found: Carried, way: tuple[Target, Sheet]
) -> tuple[Carried, Share | None]:
    """The same outcomes, each loss with how far it moves the law by itself; and all losses together."""
    if not DIALECTS[way[0].dialect].known or not params.how.known:
        return found, None
    lossy = [o for o in found.outcomes if o.kind != "exact"]
    exact = {o.parameter for o in found.outcomes if o.kind == "exact"}
    alone = [only(params, exact | {o.parameter, *o.beside} - {"order"}) for o in lossy if o.parameter != "order"]
    pairs = [(params, found.params), *((p, carry(p, *way).params) for p in alone)]
    total, *each = distances(whole_logits(engine), texts, pairs)
    named = dict(zip([o.parameter for o in lossy if o.parameter != "order"], each, strict=True))
    outcomes = [o.measured(named.get(o.parameter, total if o in lossy else None)) for o in found.outcomes]
    return found._replace(outcomes=tuple(outcomes)), total


def _notes(target: Target, sheet: Sheet, found: Carried, engine: Engine | None, study: Study | None) -> list[str]:
    """What to know before using the artefact."""
    serves = sheet.program[-1:] == ("serve",)  # its notes are on requests, and say to start the server as this does
    notes = [] if serves else [f"{note}." for note in target.notes]
    known = DIALECTS[target.dialect].known
    if any(o.kind != "exact" for o in found.outcomes):
        if not known:
            notes.append(f"How much cannot be measured: what {target.name} does is not published.")
        elif engine is None:
            more = "" if study is not None else " with -f USECASE or --prompt"
            notes.append(f"How much the law moves is measured on a model: --model MODEL{more}.")
    if not sheet.tolerates and sheet.file.endswith(".json"):
        notes.append("Its format has no place for where the settings come from.")
    return notes


def _moved(outcome: Outcome) -> str:
    found = outcome.total_variation
    return "" if found is None else f"{figure(found.mean)} (at most {figure(found.highest)})"


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return listed(value)
    if isinstance(value, int):
        return str(value)
    assert isinstance(value, float)
    short = [f"{value:.{digits}g}" for digits in range(6, 18)]  # 0.999999999 is not 1
    return next((s for s in short if float(s) == value or not float(s).is_integer()), short[-1])
