"""The error of this folder."""


class MeasureError(ValueError):
    """Input that cannot be measured; the message names the feature or the field, what was got and what to do."""
