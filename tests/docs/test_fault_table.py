"""The table of faults in COCO files: docs/scripts/make_fault_table.py."""

import re

import make_fault_table


def without_parser_messages(text: str) -> list[str]:
    """Return the lines of the page, without the messages of Python's JSON module."""
    return [
        re.sub(r'(cannot read the \w+ \w+\.json: )(?!it contains).*', r'\1', line)
        for line in text.splitlines()
    ]


def test_page_is_up_to_date():
    """Otherwise, run docs/scripts/make_fault_table.py, and look at the difference."""
    expected = without_parser_messages(make_fault_table.page())
    assert without_parser_messages(make_fault_table.PAGE.read_text()) == expected


def test_each_file_has_a_finding():
    rows = list(make_fault_table.rows())
    assert len(rows) >= 300
    assert [row for row in rows if row[2] not in (1, 2) or not row[3]] == []
