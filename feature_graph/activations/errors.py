"""The error of collecting."""


class CollectError(ValueError):
    """Activations that cannot be collected; the message says what was got, what was expected and what to do."""
