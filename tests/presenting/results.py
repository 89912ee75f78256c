"""Every kind of result that a notebook shows, and a reader of the pages that they write."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
from made_posterior import make_posterior

import bayesmm as bmm
from bayesmm.bayes.checks.calibration import Calibration

VOID = ("br", "path", "circle")
NESTED = ("Reaction ~ Days + (1 | Subject)", "Reaction ~ Days + (Days || Subject)")
CAKE = "angle ~ recipe + temp + (1 | recipe:replicate)"
FORMULA = "Reaction ~ Days + (Days | Subject)"


@cache
def sleepstudy() -> Any:
    model = bmm.Model(FORMULA, bmm.datasets.load("sleepstudy"))
    return model, model.fit(), make_posterior(model, widen=1.2)


@cache
def machines() -> Any:
    fit = bmm.Model("score ~ Machine + (1 | Worker)", bmm.datasets.load("machines")).fit()
    return bmm.emmeans(fit, "Machine")


@cache
def penicillin() -> Any:
    return bmm.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", bmm.datasets.load("penicillin"))


def calibration(names: list[str]) -> Calibration:
    ranks = pd.DataFrame(np.random.default_rng(2).random((20, len(names))), columns=pd.Index(names))
    p_values = pd.Series(np.geomspace(1e-4, 0.9, len(names)), index=ranks.columns)
    return Calibration(ranks=ranks, p_values=p_values, continued=3, untrusted=2, description="Calibration of a model")


# By the class of the result: what makes one.
RESULTS: dict[str, Callable[[], Any]] = {
    "Power": lambda: bmm.power(sleepstudy()[1], along={"Subject": [5, 10]}, n=20),
    "Bootstrap": lambda: sleepstudy()[1].bootstrap(50),
    "BoundaryReport": lambda: sleepstudy()[1].boundary("sd(Days | Subject)", sleepstudy()[2], n=20),
    "Calibration": lambda: calibration(["Days", "sigma"]),
    "Check": lambda: sleepstudy()[1].check(n=49),
    "Comparison": lambda: bmm.compare(*sleepstudy()[1:]),
    "Criteria": lambda: sleepstudy()[1].criteria(),
    "Description": lambda: bmm.datasets.describe("sleepstudy"),
    "Diagnostics": lambda: make_posterior(sleepstudy()[0], divergences=7).diagnostics,
    "EffectUncertainty": lambda: bmm.effect_uncertainty(*sleepstudy()[1:], 20),
    "Smooths": lambda: (
        bmm.Model("height ~ s(age) + (s(age, k=5) | Subject)", bmm.datasets.load("oxboys")).fit().smooths()
    ),
    "Explained": lambda: sleepstudy()[1].explained(),
    "Fit": lambda: sleepstudy()[1],
    "Identity": lambda: sleepstudy()[0].check_identity(),
    "Influence": lambda: sleepstudy()[1].influence("Subject"),
    "LinearTest": lambda: sleepstudy()[1].test("Days = 0, Intercept = 250"),
    "Margins": lambda: machines().contrasts(),
    "Model": lambda: sleepstudy()[0],
    "ModelTable": lambda: bmm.anova(*(bmm.Model(f, bmm.datasets.load("sleepstudy")).fit() for f in NESTED)),
    "PartialPooling": lambda: bmm.shrinkage(sleepstudy()[2]),
    "PlanDescription": lambda: penicillin().plan,
    "Posterior": lambda: sleepstudy()[2],
    "Profile": lambda: sleepstudy()[1].profile(),
    "PublicationTable": lambda: bmm.publication_table(*sleepstudy()[1:]),
    "Ranking": lambda: bmm.ranking(sleepstudy()[1], "Subject", "Days", top=3),
    "Report": lambda: sleepstudy()[2].summary(level=0.8),
    "ResolvedPriors": lambda: sleepstudy()[0].priors,
    "Robust": lambda: sleepstudy()[1].robust(),
    "SimulatedResiduals": lambda: sleepstudy()[1].simulated_residuals(n=49),
    "Simulation": lambda: bmm.datasets.simulate_longitudinal(seed=1),
    "TermTests": lambda: bmm.Model(CAKE, bmm.datasets.load("cake")).fit().anova(),
    "VarianceTests": lambda: sleepstudy()[1].variance_tests(),
}


@cache
def page_of(name: str) -> Page:
    return Page(RESULTS[name]()._repr_html_())


@dataclass
class Cell:
    """A cell of a table of a page."""

    tag: str
    attributes: dict[str, str]
    text: str = ""

    def span(self, way: str) -> int:
        return int(self.attributes.get(f"{way}span", 1))


@dataclass
class PageTable:
    """A table of a page: its caption, and the cells of its head and of its bodies by row."""

    caption: str = ""
    head: list[list[Cell]] = field(default_factory=list)
    body: list[list[Cell]] = field(default_factory=list)

    def rows(self) -> list[list[str]]:
        """Texts of the bodies' rows, the name first, also where it stands once for several."""
        found, name, left = [], "", 0
        for row in self.body:
            texts = [cell.text for cell in row]
            if left:
                texts, left = [name, *texts], left - 1
            elif row[0].tag == "th":
                name, left = row[0].text, row[0].span("row") - 1
            found.append(texts)
        return found


class Page(HTMLParser):
    """Reads a page strictly: every tag is closed in its turn."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.source = page
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.tables: list[PageTable] = []
        self.words = ""
        self.feed(page)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append(PageTable())
        elif tag == "tr":
            (self.tables[-1].head if "thead" in self.open else self.tables[-1].body).append([])
        elif tag in ("td", "th"):
            rows = self.tables[-1].head if "thead" in self.open else self.tables[-1].body
            rows[-1].append(Cell(tag, attributes))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID, tag
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} is closed inside another"

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.words += data
        if "caption" in self.open:
            self.tables[-1].caption += data
        elif "td" in self.open or "th" in self.open:
            rows = self.tables[-1].head if "thead" in self.open else self.tables[-1].body
            rows[-1][-1].text += data


def pieces(text: str) -> list[str]:
    """The words of a line, without the commas between limits and the glyphs of pictures."""
    plain = re.sub(r"(?<=\S),(?=\s)", "", re.sub("[│○●─]", " ", text))
    return plain.split()
