"""Benchmarks of tfopt; `make bench` runs them all, README.md says how they measure."""
