"""Training on several machines, one import line each.

`multi_worker_strategy` is for synchronous training: Keras' own `fit` on workers that make the same updates.

Chapter section 3.2: while one minibatch's gradient is computed, others' can be. Under `AsynchronousTrainer`
workers compute gradients, servers hold the weights and update them as gradients arrive, and one process, the
coordinator, deals the batches out. It runs on TensorFlow's `ParameterServerStrategy`, for which Keras 3 has
no `fit`.
"""

from tfopt.distribute.asynchronous_trainer import AsynchronousTrainer
from tfopt.distribute.connect import connect
from tfopt.distribute.local_cluster import LocalCluster
from tfopt.distribute.multi_worker_strategy import multi_worker_strategy
from tfopt.distribute.serve import serve

__all__ = ["AsynchronousTrainer", "LocalCluster", "connect", "multi_worker_strategy", "serve"]
