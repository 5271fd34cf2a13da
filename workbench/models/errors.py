"""What can be wrong with a model."""


class ModelError(ValueError):
    """A model or an adapter that cannot or must not be loaded or used; the message says what to do."""
