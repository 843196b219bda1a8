"""What ends a command without being a bug: wrong input, or an interruption."""


class InputError(ValueError):
    """Bad input by the user: a file, a record, a config field.

    The message is one line that names the file, the record and the remedy; `commands.app.run` prints it to stderr and
    ends with exit status 2. Anything else that escapes is a bug and keeps its traceback.
    """


RESTART_STATUS = 75  # EX_TEMPFAIL of sysexits.h: schedulers can be told to start such a job again


class Interrupted(Exception):
    """The command was told to stop, and what it did is saved: started again, it goes on.

    `commands.app.run` prints the message to stderr and ends with exit status `RESTART_STATUS`.
    """
