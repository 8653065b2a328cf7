"""What stops a run; the command line prints these without a traceback."""


class RunError(RuntimeError):
    """A run cannot start or go on; the message says why and what to do."""


class ConfigError(RunError):
    """A setting is out of range, of the wrong type or unknown; the message names it."""


class NonFiniteError(RunError):
    """The loss or a gradient is NaN or infinite; the message names the step and the term."""
