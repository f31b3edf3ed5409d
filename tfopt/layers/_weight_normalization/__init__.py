"""What weight normalization knows about kernels, and how a layer runs with other values than it holds."""
