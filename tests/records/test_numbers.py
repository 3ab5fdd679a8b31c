"""Printed numbers in all their forms, and what agreement means."""

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.records.numbers import Status, agreement, plain, printed, printed_std

FORMS = {
    "**1.1192**": ("1.1192", "", "1.1192"),
    "15,977,386": ("15977386", "", "15977386"),
    "15.90MB": ("15.90", "MB", "15900000"),
    "15.56 MB": ("15.56", "MB", "15560000"),
    "15.56 MiB": ("15.56", "MiB", "16315842.56"),
    "~8,300": ("8300", "", "8300"),
    "\\~0.034": ("0.034", "", "0.034"),
    "~15.8M": ("15.8", "M", "15800000"),
    "596.1s": ("596.1", "s", "596100"),
    "341.6 s": ("341.6", "s", "341600"),
    "83.3ms": ("83.3", "ms", "83.3"),
    "15,993,853 bytes": ("15993853", "bytes", "15993853"),
    "15,996,697 B": ("15996697", "bytes", "15996697"),
    "\u22120.0025": ("-0.0025", "", "-0.0025"),
    "+0.0015 BPB": ("0.0015", "", "0.0015"),
    "1.1194 (std 0.0006)": ("1.1194", "", "1.1194"),
    "1.1192 \u2705": ("1.1192", "", "1.1192"),
    "~15.9x MB": ("15.9", "MB", "15900000"),
    "`600038ms`": ("600038", "ms", "600038"),
    "6m50s": ("410", "s", "410000"),
    "9.8 min": ("9.8", "min", "588000"),
    "15\u202f977\u202f386": ("15977386", "", "15977386"),
    "6 263": ("6263", "", "6263"),
    "6 263 of 7": ("6", "", "6"),  # a space in a sentence parts no thousands
    "<b>1.5</b>": ("1.5", "", "1.5"),
    "~~1.3~~ 1.2": ("1.2", "", "1.2"),
    "val\\_bpb 1.1950": ("1.1950", "", "1.1950"),
    "int6 1.15": ("1.15", "", "1.15"),
}


@pytest.mark.parametrize("cell", FORMS)
def test_cell_forms(cell: str) -> None:
    value, unit, base = FORMS[cell]
    found = printed(plain(cell))
    assert found is not None
    assert (str(found.value), found.unit, found.base) == (value, unit, Decimal(base))


@pytest.mark.parametrize("cell", ["", "yes", "\u2705", "\u2014", "n/a", "None", "int6", "seed1337", "#549"])
def test_cells_without_a_number(cell: str) -> None:
    assert printed(plain(cell)) is None


@pytest.mark.parametrize(
    ("cell", "std"),
    [
        ("1.1194 (std 0.0006)", "0.0006"),
        ("1.0856 ± 0.0007", "0.0007"),
        ("std=0.00070", "0.00070"),
        ("1.1194 ± 0.0006.", "0.0006"),
        ("1.1194", None),
        ("1.1194 ± 0.00011 (SEM)", None),
        ("1.1194 ± 0.0005 (95% CI)", None),
        ("1.1194 ± 0.02%", None),
    ],
)
def test_a_std_inside_a_cell(cell: str, std: str | None) -> None:
    found = printed_std(cell)
    assert (None if found is None else str(found.value)) == std


