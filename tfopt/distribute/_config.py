"""The environment variable TF_CONFIG: the cluster that a process belongs to, and its own place in it."""

import json
import os

from tfopt._check import require

EXPECTED = (
    'a JSON object with "cluster", a dict from job ("worker", "ps", "chief") to addresses "host:port", and '
    '"task", such as {"type": "worker", "index": 0}'
)


def tf_config(owner, required=True):
    """Cluster and task as TF_CONFIG has them, two dicts; empty where there are none and none is `required`.

    Raises:
        ValueError: If TF_CONFIG is something else.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        found = json.loads(text or "{}")
        cluster, task = found.get("cluster", {}), found.get("task") or {}
    except (AttributeError, ValueError):
        cluster, task = None, None
    dicts = isinstance(cluster, dict) and isinstance(task, dict)
    require(dicts and (cluster or not required), owner, "TF_CONFIG", text, EXPECTED)
    return cluster, task


def place_of(owner, cluster, task, jobs):
    """Job and index of a task whose job is one of `jobs`; the only one of a job needs no index.

    Raises:
        ValueError: If the cluster has no such place.
    """
    job, index = task.get("type"), task.get("index")
    count = len(cluster.get(job, ())) if job in jobs else 0
    if index is None and count == 1:
        index = 0
    names = " or ".join(f'"{name}"' for name in jobs)
    expected = f'TF_CONFIG with a "task" of "type" {names} and an "index" that the cluster has'
    require(isinstance(index, int) and 0 <= index < count, owner, "task", task, expected)
    return job, index
