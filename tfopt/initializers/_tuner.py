"""KerasTuner's random search, told what a trial is."""


def require_tuner():
    """Raise an error that says how to get KerasTuner, if it is missing."""
    try:
        import keras_tuner  # noqa: F401
    except ImportError as error:
        raise ImportError("tune_init_scale needs KerasTuner: pip install 'tfopt[tune]'.") from error


def search(trial, names, bounds, trials, seed, folder, bar):
    """Run all trials.

    Args:
        trial: Called with {name: scale}, returns the value to minimize; remembers the best.
        names: What to scale.
        bounds: (low, high).
        trials: How many, the first with every scale 1.
        seed: Of KerasTuner.
        folder: Where KerasTuner keeps its records.
        bar: `keras.utils.Progbar`.
    """
    bar.update(1, [("best", trial(dict.fromkeys(names, 1.0)))], finalize=trials == 1)
    import keras_tuner as kt

    class Search(kt.RandomSearch):
        def run_trial(self, one, *arguments, **options):
            scales = {name: one.hyperparameters.get(name) for name in names}
            try:
                value = trial(scales)
            except Exception as error:  # which KerasTuner would only note
                raise kt.errors.FatalError(
                    f"tune_init_scale: a trial failed at the scales {scales}."
                ) from error
            bar.update(len(trial.records), [("best", trial.lowest)])
            return value

    space = kt.HyperParameters()
    for name in names:
        space.Float(name, *bounds, sampling="log")
    tuner = Search(
        max_trials=trials - 1, hyperparameters=space, seed=seed, directory=folder, project_name="init_scale"
    )
    tuner.search(verbose=0)
