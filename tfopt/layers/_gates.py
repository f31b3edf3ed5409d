"""What the normalised recurrent cells share."""

import keras


def gate_inputs(x, kernel, masks):
    """x times a kernel of several gates side by side; `masks` is one dropout mask, one per gate, or None."""
    if not isinstance(masks, list):
        return keras.ops.matmul(x if masks is None else x * masks, kernel)
    parts = keras.ops.split(kernel, len(masks), axis=1)
    products = [keras.ops.matmul(x * mask, part) for mask, part in zip(masks, parts, strict=True)]
    return keras.ops.concatenate(products, axis=-1)


def dropout_masks(cell, inputs, state, training):
    """A Keras cell's masks for its inputs and for its state, None where nothing is dropped."""
    of_inputs = cell.get_dropout_mask(inputs) if training and 0.0 < cell.dropout < 1.0 else None
    recurrent = training and 0.0 < cell.recurrent_dropout < 1.0
    return of_inputs, cell.get_recurrent_dropout_mask(state) if recurrent else None
