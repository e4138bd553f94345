"""Dates and durations: their texts and their arithmetic.

A date is an instant in UTC, in microseconds since 1970, within the years 1 to 9999. A duration is a number of months
and an exact number of nanoseconds. Each has one canonical text, which is the value in Python.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_ZONE_HOURS = {"z": 0, "utc": 0, "gmt": 0, "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6}
_ZONE_HOURS |= {"pst": -8, "pdt": -7}

_MONTH_NAME = r"(?P<name>[a-z]{3,9})\.?"
_DATES = (
    r"(?P<y>\d{4})([-/.])(?P<m>\d{1,2})\2(?P<d>\d{1,2})",
    r"(?P<y>\d{4})年(?P<m>\d{1,2})月(?P<d>\d{1,2})日",
    r"(?P<m>\d{1,2})([/.])(?P<d>\d{1,2})\2(?P<y>\d{4}|\d\d)",
    rf"(?P<y>\d{{4}})-{_MONTH_NAME}-(?P<d>\d{{1,2}})",
    rf"{_MONTH_NAME} +(?P<d>\d{{1,2}}),? +(?P<y>\d{{4}})",
    rf"([a-z]{{3}}, )?(?P<d>\d{{1,2}}) +{_MONTH_NAME},? +(?P<y>\d{{4}})",
)
_TIME = (
    r"(?P<hour>\d{1,2})[:时](?P<minute>\d\d)([:分](?P<second>\d\d)(\.(?P<fraction>\d{1,9}))?)?[分秒]?"
    r"( *(?P<half>am|pm))?"
)
_ZONE = rf"( *(?P<zone>{'|'.join(_ZONE_HOURS)}|[+-]\d\d(:?\d\d)?))?"
_MOMENTS = [rf"{date}((t|,? +at +|,? *){_TIME})?{_ZONE}" for date in _DATES]
_TIME_ALONE = _TIME + _ZONE
_TIMESTAMP = r"\d{10}|\d{13}|\d{16}|\d{19}"

_NANOSECONDS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_NANOSECONDS |= {"d": 24 * _NANOSECONDS["h"], "w": 7 * 24 * _NANOSECONDS["h"]}
_UNITS = {
    alias: unit
    for unit, aliases in {
        "ns": "n ns nsec nsecs nanosecond nanoseconds",
        "us": "us usec usecs microsecond microseconds",
        "ms": "ms msec msecs millisecond milliseconds",
        "s": "s sec secs second seconds",
        "m": "m min mins minute minutes",
        "h": "h hr hrs hour hours",
        "d": "d day days",
        "w": "w wk wks week weeks",
        "M": "M mo mos month months",
        "y": "y yr yrs year years",
    }.items()
    for alias in aliases.split()
}
_PART = r"\s*([+-]?)\s*(\d+)\s*([A-Za-z]+)\s*"
_CANONICAL = r"(?:R(-?\d+)MO )?(-?)P(?:0D|T(\d+)(?:\.(\d{1,9}))?S)"


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A number of months and an exact number of nanoseconds; ordered by months first."""

    months: int
    nanoseconds: int

    def __str__(self) -> str:
        seconds, fraction = divmod(abs(self.nanoseconds), 10**9)
        shown = f".{fraction:09}".rstrip("0") if fraction else ""
        exact = f"{'-' if self.nanoseconds < 0 else ''}PT{seconds}{shown}S" if self.nanoseconds else "P0D"
        return f"R{self.months}MO {exact}" if self.months else exact


NO_DURATION = Duration(0, 0)


def parse_datetime(text: str) -> int | None:
    """The instant that a text writes in any common notation, in UTC if it has no zone; None if it is no date.

    A date alone is its midnight, a time alone that time of today. In `4/8/2014` the month comes first.
    """
    text = text.strip()
    if _compiled(_TIMESTAMP).fullmatch(text):
        microseconds = int(text) * 10**6 // 10 ** (3 * ((len(text) - 10) // 3))
        return microseconds if is_instant(microseconds) else None
    for pattern in _MOMENTS:
        found = _compiled(pattern).fullmatch(text)
        if found is not None:
            return _instant(found, found["y"], _month(found), found["d"])
    found = _compiled(_TIME_ALONE).fullmatch(text)
    today = datetime.now(UTC)
    return None if found is None else _instant(found, str(today.year), today.month, str(today.day))


@cache
def _compiled(pattern: str) -> re.Pattern:
    """A pattern without regard to case, compiled when it is needed: few programs have dates, and all would wait."""
    return re.compile(pattern, re.IGNORECASE)


def _month(found: re.Match) -> int:
    """The number of a month; 0 for an unknown name."""
    groups = found.groupdict()
    if groups.get("name") is None:
        return int(groups["m"])
    name = groups["name"].lower()
    return next((i for i, month in enumerate(_MONTHS, 1) if month.startswith(name)), 0)


