"""Sparse coding: data as sparse combinations of learnt atoms, by block coordinate descent."""

from tfopt.sparse_coding.layer import SparseCoding

__all__ = ["SparseCoding"]
