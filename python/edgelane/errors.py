"""edgelane's own exception: whatever the caller or a file got wrong is one of these, with a message of one line."""

LONGEST_MESSAGE = 8192  # characters; names from a file may make one of any length


class EdgelaneError(Exception):
    """A mistake that the caller can mend. The message says what was expected, what was found and what to do.

    It is one line of text whatever a file's names hold: control characters are escaped, and what is too long is cut.
    """

    def __init__(self, message: str = "") -> None:
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message[:LONGEST_MESSAGE])
        if len(message) > LONGEST_MESSAGE:
            line += f" ... ({len(message) - LONGEST_MESSAGE} characters more)"
        super().__init__(line)
