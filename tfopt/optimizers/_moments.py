"""The two moments that Adam and its relatives share, and their bias corrections."""

import tensorflow as tf

from tfopt.optimizers._rule import bias_correction, blend_for

EPSILON_MODES = ("outside", "inside", "hat")


def moments_for(beta_1, beta_2):
    """``moments(g, m, v, s)``: s ← ρ₁s + (1−ρ₁)g and r ← ρ₂r + (1−ρ₂)g²."""
    first, second = blend_for(beta_1), blend_for(beta_2)

    def moments(g, m, v, s):
        return first(m, g, s.one_minus_beta_1), second(v, tf.square(g), s.one_minus_beta_2)

    return moments


def scalars(t, learning_rate, beta_1, beta_2, epsilon, epsilon_mode):
    """Bias corrections, moved from the two moments into ε and δ: √(r/c₂) + δ = (√r + δ√c₂)/√c₂."""
    correction_1, correction_2 = bias_correction(beta_1, t), bias_correction(beta_2, t)
    shift = {"outside": tf.sqrt(correction_2), "inside": correction_2, "hat": 1.0}[epsilon_mode]
    return {
        "one_minus_beta_1": 1.0 - beta_1,
        "one_minus_beta_2": 1.0 - beta_2,
        "rate": learning_rate * tf.sqrt(correction_2) / correction_1,
        "epsilon": epsilon * shift,
    }
