"""The error of choosing."""


class CandidateError(ValueError):
    """Candidates that cannot be chosen from what was given; the message says what does not fit and what to do."""
