"""The one exception that means "the input is wrong, not the program"."""


class InputError(ValueError):
    """Bad input by the user: a file, a record, a config field.

    The message is one line that names the file, the record and the remedy; `launch.app.run` prints it to stderr and
    ends with exit status 2. Anything else that escapes is a bug and keeps its traceback.
    """
