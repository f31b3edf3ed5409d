"""Compiles StableHLO for a TPU v5e ahead of time, with PyPI's jax and libtpu; no TPU is needed.

``python compile_for_tpu.py FOLDER`` compiles every ``FOLDER/*.mlir`` and prints, as JSON, what the compiler
says of each: the bytes that one run accesses, those of arguments whose place results take, and those of
temporary memory.
"""

import json
import os
import pathlib
import sys

TOPOLOGY = "v5e:2x2"
# What libtpu asks of a machine that has a TPU.
SETTINGS = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    # Tests run side by side, and there is no TPU to be shared.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",
}


def main(folder):
    """Print the reports."""
    os.environ.update(SETTINGS)
    # Tests are collected where jax is not installed, and it reads the settings when it is imported.
    from jax.experimental import topologies

    device = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGY).devices[0]
    found = {
        path.stem: compiled(path.read_text(), device) for path in sorted(pathlib.Path(folder).glob("*.mlir"))
    }
    print(json.dumps(found))


def compiled(text, device):
    """What the compiler says of one module."""
    from jax.interpreters import mlir
    from jaxlib import xla_client
    from jaxlib.mlir import ir

    with mlir.make_ir_context():
        module = ir.Module.parse(text)
        program = device.client.compile(
            module,
            executable_devices=xla_client.DeviceList((device,)),
            compile_options=xla_client.CompileOptions(),
        )
    memory = program.get_compiled_memory_stats()
    return {
        "bytes": program.cost_analysis()["bytes accessed"],
        "in place": memory.alias_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
    }


if __name__ == "__main__":
    main(sys.argv[1])
