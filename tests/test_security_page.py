"""The page on security names every limit with its value, and says nothing that the code does not do."""

import re

import documents

from bayesmm import limits

PAGE = (documents.ROOT / "docs" / "security.md").read_text(encoding="utf-8")
TOP_LEVEL = {"README.md", "CHANGELOG.md", "LICENSE", "SECURITY.md", "pyproject.toml"}


def test_every_limit_is_in_the_table_with_its_value():
    table = {name: int(value.replace(",", "")) for name, value in re.findall(r"\| `([A-Z_]+)` \| ([\d,]+) \|", PAGE)}
    assert table == {name: value for name, value in vars(limits).items() if name.isupper()}


def test_every_limit_has_a_reason_beside_it_or_above():
    lines = (documents.ROOT / "bayesmm" / "limits.py").read_text(encoding="utf-8").splitlines()
    for line in lines:
        if re.match(r"(MESSAGE_LINES|MESSAGE_COLUMNS) = ", line):
            assert "A terminal of the usual size" in "\n".join(lines)
        elif re.match(r"[A-Z_]+ = ", line):
            assert "  # " in line, line


def test_the_rule_that_takes_the_apostrophes_away_is_that_of_the_code():
    from bayesmm.cli.outputs import FORMULA

    (pattern,) = re.findall(r"`\"(.*?)\"`", PAGE)
    for text in ("=x", "'-x", "＠x", "\tx", "''+1", "x", "'x", "'''", "1"):
        assert bool(re.match(pattern, "'" + text)) == bool(FORMULA.match(text)), text


def test_the_files_that_a_reader_looks_for_lie_at_the_top():
    assert {path.name for path in documents.ROOT.iterdir()} >= TOP_LEVEL
