"""`tfopt kernels`: which update runs as a fused kernel here, and why not where not."""

import argparse

from tfopt.kernels.registry import status

DESCRIPTION = """\
Print which rules have a fused kernel on this machine and on which instruction set it runs; where there is
none, why. TFOPT_KERNELS=off switches them off, TFOPT_ISA=baseline, avx2 or avx512 chooses instructions."""


def main(arguments):
    """Print the state of the kernels; exit code 0 where there are some, 1 where there are none."""
    parser = argparse.ArgumentParser(
        prog="tfopt kernels",
        description=DESCRIPTION,
        epilog="Exit code: 0 if there are fused kernels, 1 if not, 2 wrong arguments.",
    )
    parser.parse_args(arguments)
    found = status()
    print(found)
    return 0 if found else 1
