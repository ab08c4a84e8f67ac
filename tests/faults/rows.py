"""What may go wrong between a shop and Little Pay: one row a fault, as a payments engineer says it.

A row says what the server does, in bytes and pauses, and what that means; see `meanings`.
"""

from . import rows_of_answers, rows_of_connections, rows_of_http, rows_of_payments
from .row import Row

ROWS: list[Row] = [
    *rows_of_connections.ROWS,
    *rows_of_http.ROWS,
    *rows_of_answers.ROWS,
    *rows_of_payments.ROWS,
]
