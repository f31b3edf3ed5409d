"""Checks of asynchronous training whose workers and servers are threads of this process.

A process of its own, since connecting to a cluster takes all earlier variables of a process away. Run
``python asynchronous_checks.py CHECK [ARGUMENT ...]``; prints one JSON object.
"""

import json
import sys
import threading

import keras
import numpy as np
import tensorflow as tf

import tfopt
from tfopt.distribute import AsynchronousTrainer, _addresses

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(44, 4)).astype("float32")
Y = (X.sum(1, keepdims=True) > 0).astype("float32")
WEIGHTS = RANDOM.uniform(0.5, 1.5, 44).astype("float32")


def cluster_of(workers, servers):
    """A cluster of servers in this process; they live as long as it does."""
    cluster = {
        job: [f"127.0.0.1:{port}" for port in _addresses.free_ports(count)]
        for job, count in (("worker", workers), ("ps", servers))
    }
    # Too few threads, and workers that wait for one another wait for ever.
    config = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=2 * workers + 2)
    spec = tf.train.ClusterSpec(cluster)
    for job, addresses in cluster.items():
        for index in range(len(addresses)):
            tf.distribute.Server(spec, job_name=job, task_index=index, config=config, start=True)
    return cluster


def network(optimizer):
    keras.utils.set_random_seed(1)
    hidden = [
        keras.layers.Dense(6, "tanh", kernel_regularizer="l2"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.2),
    ]
    model = keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(1, "sigmoid")])
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"], weighted_metrics=["AUC"])
    return model


def fitted(trainer):
    """Metrics of `fit` on the common data, and all state afterwards."""
    keras.utils.set_random_seed(2)
    options = dict(batch_size=8, epochs=2, sample_weight=WEIGHTS, validation_data=(X, Y), verbose=0)
    history = trainer.fit(X, Y, **options).history
    model = getattr(trainer, "model", trainer)
    counted = {id(v) for v in model.metrics_variables}
    # Checksums of weights are the same only where the weights are to the bit.
    state = [v for v in model.optimizer.variables if v.path.rsplit("/", 1)[-1] != "shown"]
    variables = [v for v in (*model.variables, *state) if id(v) not in counted]
    return history, [np.asarray(v.value) for v in variables]


def rules(servers, *names):
    """One worker against Keras' own fit, for each rule: largest difference of state and of metrics."""
    makers = {name: RULES.get(name) or getattr(tfopt, name) for name in names}
    expected = {name: fitted(network(make())) for name, make in makers.items()}
    strategy = tfopt.distribute.connect(cluster_of(1, int(servers)))
    found = {}
    for name, make in makers.items():
        with strategy.scope():
            model = network(make())
        trainer = AsynchronousTrainer(model)
        history, state = fitted(trainer)
        logs, reference = expected[name]
        kernels = [op.name for op in operations(trainer) if op.type.startswith("TfoptFused")]
        devices = {op.device for op in operations(trainer) if op.type.startswith("TfoptFused")}
        found[name] = {
            "state": max(map(largest, state, reference)),
            "logs": max(largest(history[key], logs[key]) for key in logs),
            "staleness": sorted(trainer.staleness.items()),
            "updates": trainer.updates,
            "reported": [history["staleness"], history["staleness_max"]],
            "kernels": len(kernels),
            "devices": sorted(devices),
            "slots": sorted({v.value.device[:17] for v in model.optimizer.variables}),
        }
    return {"rules": found, "errors": misuse(strategy)}


def misuse(strategy):
    """Messages of what `fit` refuses."""
    with strategy.scope():
        trainer = AsynchronousTrainer(network(tfopt.SGD()))
    endless = tf.data.Dataset.from_tensors((X, Y)).repeat()

    def ending():
        # Nothing says that it ends before it does.
        return tf.data.Dataset.from_tensors((X, Y)).repeat(2).filter(lambda *_: True)

    calls = {
        "no steps": lambda: trainer.fit(lambda: endless),
        "no dataset": lambda: trainer.fit(lambda: X, steps_per_epoch=1),
        "an end": lambda: trainer.fit(lambda: endless.take(2), steps_per_epoch=1),
        "targets": lambda: trainer.fit(lambda: endless, Y, steps_per_epoch=1),
        "validation": lambda: trainer.fit(X, Y, validation_data=lambda: endless),
        "evaluation": lambda: trainer.evaluate(lambda: endless),
        "outside": lambda: partly_outside(strategy).fit(X, Y),
        "from elsewhere": lambda: trainer.fit(lambda: endless, steps_per_epoch=1),
        "ended": lambda: trainer.fit(ending, steps_per_epoch=9, verbose=0),
    }
    found = {name: message_of(call) for name, call in calls.items()}
    trainer.fit(X, Y, batch_size=len(X), verbose=0)
    return found | {"updates": trainer.updates}


def partly_outside(strategy):
    """A trainer whose model is on the servers and whose optimizer is not."""
    optimizer = tfopt.Momentum(0.1)
    with strategy.scope():
        return AsynchronousTrainer(network(optimizer))


