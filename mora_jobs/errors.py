"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """Something the user can put right: printed as one line, exit code 2, never a traceback.

    `where` is the file, field or URI, `what` is wrong with it, `todo` (optional) says how to go on.
    """

    def __init__(self, where: str, what: str, todo: str = "") -> None:
        super().__init__(where, what, todo)
        self.where = where
        self.what = what
        self.todo = todo

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}"
        return " ".join(f"{line}; {self.todo}".split()) if self.todo else " ".join(line.split())
