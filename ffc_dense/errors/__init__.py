"""Errors whose message is all that a user needs: commands print it without a traceback and end with ``exit_code``.

====  ==========================================================================================
code  meaning
====  ==========================================================================================
0     done
1     an error that nobody foresaw, with its traceback
2     wrong input: a config, an argument, a data set or a weights file
3     the training stopped by itself: a file could not be written, or numbers are no longer finite
130   Ctrl-C (128 + 2): as 143 in a training; elsewhere nothing is finished
143   SIGTERM (128 + 15): the training wrote a checkpoint and ended; ``--resume`` goes on
====  ==========================================================================================
"""


class UserError(Exception):
    """Wrong input. The message names the key, file or value, what was expected and what to do."""

    exit_code = 2


class CannotWrite(UserError):
    """A result cannot be written where the user wants it. The message names the argument, the file and the cause."""


class TrainingStopped(UserError):
    """A training that cannot go on. The message says at which file or iteration, why, and what to do."""

    exit_code = 3
