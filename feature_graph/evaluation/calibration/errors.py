"""What calibration refuses."""


class CalibrationError(ValueError):
    """A calibration that cannot be run; the message names what was got and what is known."""
