"""optax' Adam as one function compiled by JAX, in buffers that it gets back."""

from benchmarks._contenders import ADAM


class Optax:
    """``optax.adam`` under ``jax.jit`` with donated weights and slots."""

    def __init__(self, gradients):
        import jax
        import optax

        rule = optax.adam(ADAM["learning_rate"], b1=ADAM["beta_1"], b2=ADAM["beta_2"], eps=ADAM["epsilon"])

        def step(weights, state, gradients):
            updates, state = rule.update(gradients, state)
            return optax.apply_updates(weights, updates), state

        self.jax = jax
        self.step = jax.jit(step, donate_argnums=(0, 1))
        self.arrays = [jax.numpy.zeros(g.shape) for g in gradients]
        self.state = rule.init(self.arrays)
        self.feed(gradients)

    def __call__(self):
        self.arrays, self.state = self.step(self.arrays, self.state, self.gradients)
        self.jax.block_until_ready(self.arrays)

    def feed(self, gradients):
        """Replace the gradients."""
        self.gradients = [self.jax.numpy.array(g) for g in gradients]

    def weights(self):
        """The weights."""
        return list(map(self.jax.device_get, self.arrays))
