"""The obvious evaluation of a filter on one payload, which shares nothing with the package but the node classes."""

import math
import re
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise

from vsearch.filters import tree


def holds(node, point_id, payload):
    name = type(node).__name__
    if name == "And":
        return all(holds(one, point_id, payload) for one in node.conditions)
    if name == "Or":
        return any(holds(one, point_id, payload) for one in node.conditions)
    if name == "Not":
        return not holds(node.condition, point_id, payload)
    if name == "MinShould":
        return len([one for one in node.conditions if holds(one, point_id, payload)]) >= node.count
    if name == "HasId":
        return any(type(one) is type(point_id) and one == point_id for one in node.ids)
    found = sites(payload, node.path)
    if name == "Nested":
        return any(holds(node.condition, point_id, one) for one in found if type(one) is dict)  # the path ends in []
    if name == "Exists":
        return len(found) > 0
    if name == "IsNull":
        return any(site is None or (type(site) is list and any(one is None for one in site)) for site in found)
    if name == "IsEmpty":
        return all(site is None or (type(site) is list and len(site) == 0) for site in found)
    if name == "ValuesCount":
        counts = [len(site) if type(site) is list else 0 if site is None else 1 for site in found] or [0]
        return any(in_bounds(count, node) for count in counts)
    values = []
    for site in found:
        values += site if type(site) is list else [site]
    return any(value_holds(node, value) for value in values)


def value_holds(node, value):
    match node:
        case tree.Equals():
            return same(value, node.value)
        case tree.Except():
            return value is not None and not any(same(value, one) for one in node.values)
        case tree.In():
            return any(same(value, one) for one in node.values)
        case tree.Range():
            return range_holds(node, value)
        case tree.TextMatch():
            return type(value) is str and text_holds(node, value)
    place = (value.get("lat"), value.get("lon")) if type(value) is dict else (None, None)
    if not all(type(one) in (int, float) and abs(one) <= limit for one, limit in zip(place, (90, 180), strict=True)):
        return False
    lat, lon = float(place[0]), float(place[1])
    match node:
        case tree.GeoRadius():
            return haversine(lat, lon, node.lat, node.lon) < node.radius_m
        case tree.GeoBox():
            inside = node.left < lon < node.right if node.left <= node.right else lon > node.left or lon < node.right
            return node.bottom < lat < node.top and inside
        case tree.GeoPolygon():
            around = [side((lat, lon), ring) for ring in (node.exterior, *node.interiors)]
            return around[0] == "in" and all(one == "out" for one in around[1:])
    raise NotImplementedError(node)


def sites(payload, path):
    """Every value at a path, by recursion over the text of the path."""

    def look(value, rest):
        if rest == "":
            return [value]
        if step := re.match(r"\[\]", rest):
            return [one for item in (value if type(value) is list else []) for one in look(item, rest[step.end() :])]
        if step := re.match(r"\[(\d+)\]", rest):
            number = int(step[1])
            return look(value[number], rest[step.end() :]) if type(value) is list and number < len(value) else []
        step = re.match(r'\.?(?:"((?:[^"]|"")*)"|([\w-]+))', rest)
        key = step[2] if step[1] is None else step[1].replace('""', '"')
        return look(value[key], rest[step.end() :]) if type(value) is dict and key in value else []

    return look(payload, path)


def as_number(value):
    """An exact value to compare: integers of more than 64 bits are floats."""
    if type(value) is int and not -(2**63) <= value < 2**63:
        value = float(value) if abs(value) < 2**1024 else math.inf if value > 0 else -math.inf
    return value if type(value) is float and not math.isfinite(value) else Fraction(value)


def same(value, other):
    if type(value) in (int, float) and type(other) in (int, float):
        return as_number(value) == as_number(other)
    return type(value) is type(other) and value == other


def in_bounds(value, node):
    checks = {
        "gt": lambda bound: value > bound,
        "gte": lambda bound: value >= bound,
        "lt": lambda bound: value < bound,
        "lte": lambda bound: value <= bound,
    }
    return all(check(getattr(node, name)) for name, check in checks.items() if getattr(node, name) is not None)


def range_holds(node, value):
    given = [bound for bound in (node.gt, node.gte, node.lt, node.lte) if bound is not None]
    if isinstance(given[0], datetime):
        moment = as_datetime(value) if type(value) is str else None
        return moment is not None and in_bounds(moment, node)
    return type(value) in (int, float) and in_bounds(as_number(value), node)


TIMES = ["00:00", "00:00:00", "00:00:00.0"]
OFFSETS = [sign + digits for sign in "+-" for digits in ("00", "0000", "00:00")]
ZONES = ["", *(space + zone for space in ("", " ") for zone in ("Z", "z", "UTC", *OFFSETS))]
SHAPES = {"0000-00-00", *(f"0000-00-00{sep}{time}{zone}" for sep in "Tt " for time in TIMES for zone in ZONES)}


def as_datetime(text):
    """By the standard library, if the text has one of the shapes that are datetimes."""
    if re.sub(r"\.0+", ".0", re.sub("[0-9]", "0", text)) not in SHAPES:
        return None
    day, clock = text[:10], text[11:]
    clock = re.sub(r"(Z|z|UTC)$", "+00", clock.replace(" ", ""))
    clock = re.sub(r"\.[0-9]+", lambda fraction: fraction[0].ljust(7, "0")[:7], clock)
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}" if clock else day)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def fold_words(text):
    return [word.casefold() for word in re.split(r"[\W_]+", text) if word]


def text_holds(node, value):
    if node.mode in ("substring", "prefix"):
        text, value = (node.text.casefold(), value.casefold()) if node.ignore_case else (node.text, value)
        return value[: len(text)] == text if node.mode == "prefix" else value.find(text) >= 0
    wanted, there = fold_words(node.text), fold_words(value)
    if not wanted:
        return False
    if node.mode == "words":
        return all(word in there for word in wanted)
    if node.mode == "any_word":
        return any(word in there for word in wanted)
    return any(there[at : at + len(wanted)] == wanted for at in range(len(there)))


def haversine(lat_a, lon_a, lat_b, lon_b):
    a, b = math.radians(lat_a), math.radians(lat_b)
    h = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(lon_b - lon_a) / 2) ** 2
    return 2 * 6_371_008.8 * math.asin(min(1.0, math.sqrt(h)))


def side(point, ring):
    """in, out or on a closed ring: exact, by the crossings of a ray towards greater longitudes."""
    y, x = map(Fraction, point)
    crossings = 0
    for (ya, xa), (yb, xb) in pairwise(ring):
        ya, xa, yb, xb = map(Fraction, (ya, xa, yb, xb))
        if ya == yb:
            if y == ya and min(xa, xb) <= x <= max(xa, xb):
                return "on"
            continue
        at = xa + (y - ya) * (xb - xa) / (yb - ya)
        if min(ya, yb) <= y <= max(ya, yb) and at == x:
            return "on"
        if (ya > y) != (yb > y) and at > x:
            crossings += 1
    return "in" if crossings % 2 else "out"
