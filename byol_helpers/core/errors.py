"""The one exception that speaks to the user."""


class UserError(Exception):
    """Something the user can put right.

    The message is one line that names the file or the key and the remedy. The command line prints
    it and exits with status 2; a notebook shows it as the last line of the traceback.
    """
