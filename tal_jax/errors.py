"""What ends a command without being a bug: wrong input, an interruption, or a training that diverged."""


class InputError(ValueError):
    """Bad input by the user: a file, a record, a config field.

    The message is one line that names the file, the record and the remedy; `commands.app.run` prints it to stderr and
    ends with exit status 2. Anything else that escapes is a bug and keeps its traceback.
    """

    def __str__(self) -> str:
        """The message in one line, whatever names and other messages it was made of."""
        return " ".join(line.strip() for line in super().__str__().splitlines())


RESTART_STATUS = 75  # EX_TEMPFAIL of sysexits.h: schedulers can be set to start such a job again


class Interrupted(Exception):
    """The command was asked to stop, and what it did is saved: started again, it goes on.

    `commands.app.run` prints the message to stderr and ends with exit status `RESTART_STATUS`.
    """


DIVERGED_STATUS = 70  # starting the same job again would end in the same way


class TrainingDiverged(ArithmeticError):
    """The loss or its gradient is NaN or infinite: files and config are not at fault, and yet nothing is learned.

    The message is one line that names the step, the recordings and the remedy; `commands.app.run` prints it to stderr
    and ends with exit status `DIVERGED_STATUS`.
    """
