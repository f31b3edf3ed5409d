"""Adam as several libraries compute it, each behind the same three methods.

A contender owns every buffer it touches. It is made from a list of NumPy gradients and starts from zeros;
`feed(gradients)` replaces the gradients, a call makes one update and returns when it is done, `weights()`
gives the weights as NumPy arrays. Libraries other than TensorFlow are imported only when one is made.
"""

# With so small a δ it makes no difference where in the formula a library puts it.
ADAM = dict(learning_rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-30)
