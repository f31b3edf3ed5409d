"""Compare optimizers on real data."""
