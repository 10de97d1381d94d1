"""What a latency depends on besides the code: the machine, its settings, the versions, and who else was using it."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path

from edgelane._version import __version__

# Vendor, family and model of /proc/cpuinfo where the maker's manuals give one server generation.
_GENERATIONS = {
    ("GenuineIntel", "6", "106"): "Intel Xeon Ice Lake",
    ("GenuineIntel", "6", "143"): "Intel Xeon Sapphire Rapids",
    ("GenuineIntel", "6", "207"): "Intel Xeon Emerald Rapids",
    ("AuthenticAMD", "25", "1"): "AMD EPYC Milan",
    ("AuthenticAMD", "25", "17"): "AMD EPYC Genoa",
    ("AuthenticAMD", "26", "2"): "AMD EPYC Turin",
}
PEERS = ("numpy", "onnx", "onnxruntime", "openvino", "torch", "torchvision")


def environment() -> dict[str, object]:
    """Describe this machine: CPU, instruction sets, cores, memory, governor, Python and the versions of the peers.

    A value that cannot be read here is None, so that a reader sees what was not known.
    """
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "isas": available_isas(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "memory_gib": memory_gib(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {"edgelane": __version__, **{name: version(name) for name in PEERS}},
    }


def version(package: str) -> str | None:
    """Version of an installed package, or None. The package is not imported."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu_name() -> str:
    """The processor's own name, from edgelane's extension where it is built, else from the operating system."""
    try:
        from edgelane import _C

        return str(_C.cpu_name())
    except ImportError:
        return next(iter(_cpuinfo("model name")), platform.processor() or platform.machine())


def available_isas() -> list[str] | None:
    """Kernel sets that edgelane can run here, or None where its extension is not built."""
    try:
        from edgelane import _C

        return [str(isa) for isa in _C.available_isas()]
    except ImportError:
        return None


def cpu_flags() -> frozenset[str]:
    """What /proc/cpuinfo says that the CPU can do; empty where there is no such file."""
    return frozenset(word for line in _cpuinfo("flags")[:1] for word in line.split())


def machine_slug() -> str:
    """A short name of this CPU for file names, such as "amd-epyc-9b14-2-cores".

    Virtual machines often hide the model's number. The CPU's family and model then say which generation it is, as far
    as they are unambiguous.
    """
    name = cpu_name()
    if not any(character.isdigit() for character in name):
        vendor, family, model = (next(iter(_cpuinfo(key)), "") for key in ("vendor_id", "cpu family", "model"))
        name = _GENERATIONS.get((vendor, family, model)) or f"{vendor} family {family} model {model}"
    words = re.findall(r"[a-z0-9]+", re.sub(r"\((r|tm)\)", "", name.lower()))
    return "-".join([*words, str(usable_cores()), "cores"])


def usable_cores() -> int:
    """Cores this process may run on: containers and taskset often allow fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gib() -> float | None:
    """Physical memory in GiB."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


class Load:
    """How much of the machine other processes took while something was measured.

    The load average alone misleads: it counts the measurement itself and lags by a minute. The kernel's counters of
    busy time, minus this process's own CPU time, are exact.
    """

    def __init__(self, own_seconds: Callable[[], float] = time.process_time) -> None:
        """`own_seconds` gives the CPU time of the measurement so far: this process's, where it does not say."""
        self._own_seconds = own_seconds
        self._wall = time.monotonic()
        self._own = own_seconds()
        self._busy = _busy_seconds()

    def foreign_cores(self) -> float | None:
        """Average number of cores that other processes (or the hypervisor) kept busy since this object was made; None
        if unknown.
        """
        busy = _busy_seconds()
        wall = time.monotonic() - self._wall
        if busy is None or self._busy is None or wall <= 0:
            return None
        return round(max(0.0, ((busy - self._busy) - (self._own_seconds() - self._own)) / wall), 2)


def load_average() -> float | None:
    """The one-minute load average, or None where the system has none."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def _busy_seconds() -> float | None:
    """Seconds that all cores together were not idle since the machine started, stolen time included."""
    line = _read("/proc/stat")
    if line is None:
        return None
    # cpu user nice system idle iowait irq softirq steal guest guest_nice; guest time is already inside user and nice
    fields = [int(field) for field in line.splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / float(os.sysconf("SC_CLK_TCK"))


def _cpuinfo(key: str) -> list[str]:
    text = _read("/proc/cpuinfo") or ""
    return [line.split(":", 1)[1].strip() for line in text.splitlines() if line.split(":")[0].strip() == key]


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None
