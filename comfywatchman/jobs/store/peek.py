"""Names of jobs for the shell's completion: read without creating, upgrading or waiting for the database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from comfywatchman.jobs.store.engine import parse_url


def peek_names(database_url: str, word: str, *, limit: int) -> list[str]:
    """Return the newest jobs whose name begins with a word; none for a database on another machine.

    Args:
        database_url: The URL of the job database.
        word: The beginning of the names.
        limit: The most names.

    Raises:
        Failure: `jobs-database-url`.
    """
    url = parse_url(database_url)
    path = Path(str(url.database))
    if url.get_backend_name() != "sqlite" or not path.is_file():
        return []
    # The end of the range: the highest character that a name can hold follows the word.
    query = "SELECT config_name FROM jobs WHERE config_name >= ? AND config_name < ? ORDER BY id DESC LIMIT ?"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=0.2)) as connection:
            return [name for (name,) in connection.execute(query, (word, f"{word}\U0010ffff", limit))]
    except sqlite3.Error:
        return []
