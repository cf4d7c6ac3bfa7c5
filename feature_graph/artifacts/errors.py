"""The one error of this folder."""


class ArtifactError(ValueError):
    """A file that is not what it should be; the message names it, what was got, what was expected and what to do."""
