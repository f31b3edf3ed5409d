"""Synchronous training on several workers: what a step costs and sends, and what a model says of more."""
