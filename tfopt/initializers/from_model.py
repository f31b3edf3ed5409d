"""FromModel: parameters of a model that was trained before."""

import os
import pathlib
import warnings

import keras

from tfopt._check import require
from tfopt.initializers._glue import layers_being_built
from tfopt.initializers._matching import match, named_weights, plain, value
from tfopt.layers.weight_normalization import kernels_within


def _is_model_file(path):
    return pathlib.Path(path).exists() and not os.fspath(path).endswith(".weights.h5")


@keras.saving.register_keras_serializable(package="tfopt")
class FromModel(keras.initializers.Initializer):
    """Weights of another, trained model, by the name of the layer, the name of the weight and the shape.

    Training on another task, even an unrelated one with labels for the same data, may leave parameters that
    are a better start than random ones. `apply` fills a whole model and says what it could not fill::

        tfopt.initializers.FromModel("other.keras").apply(model)

    Layers answer to each other if the path of names is the same (an encoder's "conv" is "encoder/conv"), or
    else if the last name is, and only one layer of either model has it. Names that Keras makes up count on
    from model to model, so name the layers. Moving statistics are taken too, the optimizer's state is not.
    Between a layer in `tfopt.layers.WeightNormalization` and a plain one of the wrapper's name the kernels
    w = g v/‖v‖ are taken: into the wrapped one as v = w, g = ‖w‖, which no first batch changes any more.

    As an initializer of one weight, such as `kernel_initializer=FromModel("other.keras")`, it looks for the
    layer that is being built and for the weight it initializes there; weights of one layer and one shape
    need an object each. Where Keras initializes late, in a symbolic first call of a model that builds its
    layers there (as `fit` makes it), it cannot see them: say `layer=` and `weight=`.

    A model that was saved with it as an initializer keeps the path, and not the source itself. Where that
    file is gone, or the source was a model in memory, the loaded initializer warns and draws from
    `fallback`; a loaded model overwrites that at once.

    Args:
        source: A built `keras.Model`, or the path of a saved one (`.keras`, `.h5`); None for one
            that is gone.
        layer: Name of a layer of the source, or path "encoder/conv"; None for the name of the layer that is
            being built. For use as an initializer.
        weight: Name of a weight of that layer; None to tell by the layer's attribute, else by the shape. For
            use as an initializer.
        fallback: Initializer of weights that the source has not, for use as an initializer; None to raise.

    Raises:
        ValueError: If `source` is no model and no file; when called, if the source has no such weight or
            several.

    Example:
        >>> import keras, tfopt
        >>> def model(classes):
        ...     hidden = keras.layers.Dense(3, name="hidden")
        ...     return keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(classes, name="head")])
        >>> match = tfopt.initializers.FromModel(model(5)).apply(model(2))
        >>> print(match)  # rich.print(match) prints a table of all weights
        2 matched, 2 in another shape
        >>> match.mismatched
        ['head/kernel', 'head/bias']

    Source: Goodfellow, Bengio and Courville, Deep Learning, 2016, section 8.4; chapter section 9.
    """

    def __init__(self, source, layer=None, weight=None, fallback=None):
        path = isinstance(source, (str, os.PathLike))
        fits = _is_model_file(source) if path else isinstance(source, keras.Model) and source.built
        expected = "a built keras.Model or the path of a saved one, with its layers"
        require(fits or source is None, "FromModel", "source", source, expected)
        self.source = os.fspath(source) if isinstance(source, os.PathLike) else source
        self.layer = layer
        self.weight = weight
        self.fallback = keras.initializers.get(fallback)
        self._loaded = None

    def apply(self, model, strict=False):
        """Assign the source's weights to those of a model that have the same names and shapes.

        Args:
            model: A built `keras.Model`.
            strict: Whether to raise, before anything is assigned, if a weight of the model stays without.

        Returns:
            A `ModelMatch`: its `matched`, `mismatched`, `missing` and `unused` are lists of names, its `rows`
            hold the shapes; `print` counts them, `rich.print` makes a table.

        Raises:
            ValueError: If the model is not built, or `strict` and something is not matched.
        """
        fits = isinstance(model, keras.Model) and model.built
        require(fits, "FromModel.apply", "model", model, "a built keras.Model")
        found, assignments = match(model, self._model())
        left = [*found.mismatched, *found.missing]
        if strict and left:
            raise ValueError(f"FromModel.apply(strict=True): nothing fits {', '.join(left)}.")
        for weight, other in assignments:
            weight.assign(value(other))
        return found

    def __call__(self, shape, dtype=None):
        dtype = keras.backend.standardize_dtype(dtype)
        if self._is_gone():
            initializer = self.fallback or keras.initializers.get("glorot_uniform")
            warnings.warn(
                f"FromModel: its source {self.source or 'was a model in memory and'} is gone; the weights "
                f"start from {type(initializer).__name__} until they are loaded or assigned.",
                stacklevel=2,
            )
            return initializer(shape, dtype=dtype)
        layers = layers_being_built()
        offered = self._offered([layer.name for layer in layers])
        fitting = {name: w for name, w in offered.items() if tuple(w.shape) == tuple(shape)}
        chosen = self._chosen(fitting, layers[-1] if layers else None)
        if len(chosen) == 1:
            return keras.ops.cast(value(next(iter(chosen.values()))), dtype)
        if self.fallback is not None and not chosen:
            return self.fallback(shape, dtype=dtype)
        raise ValueError(self._complaint(layers, tuple(shape), offered, chosen))

    def _model(self):
        if isinstance(self.source, keras.Model):
            return self.source
        require(not self._is_gone(), "FromModel", "source", self.source, "a source that still exists")
        if self._loaded is None:
            self._loaded = keras.saving.load_model(self.source, compile=False)
        return self._loaded

    def _is_gone(self):
        return self.source is None or (
            isinstance(self.source, str) and not pathlib.Path(self.source).exists()
        )

    def _offered(self, names):
        """{name: weight} of the source's layer: the one asked for, or the innermost that is being built."""
        layers = named_weights(self._model())
        for name in [self.layer] if self.layer else reversed(names):
            paths = [path for path in layers if "/".join(path) == name or (path and path[-1] == name)]
            if len(paths) == 1:
                return plain(layers[paths[0]], kernels_within(self._model()))
        return {}

    def _chosen(self, fitting, layer):
        """Those of the weights of the right shape that are meant."""
        wanted = {self.weight} if self.weight else self._roles(layer)
        return {name: weight for name, weight in fitting.items() if not wanted or name in wanted}

    def _roles(self, layer):
        """Names of the weights that this object initializes in a layer, by the layer's attributes."""
        attributes = vars(layer).items() if layer is not None else ()
        roles = {name.removesuffix("initializer").rstrip("_") for name, value in attributes if value is self}
        return roles | {f"{role}_kernel" for role in roles}

    def _complaint(self, layers, shape, offered, chosen):
        layer = self.layer or (layers[-1].name if layers else None)
        has = ", ".join(f"{name} {tuple(weight.shape)}" for name, weight in offered.items()) or "none"
        found = "several weights" if chosen else "no weight"
        return (
            f"FromModel(layer={self.layer!r}, weight={self.weight!r}): expected layer and weight of one "
            f"weight of shape {shape} in the source, got {found} for the layer {layer!r}; there it has {has}."
        )

    def get_config(self):
        return {
            "source": self.source if isinstance(self.source, str) else None,
            "layer": self.layer,
            "weight": self.weight,
            "fallback": keras.initializers.serialize(self.fallback) if self.fallback else None,
        }

    @classmethod
    def from_config(cls, config):
        """An object that may have lost its source, as in a model that was carried to another machine."""
        made = cls(**config | {"source": None})
        made.source = config["source"]
        return made
