"""The processor of this machine: its name, its cores, and the instructions that matter for the speed of a detector."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # of Linux
INSTRUCTIONS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor.

    Attributes:
        name: as the system calls it.
        cores: that this process may use.
        instructions: those of INSTRUCTIONS that it has; empty where the system does not list them.
    """

    name: str
    cores: int
    instructions: tuple[str, ...]


def read_processor(cpuinfo: Path = CPUINFO) -> Processor:
    """Return the processor that the file `cpuinfo` describes, or what Python knows of it if there is no such file."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name") or platform.processor() or platform.machine()
    flags = set(fields.get("flags", "").split())
    return Processor(name, cores, tuple(one for one in INSTRUCTIONS if one in flags))
