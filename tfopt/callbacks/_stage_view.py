"""What a model's own train step takes for the model while a part of it is trained."""

import types

STEPS = ("train_step", "test_step", "predict_step")
MAKERS = {"train_function": "make_train_function", "test_function": "make_test_function"}


class StageView:
    """A model whose call goes through `parts` and whose weights are theirs; all else is the model's.

    Methods of the model's class, the user's own included, run with the view for `self`, so that a
    `train_step`, a `compute_loss` or a `super()` in them works on the stage and needs to know nothing of it.

    Args:
        model: The model.
        parts: Models to call one after the other.
    """

    def __init__(self, model, parts):
        # Names that a model of the user's does not have.
        self.__dict__.update(stage_of=model, stage_parts=parts)

    @property  # type: ignore[misc]
    def __class__(self):
        # Lets isinstance, and super() in methods that run on the view, take it for the model.
        return type(self.__dict__["stage_of"])

    def __call__(self, inputs, training=None, **arguments):
        for part in self.stage_parts:
            inputs, arguments = part(inputs, training=training, **arguments), {}
        return inputs

    def __getattr__(self, name):
        model = self.__dict__["stage_of"]
        for owner in type(model).__mro__:
            if name in vars(owner):
                return self._of_class(model, name, vars(owner)[name])
        return getattr(model, name)

    def _of_class(self, model, name, member):
        """An attribute of the class: the instance may have one before it, but for the steps put there."""
        if name in vars(model) and name not in STEPS and not isinstance(member, property):
            return vars(model)[name]
        return member.__get__(self, type(model)) if hasattr(member, "__get__") else member

    def __setattr__(self, name, value):
        setattr(self.stage_of, name, value)

    @property
    def weights(self):
        """Weights of the parts, each once."""
        return self._union("weights")

    @property
    def trainable_weights(self):
        """Weights that the stage trains."""
        return self._union("trainable_weights")

    @property
    def trainable_variables(self):
        """The same by another name."""
        return self._union("trainable_variables")

    @property
    def losses(self):
        """Penalties of the parts."""
        return [loss for part in self.stage_parts for loss in part.losses]

    def _union(self, name):
        found = (variable for part in self.stage_parts for variable in getattr(part, name))
        return list({id(variable): variable for variable in found}.values())


class Frozen:
    """A context in which layers, and all they hold, are not trainable; afterwards they are as they were.

    Args:
        layers: Lists of a layer and those within it, the outer ones first.
    """

    def __init__(self, layers):
        self._layers = [(layer, layer.trainable) for layer in layers]
        weights = [weight for layer in layers for weight in layer.weights]
        self._weights = [(weight, weight.trainable) for weight in weights]

    def __enter__(self):
        for layer, _ in self._layers:
            layer.trainable = False

    def __exit__(self, *error):
        for thing, trainable in (*self._layers, *self._weights):
            if thing.trainable != trainable:
                thing.trainable = trainable

    def around(self, function):
        """`function` called in this context."""
        if not self._layers:
            return function

        def call(*arguments):
            with self:
                return function(*arguments)

        return call


def attach(model, view, frozen):
    """Let `model` train, evaluate and predict as `view`, whoever has its functions made anew."""
    for name in STEPS:
        setattr(model, name, types.MethodType(getattr(type(model), name), view))
    for name, maker in MAKERS.items():
        setattr(model, maker, _maker(model, name, maker, frozen))
    _remake(model)


def detach(model):
    """Undo `attach`."""
    for name in (*STEPS, *MAKERS.values()):
        if name in vars(model):
            delattr(model, name)
    _remake(model)


def _maker(model, name, maker, frozen):
    """Keras' maker of a function, and the function in the context `frozen`, which tracing has to see."""

    def make(force=False):
        if force or getattr(model, name) is None:
            getattr(type(model), maker)(model, force=True)
            setattr(model, name, frozen.around(getattr(model, name)))
        return getattr(model, name)

    return make


def _remake(model):
    model.make_train_function(force=True)
    model.make_test_function(force=True)
    model.predict_function = None
