"""The errors of loading: what was got, what was expected, what to do."""


class LoadingError(RuntimeError):
    """A model, a dictionary or a text that cannot be loaded."""


class OfflineError(LoadingError):
    """Something is not on this machine and the hub cannot be reached."""


class UnsupportedSAEError(LoadingError):
    """A kind of dictionary that this library does not analyse."""


class QualityError(LoadingError):
    """A dictionary that does not describe the residual stream it is put on."""
