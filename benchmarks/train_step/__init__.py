"""Whole train steps, forward, backward and update, with TensorFlow's memory as it is and kept."""
