from __future__ import annotations

import pytest

from l7proxy.observe import times

MOMENT = 1_234_567_800_000


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("1970-01-01T00:20:34.567800Z", 1_234_567_800_000),
        ("1970-01-01T00:20:34Z", 1_234_000_000_000),
        ("1970-01-01T01:20:34.567800000+01:00", 1_234_567_800_000),
        ("1970-01-01T00:20:34.123456789999Z", 1_234_123_456_789),
        ("1970-01-02", 86_400_000_000_000),
        ("1970-01-02T01Z", 90_000_000_000_000),
        ("1969-12-31T23:59:59-00:30", 1_799_000_000_000),
    ],
)
def test_times_are_read_with_any_precision(written: str, moment: int) -> None:
    assert times.parse(written) == moment


@pytest.mark.parametrize("written", ["", "x", "1970-13-01", "0000-01-01", "1970-01-01T25Z", "١٩٧٠"])
def test_what_is_no_time_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        times.parse(written)


@pytest.mark.parametrize(
    ("written", "ago"),
    [
        ("3s", 3_000_000_000),
        ("1h43m", 6_180_000_000_000),
        ("1.5m", 90_000_000_000),
        ("250ms", 250_000_000),
        ("0", 0),
        ("-1s", -1_000_000_000),
    ],
)
def test_durations_lie_in_the_past(written: str, ago: int) -> None:
    assert times.ago(written, MOMENT) == MOMENT - ago


def test_a_span_may_begin_at_a_time() -> None:
    assert times.ago("1970-01-01T00:00:01Z", MOMENT) == 1_000_000_000
    assert times.ago("Thu, 01 Jan 1970 00:00:02 +0000", MOMENT) == 2_000_000_000
    for wrong in ("5 minutes", "1d", "yesterday, noon", ""):
        with pytest.raises(ValueError, match="neither a duration"):
            times.ago(wrong, MOMENT)


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("StampMilli", "Jan  1 00:20:34.567"),
        ("YearMonthDay", "1970-01-01"),
        ("YearMonthDayHour", "1970-01-01T00Z"),
        ("YearMonthDayHourMinute", "1970-01-01T00:20Z"),
        ("RFC3339", "1970-01-01T00:20:34Z"),
        ("RFC3339Milli", "1970-01-01T00:20:34.567Z"),
        ("RFC3339Micro", "1970-01-01T00:20:34.5678Z"),
        ("RFC3339Nano", "1970-01-01T00:20:34.5678Z"),
        ("RFC1123Z", "Thu, 01 Jan 1970 00:20:34 +0000"),
    ],
)
def test_the_formats_are_hubbles(form: str, shown: str) -> None:
    assert times.shown(MOMENT, form) == shown


def test_what_has_no_place_in_the_calendar_is_not_available() -> None:
    assert times.shown(None, "RFC3339") == "N/A"
    assert times.shown(10**30, "RFC3339") == "N/A"
