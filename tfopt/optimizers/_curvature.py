"""The Hessian of the loss whose gradients Keras hands over, by differentiating the traced gradients again."""

import tensorflow as tf

from tfopt.optimizers._flat import joined
from tfopt.optimizers._vectors import dense
from tfopt.repair.stopped_moments import warn_of_stopped_moments


class TracedHessian:
    """Products with ∇²J at the weights the gradients were taken at, as one vector.

    The variables' handles are captured by the graph of the gradients: inside a loop or a branch only through
    them does `tf.gradients` find the way back.
    """

    def __init__(self, owner, gradients, variables, dtype):
        if tf.executing_eagerly():
            raise ValueError(
                f"{owner}: expected a traced train step, whose gradients can be differentiated again; got "
                "eager execution. Compile the model without run_eagerly=True."
            )
        graph = tf.compat.v1.get_default_graph()
        warn_of_stopped_moments(graph)
        self.handles = [graph.capture(variable.handle) for variable in variables]
        self.shapes = [variable.shape for variable in variables]
        self.dtype = dtype
        self.gradient = joined(gradients, dtype)

    def product(self, vector):
        """∇²J v."""
        along = tf.tensordot(self.gradient, tf.stop_gradient(vector), 1)
        found = tf.gradients(along, self.handles)
        rows = zip(found, self.shapes, strict=True)
        return joined(
            [tf.zeros(shape, self.dtype) if row is None else row for row, shape in rows], self.dtype
        )

    def hessian(self):
        """∇²J, a chunk of its rows at a time."""
        return dense(self.product, self.gradient.shape[0], self.dtype)
