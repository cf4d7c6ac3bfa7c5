"""The error of this folder."""


class InterventionError(ValueError):
    """A model, a dictionary or a request that cannot be intervened on; the message says what was got and what to do."""
