"""The shop's orders, in SQLite. All of it blocks: call it from worker threads."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

_TABLE = """
CREATE TABLE IF NOT EXISTS orders (
    key TEXT PRIMARY KEY,
    tickets INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'PENDING'
)
"""


class Orders:
    def __init__(self, path: str) -> None:
        self._path = path
        with self._open() as database:
            database.execute(_TABLE)

    def add(self, key: str, tickets: int, amount: int) -> None:
        with self._open() as database:
            database.execute(
                "INSERT INTO orders (key, tickets, amount) VALUES (?, ?, ?)", (key, tickets, amount)
            )

    def end(self, key: str, status: str) -> bool:
        """Write down how an order ended; False if that has been written down before."""
        with self._open() as database:
            ended = database.execute(
                "UPDATE orders SET status = ? WHERE key = ? AND status = 'PENDING'", (status, key)
            )
            return ended.rowcount == 1

    def get(self, key: str) -> dict[str, object] | None:
        with self._open() as database:
            row = database.execute("SELECT * FROM orders WHERE key = ?", (key,)).fetchone()
            return dict(row) if row else None

    def pending(self) -> list[str]:
        with self._open() as database:
            rows = database.execute("SELECT key FROM orders WHERE status = 'PENDING'")
            return [row["key"] for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path)) as database, database:
            database.row_factory = sqlite3.Row
            yield database
