"""The thesis as data: its settings, tables, claims and contradictions, each with the place where it
stands.

Everything is in ``thesis.yaml``; this module only gives it types.
"""

from functools import cache
from importlib import resources

import yaml
from pydantic import BaseModel, ConfigDict

SettingValue = bool | int | float | str | list[int | float | str]


class FrozenModel(BaseModel):
    """Common to everything below: frozen, and no key that is not declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Setting(FrozenModel):
    """One setting of an experiment and the place that gives it."""

    value: SettingValue
    where: str
    unit: str | None = None


class Table(FrozenModel):
    """A table: ``rows[name]`` holds one value for each of ``columns``; None where it prints a
    dash."""

    title: str
    where: str
    columns: list[str]
    rows: dict[str, list[int | float | str | None]]

    def value(self, row: str, column: str) -> int | float | str | None:
        """One cell; ``KeyError`` for an unknown row, ``ValueError`` for an unknown column."""
        return self.rows[row][self.columns.index(column)]

    def number(self, row: str, column: str) -> float | None:
        """One cell that holds a number or a dash; ``ValueError`` for one that holds words."""
        cell = self.value(row, column)
        if isinstance(cell, str):
            raise ValueError(f"{self.title}: {row}, {column} is {cell!r} and no number")
        return cell


class Margin(FrozenModel):
    """The smallest effect that matters, in the claim's unit, and why it is that."""

    value: float
    why: str


class Published(FrozenModel):
    """What others have published about the first of a claim's ``values``.

    ``low`` and ``high``: the least and the greatest of their numbers; ``checked``: whether these
    were read at their source.
    """

    low: float
    high: float
    text: str
    source: str
    checked: bool


class Claim(FrozenModel):
    """A claim that the scorecard scores.

    Attributes:
        values: the thesis's numbers in ``unit``, if it gives any.
        margin: of differences; None where the claim itself names a range, or has no unit.
        primary: whether it belongs to the claims over which Holm's correction is made.
        published: None without a counterpart.
    """

    id: str
    text: str
    where: str
    values: dict[str, float]
    unit: str | None
    tested: str
    notebook: str
    margin: Margin | None = None
    primary: bool = False
    published: Published | None = None


class Statement(FrozenModel):
    """What one place of the thesis says."""

    where: str
    text: str


class Contradiction(FrozenModel):
    """A disagreement or a choice left open; ``parameter`` is the profile key that decides."""

    number: int
    title: str
    says: list[Statement]
    default: str
    parameter: str | None


class Thesis(FrozenModel):
    """The whole thesis; ``settings`` by experiment (pretraining, finetuning, rates, ...) and
    name."""

    title: str
    author: str
    institution: str
    year: int
    settings: dict[str, dict[str, Setting]]
    tables: dict[str, Table]
    claims: list[Claim]
    contradictions: list[Contradiction]

    def claim(self, claim_id: str) -> Claim:
        """The claim C1a, C1b, C2 to C14; ``KeyError`` for another id."""
        return {claim.id: claim for claim in self.claims}[claim_id]


@cache
def load_thesis() -> Thesis:
    """Read ``thesis.yaml`` once."""
    path = resources.files("byol_helpers.reproduction") / "thesis.yaml"
    text = path.read_text(encoding="utf-8")
    return Thesis(**yaml.safe_load(text))
