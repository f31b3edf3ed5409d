"""What runs on a machine with an NVIDIA GPU, nvcc, PyTorch and JAX, but without TensorFlow; see README.md."""
