"""What one payload value means to a filter: numbers, instants, words and places.

Every evaluation of a filter, on one payload or on columns, reads values through these functions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
EARTH_RADIUS_M: Final = 6_371_008.8  # the mean radius of the WGS 84 ellipsoid (IUGG)

Place = tuple[float, float]  # (lat, lon) in degrees

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_MICROSECOND: Final = timedelta(microseconds=1)
_WORD: Final = re.compile(r"[^\W_]+")
_DATETIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?"
    r"(?: ?([Zz]|UTC|[+-][0-9]{2}(?::?[0-9]{2})?))?)?"
)


def number(value: int | float) -> int | float:
    """A number as columns hold it: an integer of 64 bits or a float64. Larger integers are rounded to a float."""
    if isinstance(value, float) or INT64_MIN <= value <= INT64_MAX:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def instant_us(text: str) -> int | None:
    """Microseconds since 1970 in UTC of an RFC 3339 date or datetime; None for any other text.

    The time may be missing (midnight), end at the minutes, and follow a space; without an offset it is in UTC. Digits
    after the sixth of a second are dropped. Leap seconds and 24:00 are refused.
    """
    parts = _DATETIME.fullmatch(text)
    if parts is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = parts.groups()
    clock = (int(hour or 0), int(minute or 0), int(second or 0))
    if clock[0] > 23 or clock[1] > 59 or clock[2] > 59:
        return None
    offset_min = 0
    if zone and zone[0] in "+-":
        zone_hours, zone_minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
        if zone_hours > 23 or zone_minutes > 59:
            return None
        offset_min = (zone_hours * 60 + zone_minutes) * (-1 if zone[0] == "-" else 1)
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    minutes = (days * 24 + clock[0]) * 60 + clock[1] - offset_min
    return (minutes * 60 + clock[2]) * 1_000_000 + int((fraction or "0")[:6].ljust(6, "0"))


def datetime_us(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime."""
    return (moment - _EPOCH) // _MICROSECOND


def datetime_of(us: int) -> datetime:
    """The aware datetime in UTC, so many microseconds after 1970. Raises OverflowError outside years 1 to 9999."""
    return _EPOCH + us * _MICROSECOND


def words(text: str) -> list[str]:
    """The runs of letters and digits of a text, in order, case folded (so that STRASSE, Straße and strasse agree)."""
    return [word.casefold() for word in _WORD.findall(text)]


def place(value: Any) -> Place | None:
    """The (lat, lon) of an object `{"lat": ..., "lon": ...}` of numbers in range; None for any other value."""
    if not isinstance(value, dict):
        return None
    lat, lon = value.get("lat"), value.get("lon")
    for degrees in (lat, lon):
        if isinstance(degrees, bool) or not isinstance(degrees, (int, float)):
            return None
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):  # type: ignore[operator]  # false for nan as well
        return None
    return float(lat), float(lon)  # type: ignore[arg-type]


def distance_m(a: Place, b: Place) -> float:
    """Metres between two places on the sphere by the haversine formula (Sinnott 1984)."""
    lat_a, lon_a, lat_b, lon_b = map(math.radians, (*a, *b))
    h = math.sin((lat_b - lat_a) / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(math.sqrt(min(h, 1.0)))


def in_ring(point: Place, ring: Sequence[Place]) -> bool | None:
    """Whether a closed ring encloses a point, in the plane of degrees; None on the ring itself.

    Even-odd rule: a ray from the point crosses the ring an odd number of times.
    """
    lat, lon = point
    inside = False
    for (lat_a, lon_a), (lat_b, lon_b) in pairwise(ring):
        cross = (lon - lon_a) * (lat_b - lat_a) - (lat - lat_a) * (lon_b - lon_a)
        beside = min(lat_a, lat_b) <= lat <= max(lat_a, lat_b) and min(lon_a, lon_b) <= lon <= max(lon_a, lon_b)
        if cross == 0 and beside:
            return None
        if (lat_a > lat) != (lat_b > lat):  # the edge spans the point's latitude: is the crossing east of it?
            inside ^= (cross < 0) == (lat_b > lat_a)
    return inside
