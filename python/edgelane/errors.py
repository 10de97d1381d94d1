"""edgelane's own exception: whatever the caller or a file got wrong is one of these, with a message of one line."""


class EdgelaneError(Exception):
    """A mistake that the caller can mend. The message says what was expected, what was found and what to do."""
