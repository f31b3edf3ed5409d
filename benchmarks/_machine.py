"""What results were measured on, without naming the machine."""

import importlib.metadata
import os
import pathlib
import platform
import re

from tfopt.kernels.memory import USE_POOL

PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "numpy")
CPUINFO = pathlib.Path("/proc/cpuinfo")


def description(others=()):
    """Processor, cores, system, versions, also of the packages `others`, and whether memory is kept."""
    kept = {"memory": "kept"} if os.environ.get(USE_POOL) == "true" else {}
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: found for package in (*PACKAGES, *others) if (found := installed(package))},
        **kept,
    }


def processor():
    """The processor's model."""
    text = CPUINFO.read_text(encoding="utf-8") if CPUINFO.exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return model[1] if model else platform.processor() or platform.machine()


def installed(package):
    """Version of an installed package, None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def load():
    """Processes that wanted to run during the last minute; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
