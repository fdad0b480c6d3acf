"""The one exception a user sees."""


class HandkitError(Exception):
    """Something the user can act on: what is wrong (with the value), and what to do about it."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __reduce__(self) -> tuple[type["HandkitError"], tuple[str, str]]:
        return type(self), (self.what, self.fix)

    def __str__(self) -> str:
        return self.what
