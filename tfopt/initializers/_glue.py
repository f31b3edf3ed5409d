"""The only file of the initializers that touches Keras' private parts."""

from keras.src.backend.common import global_state


def layers_being_built():
    """The layers around the weight that is being added now, outermost first.

    A layer opens a name scope of its own around every weight it adds. Inside another stateless scope Keras
    initializes when that has been left, and the layer is not among them.
    """
    scopes = global_state.get_global_attribute("name_scope_stack") or ()
    return [scope.caller for scope in scopes if scope.caller is not None]
