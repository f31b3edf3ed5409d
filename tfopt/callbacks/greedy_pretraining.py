"""GreedyPretraining: one hidden block after another, then all of them, in one `fit`."""

import warnings
from typing import Any

import keras
import numpy as np

from tfopt._check import require
from tfopt.callbacks._chain import chain_of
from tfopt.callbacks._glue import Attachment, say, seed_generators
from tfopt.callbacks._stage import stages_of
from tfopt.callbacks._stage_plan import plan_of, require_plan

OWNER = "GreedyPretraining"
ATTRIBUTE = "greedy_pretraining"


class GreedyPretraining(keras.callbacks.Callback):
    r"""Greedy supervised pretraining: trains the first hidden block, then one more at a time, then all.

    A model is taken for a chain of hidden blocks f_1, …, f_n and a head g. Stage k trains

        ŷ = g_k(f_k(f_{k−1}(… f_1(x))))

    on the model's own loss and data: f_k and g_k with `freeze`, f_1 … f_k and g_k without. g_1 … g_{n−1} are
    heads for a stage each, thrown away at its end; g_n is the model's own head g, with its own weights. With
    `finetune` the remaining epochs of the `fit` train the whole model jointly. All in one `model.fit`:
    metrics, validation, `evaluate` and `predict` are those of the stage while it lasts.

    **Blocks.** A Sequential or functional model is cut at the tensors through which all has to pass, so a
    block may have branches inside, as residual blocks have. Unless `blocks` names their last layers, each
    layer with a matrix of weights to train begins a block, activations, normalisations and pooling after it
    belong to it, and the last such layer is the head; a Flatten or global pooling right before it as well.

    **Heads.** Without `head` each stage has a new copy of the model's own head, made from its
    configuration for the width of the block. Where that does not fit, as for convolutions behind which a
    Flatten is missing, give a function, such as ``lambda h: Dense(10)(GlobalAveragePooling2D()(h))``. A layer
    is a function too: its weights then go from stage to stage.

    **Optimizer.** Each stage has a new optimizer like the one compiled, with fresh slots, a count of steps
    and a learning-rate schedule that begin anew; those of finished stages are dropped. During a stage it is
    `model.optimizer`, so that callbacks find it; the one compiled, which no stage touches, does the
    fine-tuning. Every optimizer works that `get_config` describes, those with a line search too.

    **Frozen blocks** are as layers with `trainable=False`: without penalties on their weights, their batch
    normalisation on its running statistics. Their `trainable` is as it was outside the train step.

    **Other callbacks.** Put this one first. It writes the column `stage` to the logs, 1 … n and n + 1 for the
    fine-tuning, and names the stage above Keras' progress bar. An `EarlyStopping` of the `fit` watches the
    whole run and may end it in any stage; to end single stages give one as `epochs_per_stage`. What
    `ModelCheckpoint` writes is the whole model in any stage. A run that `BackupAndRestore` restores goes on
    within its stage, head, slots, dropout masks and all, to the same weights. After an exception in `fit`
    call `restore`, or start another `fit` with a GreedyPretraining.

    Args:
        epochs_per_stage: Epochs of each stage: an integer, a list with one for each stage, or a
            `keras.callbacks.EarlyStopping`, of which each stage gets a copy; a stage then ends at the latest
            after an equal share of the epochs of the `fit`.
        freeze: Whether blocks of finished stages stay as they are until the fine-tuning.
        finetune: Whether to train all weights jointly in the epochs left. If not, training ends with the
            last stage.
        head: None, or a function from the output of a block (a `keras.KerasTensor`) to outputs like the
            model's.
        blocks: None, or the names of the layers at which the hidden blocks end, in order.

    Raises:
        ValueError: If an argument is none of these; when `fit` begins, if the model has no hidden block, is
            no chain at a layer named, a head does not fit, or `fit` has too few epochs. Model and optimizer
            are untouched then.

    Warns:
        UserWarning: If `fit` ends before the last stage does.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> hidden = [keras.layers.Dense(8, "sigmoid") for _ in range(2)]
        >>> model = keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(1)])
        >>> model.compile(tfopt.Adam(0.01), "mse")
        >>> greedy = tfopt.callbacks.GreedyPretraining(epochs_per_stage=1)
        >>> x = np.random.default_rng(0).normal(size=(32, 4))
        >>> model.fit(x, x[:, 0], epochs=4, verbose=0, callbacks=[greedy]).history["stage"]
        [1, 2, 3, 3]

    Source: Bengio, Lamblin, Popovici and Larochelle, Greedy Layer-Wise Training of Deep Networks, 2007;
    Goodfellow, Bengio, Courville, Deep Learning (2016), section 8.7.4; chapter section 8.3.
    """

    def __init__(self, epochs_per_stage, freeze=True, finetune=True, head=None, blocks=None):
        super().__init__()
        require_plan(epochs_per_stage)
        require(head is None or callable(head), OWNER, "head", head, "None or a function")
        names = blocks is None or (
            isinstance(blocks, (list, tuple)) and blocks and all(isinstance(name, str) for name in blocks)
        )
        require(names, OWNER, "blocks", blocks, "None or a list of names of layers")
        self.epochs_per_stage = epochs_per_stage
        self.freeze = bool(freeze)
        self.finetune = bool(finetune)
        self.head = head
        self.blocks = blocks
        self._clear()

    def _clear(self):
        self._stages: list = []
        self._plan: Any = None
        self._current: Any = None
        self._since = 0
        self._restored: dict = {}

    @property
    def stage_names(self):
        """Names of the stages of the fit under way, the fine-tuning among them."""
        return [stage.name for stage in self._stages] + ["fine-tuning"] * self.finetune

    def set_model(self, model):
        """Undo what a fit left by an exception has left, and be there for a backup to restore."""
        self.restore()
        super().set_model(model)
        attached = getattr(model, ATTRIBUTE, None)
        if attached is not None:
            attached.owner.restore()
        attachment = Attachment(self._state, self._take)
        attachment.owner = self
        setattr(model, ATTRIBUTE, attachment)

    def on_train_begin(self, logs=None):
        """Find the blocks and make the heads."""
        try:
            chain = chain_of(self.model, self.blocks)
            plan = plan_of(self.epochs_per_stage, len(chain.blocks), self.params["epochs"], self.finetune)
            self._stages = stages_of(self.model, chain, self.head, self.freeze)
        except Exception:
            self.restore()
            raise
        self._plan = plan
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)

    def on_epoch_begin(self, epoch, logs=None):
        """Move to the stage of this epoch."""
        if self._current is None:
            self._begin(epoch)
        stage = self._plan.stage_at(epoch, self._current, self._since) if self._in_stage() else self._current
        if stage != self._current:
            self._leave()
            self._enter(stage, epoch)
        if self.params["verbose"] != 0:
            say(f"Stage {self._current + 1}/{len(self.stage_names)}: {self.stage_names[self._current]}")

    def on_epoch_end(self, epoch, logs=None):
        """Write the stage to the logs; without fine-tuning, stop after the last one."""
        if self._in_stage():
            self._plan.observe(epoch - self._since, logs)
            over = self._plan.stage_at(epoch + 1, self._current, self._since)
            if over == len(self._stages) and not self.finetune:
                self.model.stop_training = True
        if logs is not None:
            logs["stage"] = self._current + 1

    def on_train_end(self, logs=None):
        """Leave the model as it was found, but for its weights."""
        names, current = self.stage_names, self._current
        self.restore()
        if current is not None and current + 1 < len(names):
            warnings.warn(
                f"GreedyPretraining: fit ended in stage {current + 1} of {len(names)} ({names[current]}); "
                "the stages after it have not been trained.",
                stacklevel=2,
            )

    def restore(self):
        """Let the model be itself again; `fit` does so at its end, unless an exception leaves it.

        The blocks keep the weights that they have.
        """
        if self._current is not None:
            self._leave()
        if self.model is not None and hasattr(self.model, ATTRIBUTE):
            delattr(self.model, ATTRIBUTE)
        self._clear()

    def _in_stage(self):
        return self._current is not None and self._current < len(self._stages)

    def _begin(self, epoch):
        """Enter the first stage, that of a first epoch given to `fit`, or the one a backup has saved."""
        if not self._restored:
            stage = self._plan.stage_at(epoch, 0, epoch) if epoch and self._fixed() else 0
            self._enter(stage, epoch)
            return
        state, self._restored = self._restored, {}
        stage, since = (int(number) for number in state["progress"])
        for name, generator in self._seeds():
            generator.state.assign(state[name])
        for place, later in enumerate(self._stages):
            for name, variable in later.head_state():
                variable.assign(state[f"stage_{place:04d}_{name}"])
        self._enter(stage, since)
        if self._in_stage():
            self._stages[stage].restore(state)
            self._plan.restore(state)

    def _fixed(self):
        return not isinstance(self.epochs_per_stage, keras.callbacks.EarlyStopping)

    def _enter(self, stage, epoch):
        self._current, self._since = stage, epoch
        if self._in_stage():
            entered = self._stages[stage]
            entered.enter()
            self._plan.begin(self.model, entered.view)

    def _leave(self):
        if self._in_stage():
            self._stages[self._current].leave()
            self._plan.close()

    def _seeds(self):
        """The model's seed generators by name."""
        return [(f"seed_{place:04d}", found) for place, found in enumerate(seed_generators(self.model))]

    def _take(self, state):
        """Keep what a backup has saved for the first epoch."""
        self._restored = state

    def _state(self):
        """All that a resumed run has to know, as arrays."""
        if self._current is None:
            return {}
        state = {"progress": np.array([self._current, self._since], np.float64)}
        # Dropout masks too: Keras' weights files do not hold them.
        state |= {name: generator.state.numpy() for name, generator in self._seeds()}
        for place, stage in enumerate(self._stages):
            state |= {f"stage_{place:04d}_{n}": np.array(v.numpy()) for n, v in stage.head_state()}
        if self._in_stage():
            state |= self._stages[self._current].state() | self._plan.state()
        return state