@pytest.mark.parametrize(
    ("cell", "measured", "status"),
    [
        ("1.12707468", "1.12707468", Status.EXACT),
        ("1.2243657", "1.22436570", Status.EXACT),
        ("1.1194", "1.11937967", Status.ROUNDED),
        ("72.6s", "72650", Status.ROUNDED),  # a tie, rounded to even
        ("72.7s", "72650", Status.ROUNDED),
        ("15.99 MB", "15995705", Status.TRUNCATED),
        ("16.00 MB", "15995705", Status.ROUNDED),
        ("14.83 MB", "15554017", Status.ROUNDED),  # MiB under the name of MB
        ("83.4ms", "83.52", Status.OFF_BY_ONE),
        ("83.3ms", "83.55", Status.MISMATCH),
        ("83.3ms", "83.48", Status.MISMATCH),  # two off from what it rounds to
        ("-0.0025", "-0.00242103", Status.OFF_BY_ONE),
        ("-0.0024", "-0.00242103", Status.ROUNDED),
        ("1.08502", "1.08498733", Status.MISMATCH),
        ("~8,300", "8287", Status.ROUNDED),
        ("~8,300", "7179", Status.MISMATCH),
        ("~530s", "528000", Status.ROUNDED),
        ("~15.95 MB", "15947967", Status.ROUNDED),
        ("~15.96 MB", "15947967", Status.OFF_BY_ONE),
        ("1.1195", "1.11937967", Status.OFF_BY_ONE),
        ("1.1190", "1.11937967", Status.MISMATCH),
        ("1.2", "1.11937967", Status.MISMATCH),  # one off in a digit that is worth much is another number
        ("1.13", "1.11937967", Status.MISMATCH),
        ("1.118", "1.11937967", Status.MISMATCH),
        ("0", "1.11937967", Status.MISMATCH),
        ("2.0", "1.89002068", Status.MISMATCH),
        ("-0.1", "-0.00242103", Status.MISMATCH),
        ("1.119", "1.11962003", Status.TRUNCATED),
        ("1.13", "1.13769241", Status.MISMATCH),
        ("-0.01", "-0.01927012", Status.MISMATCH),
        ("78s", "76700", Status.OFF_BY_ONE),
        ("6.8 min", "410268", Status.ROUNDED),
        ("6 min", "410268", Status.TRUNCATED),
        ("17 MB", "15995705", Status.MISMATCH),
        ("1.12707469", "1.12707468", Status.MISMATCH),  # nothing was rounded, so nothing is one off
    ],
)
def test_agreement(cell: str, measured: str, status: Status) -> None:
    found = printed(plain(cell))
    assert found is not None and agreement(found, Decimal(measured)) is status


def test_a_count_printed_in_full_is_right_or_wrong() -> None:
    steps, rough = printed("7,102"), printed("15.54 MB")
    assert steps and rough
    assert agreement(steps, Decimal(7103), count=True) is Status.MISMATCH
    assert agreement(steps, Decimal(7103)) is Status.OFF_BY_ONE
    assert agreement(rough, Decimal(15_530_000), count=True) is Status.OFF_BY_ONE


@settings(max_examples=200, deadline=None)
@given(st.integers(10**6, 2 * 10**8), st.integers(0, 7))
def test_what_is_rounded_or_truncated_is_called_so(millionths: int, decimals: int) -> None:
    measured = Decimal(millionths).scaleb(-8)
    step = Decimal(1).scaleb(-decimals)
    rounded = printed(f"{measured.quantize(step, ROUND_HALF_EVEN):f}")
    cut = printed(f"{measured.quantize(step, ROUND_DOWN):f}")
    assert rounded and cut
    assert agreement(rounded, measured).agrees
    if decimals >= 3:  # a score cut to fewer is another score
        assert agreement(cut, measured) in (Status.EXACT, Status.ROUNDED, Status.TRUNCATED)


@settings(max_examples=200, deadline=None)
@given(st.integers(10**6, 2 * 10**8), st.integers(1, 7), st.integers(2, 10**6), st.booleans())
def test_two_units_off_is_another_number(millionths: int, decimals: int, units: int, up: bool) -> None:
    measured = Decimal(millionths).scaleb(-8)
    step = Decimal(1).scaleb(-decimals)
    value = measured.quantize(step, ROUND_HALF_EVEN) + (units + 1) * (step if up else -step)
    found = printed(f"{value:f}")
    assert found is not None and agreement(found, measured) is Status.MISMATCH


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    found = printed(plain(text))
    if found is not None:
        assert agreement(found, Decimal("1.1194")) in Status