def _instant(found: re.Match, year: str, month: int, day: str) -> int | None:
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    half = (found["half"] or "").lower()
    if half and not 1 <= hour <= 12:
        return None
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    # A year of two digits lies in 1969 to 2068, as in POSIX.
    full_year = int(year) if len(year) == 4 else int(year) + (2000 if int(year) < 69 else 1900)
    fraction = int((found["fraction"] or "").ljust(6, "0")[:6])
    zone = (found["zone"] or "z").lower()
    if zone in _ZONE_HOURS:
        offset = timedelta(hours=_ZONE_HOURS[zone])
    else:
        digits = zone[1:].replace(":", "").ljust(4, "0")
        offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:])) * (-1 if zone[0] == "-" else 1)
    # The fields may name no date, such as the 30th of February.
    try:
        local = datetime(full_year, month, int(day), hour, minute, second, fraction, UTC)
    except ValueError:
        return None
    instant = (local - _EPOCH - offset) // timedelta(microseconds=1)
    return instant if is_instant(instant) else None


def is_instant(microseconds: int) -> bool:
    """Whether an instant lies in the years 1 to 9999."""
    return _FIRST - _EPOCH <= timedelta(microseconds=microseconds) <= _LAST - _EPOCH


def show_datetime(instant: int) -> str:
    """The canonical text: `2020-01-02 03:04:05 UTC`, with a fraction of 3 or 6 digits if there is one."""
    moment = _EPOCH + timedelta(microseconds=instant)
    fraction = "" if not moment.microsecond else f".{moment.microsecond:06}".removesuffix("000")
    return f"{moment.replace(microsecond=0, tzinfo=None).isoformat(sep=' ')}{fraction} UTC"


def parse_duration(text: str) -> Duration | None:
    """The duration of a text such as `1 y 2 M 3 w 4 d 5 h 6 m 7 s`, or of a canonical text; None if it is none."""
    found = re.fullmatch(_CANONICAL, text.strip())
    if found is not None:
        months, sign, seconds, fraction = found.groups()
        exact = int(seconds or 0) * 10**9 + int((fraction or "").ljust(9, "0"))
        return Duration(int(months or 0), -exact if sign else exact)
    part = re.compile(_PART)
    months, exact, position = 0, 0, 0
    while position < len(text):
        found = part.match(text, position)
        unit = None if found is None else _UNITS.get(found[3], _UNITS.get(found[3].lower()))
        if found is None or unit is None or len(found[2]) > 19:
            return None
        amount = int(found[2]) * (-1 if found[1] == "-" else 1)
        if unit in "My":
            months += amount * (12 if unit == "y" else 1)
        else:
            exact += amount * _NANOSECONDS[unit]
        position = found.end()
    return Duration(months, exact) if position else None


def show_time(value: date | timedelta) -> str:
    """The canonical text of a Python `datetime` (in UTC if it has no zone), `date` or `timedelta`."""
    if isinstance(value, timedelta):
        return str(Duration(0, value // timedelta(microseconds=1) * 1000))
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return show_datetime((moment - _EPOCH) // timedelta(microseconds=1))


def shift(instant: int, duration: Duration) -> int | None:
    """The instant after a duration: first the months, then, in a month that is too short, its last day.

    Rounds down to microseconds; None outside the years 1 to 9999.
    """
    moment = _EPOCH + timedelta(microseconds=instant)
    year, month = divmod(moment.year * 12 + moment.month - 1 + duration.months, 12)
    if not 1 <= year <= 9999:
        return None
    day = min(moment.day, _days(year, month + 1))
    shifted = moment.replace(year=year, month=month + 1, day=day) - _EPOCH
    result = shifted // timedelta(microseconds=1) + duration.nanoseconds // 1000
    # If it is beyond a timedelta's range, the result is out of range too.
    return result if abs(result) < 10**18 and is_instant(result) else None


def _days(year: int, month: int) -> int:
    """The number of days of a month."""
    if month == 2:
        return 28 + (year % 4 == 0 and (year % 100 != 0 or year % 400 == 0))
    return 30 if month in (4, 6, 9, 11) else 31


def scale(duration: Duration, factor: int) -> Duration:
    """Multiplies both parts of a duration by a number."""
    return Duration(duration.months * factor, duration.nanoseconds * factor)


def divide(duration: Duration, divisor: int) -> Duration:
    """Divides both parts of a duration, rounding toward zero; `divisor` is not 0."""
    return Duration(_quotient(duration.months, divisor), _quotient(duration.nanoseconds, divisor))


def _quotient(dividend: int, divisor: int) -> int:
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient
