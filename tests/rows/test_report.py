"""A report on rows in files has its checks, lines of levels and explorer, if it is told where the rows are."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from scanned_rows import make_rows

import bayesmm as bmm
from bayesmm.errors import ArgumentError

FORMULA = "y ~ t + (1 | a)"


def words(page: str) -> str:
    return " ".join(unescape(re.sub("<[^>]*>", " ", page)).split())


def test_a_report_reads_rows_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = make_rows(200)
    data.drop(columns="long").to_parquet("visits.parquet", index=False)
    here = bmm.Model(FORMULA, data).fit()
    there = bmm.Model(FORMULA, "visits.parquet").fit()
    page = bmm.report(there, rows="visits.parquet", progress=False).html
    said = words(page)
    for finding in here.check(n=499, seed=1).findings:
        assert finding.text in said
    assert 'id="explorer-data"' in page
    assert not re.search("There is no figure|not looked at|explorer is not here", said)
    assert "data = 'visits.parquet'" in said
    assert "bmm.report(fit, path='report.html', rows=data)" in said
    with pytest.raises(ArgumentError, match="leave rows out"):
        bmm.report(here, rows=data)
