"""Estimates in words: sizes and durations."""

from __future__ import annotations

from datetime import datetime, timedelta


def format_bytes(count: float) -> str:
    """A number of bytes: "2.1 GB", "340 kB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= 0.95 * size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def format_time_left(seconds: float) -> str:
    """A duration from now and the time at which it ends: "3 h 10 min, until Tue 14 Jan 14:05"."""
    end = datetime.now() + timedelta(seconds=seconds)
    return f"{format_duration(seconds)}, until {end:%a %d %b %H:%M}"


def format_duration(seconds: float) -> str:
    """A duration in its two largest units: "12 s", "59 min", "3 h 10 min", "1 d 0 h"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    days, rest = divmod(round(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min"
