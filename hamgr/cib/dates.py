"""Dates in rules: ISO 8601 times, durations by the calendar, and date specifications.

Implements "Date/Time Expressions" of Pacemaker Explained. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

from hamgr.cib.model import DateExpression
from hamgr.cib.scores import leading_int


def seconds(moment: datetime) -> int:
    """Seconds since the epoch; a time without a zone is UTC."""
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def parse_date(text: str) -> int | None:
    """Seconds since the epoch of an ISO 8601 time; None when it is none. Without a zone it is UTC."""
    day, _, clock = text.strip().replace("T", " ", 1).partition(" ")
    try:
        return seconds(datetime.combine(_day(day), time.fromisoformat(clock.replace(" ", "") or "00:00")))
    except (ValueError, OverflowError):
        return None


def _day(text: str) -> date:
    """A calendar date, week date, or (2005-095) day of the year."""
    year, _, number = text.partition("-")
    if len(number) == 3 and number.isdigit():
        return date(int(year), 1, 1) + timedelta(days=int(number) - 1)
    return date.fromisoformat(text)


_MONTHS = {"years": 12, "months": 1}


def add_duration(start: int, duration: Mapping[str, str]) -> int:
    """A time plus a duration of years, months, weeks, days, hours, minutes and seconds."""
    moment = datetime.fromtimestamp(start, UTC)
    months = sum(leading_int(value) * _MONTHS[unit] for unit, value in duration.items() if unit in _MONTHS)
    if months:
        year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
        for day in (moment.day, 30, 29, 28):
            try:
                moment = moment.replace(year=year, month=month + 1, day=day)
                break
            except ValueError:
                continue
    rest = {
        unit: leading_int(value)
        for unit, value in duration.items()
        if unit in ("weeks", "days", "hours", "minutes", "seconds")
    }
    return int((moment + timedelta(**rest)).timestamp())


def holds(part: DateExpression, now: int) -> bool:
    """Whether a date expression holds at a time (seconds since the epoch)."""
    start = parse_date(part.start) if part.start else None
    end = parse_date(part.end) if part.end else None
    if part.operation == "in_range":
        if start is not None and end is None and part.duration:
            end = add_duration(start, part.duration)
        if start is None and end is None:
            return False
        return (start is None or now >= start) and (end is None or now <= end)
    if part.operation == "gt":
        return start is not None and now > start
    if part.operation == "lt":
        return end is not None and now < end
    if part.operation == "date_spec":
        return _date_spec_holds(part.date_spec, now)
    return False


def _date_spec_holds(spec: Mapping[str, str], now: int) -> bool:
    moment = datetime.fromtimestamp(now, UTC)
    week_year, week, weekday = moment.isocalendar()
    actual = {
        "seconds": moment.second,
        "minutes": moment.minute,
        "hours": moment.hour,
        "monthdays": moment.day,
        "weekdays": weekday,
        "yeardays": moment.timetuple().tm_yday,
        "months": moment.month,
        "weeks": week,
        "years": moment.year,
        "weekyears": week_year,
    }
    return all(_in_range(text, actual[name]) for name, text in spec.items() if name in actual)


def _in_range(text: str, value: int) -> bool:
    low, dash, high = text.partition("-")
    if not dash:
        return leading_int(low) == value
    return (not low or value >= leading_int(low)) and (not high or value <= leading_int(high))
