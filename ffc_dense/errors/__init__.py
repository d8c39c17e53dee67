"""Errors for users: commands print the message without a traceback and end with ``exit_code``.

====  ==========================================================================================
code  meaning
====  ==========================================================================================
0     done
1     a bug, with its traceback; some tools also use it for a result (data have errors, files were skipped)
2     wrong input: a config, an argument, a dataset or a weights file
3     the training stopped by itself: a file could not be written, or numbers are not finite
130   Ctrl-C (128 + 2): as 143 in a training; other commands stop at once
143   SIGTERM (128 + 15): the training wrote a checkpoint and ended; ``--resume`` continues it
====  ==========================================================================================
"""


class UserError(Exception):
    """Wrong input. The message names the key, file or value, what was expected and what to do."""

    exit_code = 2


class CannotWrite(UserError):
    """A result cannot be written to its path. The message names the argument, the file and the cause."""


class TrainingStopped(UserError):
    """A training that cannot continue. The message names the file or iteration, the cause and what to do."""

    exit_code = 3
