"""Compiles StableHLO for a TPU v5e ahead of time, with PyPI's jax and libtpu; no TPU is needed.

``python compile_for_tpu.py FOLDER`` compiles every ``FOLDER/*.mlir`` and prints, as JSON, what the compiler
says of each: the bytes that one run accesses, and those of arguments whose place results take.
"""

import json
import os
import pathlib
import sys

os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}

from jax.experimental import topologies
from jax.interpreters import mlir
from jaxlib import xla_client
from jaxlib.mlir import ir

TOPOLOGY = "v5e:2x2"


def main(folder):
    """Print the reports."""
    device = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGY).devices[0]
    found = {
        path.stem: compiled(path.read_text(), device) for path in sorted(pathlib.Path(folder).glob("*.mlir"))
    }
    print(json.dumps(found))


def compiled(text, device):
    """What the compiler says of one module."""
    with mlir.make_ir_context():
        module = ir.Module.parse(text)
        program = device.client.compile(
            module,
            executable_devices=xla_client.DeviceList((device,)),
            compile_options=xla_client.CompileOptions(),
        )
    return {
        "bytes": program.cost_analysis()["bytes accessed"],
        "in place": program.get_compiled_memory_stats().alias_size_in_bytes,
    }


if __name__ == "__main__":
    main(sys.argv[1])
