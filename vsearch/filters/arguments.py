"""What a caller may write as a value of a condition, checked and brought to the one form that trees hold.

Everything here raises InvalidFilter for what it does not take. NumPy scalars are taken as Python's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time
from itertools import islice
from typing import Any

import numpy as np

from vsearch.errors import InvalidFilter
from vsearch.types import MAX_FILTER_VALUES

from .values import Place, datetime_of, instant_us, number

Scalar = str | int | float | bool
Bound = int | float | datetime | None


def sequence(values: Any, what: str) -> tuple[Any, ...]:
    if isinstance(values, (str, bytes, dict)) or not isinstance(values, Iterable):
        raise InvalidFilter(f"{what} are {values!r}", "Use a list")
    some = tuple(islice(values, MAX_FILTER_VALUES + 1))
    if len(some) > MAX_FILTER_VALUES:
        raise InvalidFilter(f"too many {what} in one condition", f"Use at most {MAX_FILTER_VALUES}")
    return some


def plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def finite(value: int | float) -> int | float:
    value = number(value)
    if not math.isfinite(value):
        raise InvalidFilter(f"value to compare with is {value}", "Use a finite number; leave out a bound that is open")
    return value


def scalar(value: Any) -> Scalar:
    value = plain(value)
    if isinstance(value, (str, bool)):
        return value
    if isinstance(value, (int, float)):
        return finite(value)
    hints = {
        type(None): "For null or missing values use is_null, is_empty or exists",
        list: "For one of several values use any; for a list that contains every value use all",
        datetime: "Datetimes are compared by ranges",
    }
    hint = hints.get(type(value), "Use a string, a number, True or False")
    raise InvalidFilter(f"cannot compare with {value!r}", hint)


def bound(value: Any) -> Bound:
    value = plain(value)
    if value is None:
        return None
    if isinstance(value, str):
        us = instant_us(value)
        if us is not None:
            return _utc(lambda: datetime_of(us), value)
    elif isinstance(value, datetime):
        return _utc(lambda: value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC), value)
    elif isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        return finite(value)
    hint = "Use a number, a datetime, or an RFC 3339 string such as 2024-05-01T12:00:00Z"
    raise InvalidFilter(f"{value!r} has no order", hint)


def _utc(convert: Callable[[], datetime], value: object) -> datetime:
    try:
        return convert()
    except OverflowError:
        raise InvalidFilter(f"datetime {value!r} is out of range in UTC", "Use years 1 to 9999") from None


def degrees(value: Any, limit: float, what: str) -> float:
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(finite(value)) <= limit:
        raise InvalidFilter(f"{what} is {value!r}", "Latitudes are -90 to 90, longitudes -180 to 180, radii in metres")
    return float(value)


def ring(points: Any) -> tuple[Place, ...]:
    given = sequence(points, "points of a ring")
    good = all(isinstance(point, (tuple, list)) and len(point) == 2 for point in given)
    if not good or len(given) < 4 or tuple(given[0]) != tuple(given[-1]):
        raise InvalidFilter("a ring is not closed", "Give four or more (lat, lon) pairs, the last equal to the first")
    return tuple((degrees(lat, 90, "latitude"), degrees(lon, 180, "longitude")) for lat, lon in given)
