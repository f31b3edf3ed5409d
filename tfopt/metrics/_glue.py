"""The only file of the metrics that touches Keras' private hooks."""


def prefer_low(metric):
    """Tell `EarlyStopping` and its like, whose mode is "auto", that a metric is to be made small."""
    metric._direction = "down"
