"""What is wrong with a response. Without a parser: this much is loaded with the package."""


class BrokenResponseError(Exception):
    """It broke off, or its framing makes no sense: it is not known what it would have said."""


class RefusedResponseError(Exception):
    """It is too long, or not what HTTP/1.1 allows. Asking again would bring the same.

    Attributes:
        status: Of the response, as far as it was read; 0 if it is not known.
    """

    status = 0
