"""What can go wrong with a cascade."""


class SteeringError(ValueError):
    """A cascade that cannot be computed; the message says what was got and what is expected."""