def message_of(call):
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


RULES = {
    "Adam with averages": lambda: tfopt.Adam(0.05, use_ema=True, clipnorm=0.1, weight_decay=0.01),
    "Adam of Keras": lambda: keras.optimizers.Adam(0.05),
    "SGD in two": lambda: tfopt.SGD(0.1, gradient_accumulation_steps=2),
    "PolyakAverage": lambda: tfopt.PolyakAverage(tfopt.SGD(0.1)),
    "Adam": lambda: tfopt.Adam(0.05),
    "Momentum": lambda: tfopt.Momentum(0.1),
    "Nesterov": lambda: tfopt.Nesterov(0.1),
}


def operations(trainer):
    """Operations of the train step's graph, and of the branches that an accumulation puts into it."""
    (function,) = trainer._steps.train._list_all_concrete_functions()[:1]
    graphs, found = [function.graph], []
    while graphs:
        graph = graphs.pop()
        found += graph.get_operations()
        for operation in graph.get_operations():
            if operation.type in ("If", "StatelessIf"):
                branch = operation.get_attr("then_branch").name, operation.get_attr("else_branch").name
                graphs += [graph._get_function(name).graph for name in branch]
    return found


def largest(left, right):
    return float(np.abs(np.asarray(left, np.float64) - np.asarray(right, np.float64)).max(initial=0.0))


class Gate(keras.layers.Layer):
    """Holds gradients back so that each is one update late, but the first; counts samples in a variable."""

    def __init__(self, batches):
        super().__init__()
        self.seen = self.add_weight(initializer="zeros", trainable=False, name="seen")
        self.order, self.written, self.batches, self.news = [], 0, batches, threading.Condition()

    def call(self, inputs):
        # First column: the batch's number.
        ready = tf.numpy_function(self.wait, [inputs[0, 0]], tf.float32, stateful=True)
        self.seen.assign_add(keras.ops.cast(keras.ops.shape(inputs)[0], "float32"))
        with tf.control_dependencies([ready]):
            return tf.identity(inputs[:, 1:])

    def wait(self, batch):
        """After the read: let the batch after this one read, and the one before write, then go on."""
        with self.news:
            place = len(self.order)
            self.order.append(int(batch))
            self.news.notify_all()
            last = place + 1 == self.batches
            self.news.wait_for(lambda: last or len(self.order) > place + 1, timeout=60)
            self.news.wait_for(lambda: self.written >= place, timeout=60)
        return np.float32(0)

    def count(self):
        """One more update was written."""
        with self.news:
            self.written += 1
            self.news.notify_all()


def delayed(momentum, growth):
    """Weights of a linear model after updates that are one late, and those that NumPy computes.

    A loss scale that doubles after every `growth` updates, if any, changes between read and write.
    """
    momentum, growth, rate, batches, size = float(momentum), int(growth), 0.05, 12, 4
    x = RANDOM.normal(size=(batches, size, 3))
    y = x @ np.array([[1.0], [-2.0], [0.5]]) + 0.1
    numbered = np.concatenate([np.broadcast_to(np.arange(batches)[:, None, None], (batches, size, 1)), x], -1)
    gates = []

    def model():
        # On the servers, as everything that the model is made of.
        gate = Gate(batches)
        gates.append(gate)
        layers = [keras.Input((4,)), gate, keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")]
        model = keras.Sequential(layers)
        rule = tfopt.Momentum(rate, momentum)
        scaled = keras.optimizers.LossScaleOptimizer(rule, dynamic_growth_steps=growth) if growth else rule
        model.compile(scaled, "mse")
        return model

    trainer = AsynchronousTrainer(model, cluster_of(2, 1))
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: gates[0].count())
    data = numbered.reshape(-1, 4).astype("float32"), y.reshape(-1, 1).astype("float32")
    history = trainer.fit(*data, batch_size=size, shuffle=False, verbose=0, callbacks=[count])
    gate = gates[0]
    weights, velocity, losses = [np.ones((3, 1))], np.zeros((3, 1)), []
    for place, batch in enumerate(gate.order):
        seen = weights[max(place - 1, 0)]
        error = x[batch] @ seen - y[batch]
        losses.append(np.mean(error**2))
        velocity = momentum * velocity - rate * 2 * x[batch].T @ error / size
        weights.append(weights[-1] + velocity)
    return {
        "difference": largest(trainer.model.trainable_variables[0].value.numpy(), weights[-1]),
        "moved": largest(weights[-1], weights[0]),
        "seen": float(gate.seen.value.numpy()),
        "loss": abs(history.history["loss"][0] - np.mean(losses)),
        "staleness": sorted(trainer.staleness.items()),
        "reported": [history.history["staleness"][0], history.history["staleness_max"][0]],
        "order": sorted(gate.order) == list(range(batches)),
    }


CHECKS = {"rules": rules, "delayed": delayed}

if __name__ == "__main__":
    print(json.dumps(CHECKS[sys.argv[1]](*sys.argv[2:])))
