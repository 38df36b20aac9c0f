"""A client on the far side of a partition: it goes on writing to the old database as long as that lets it.

Run as a process inside the node's network (`python -m hamgr_sandbox.demo.partitioned_client HOST PORT PASSWORD FIRST`).
It prints a line `NUMBER MONOTONIC_SECONDS` for each acknowledged row; all processes of one machine share that clock.
"""

from __future__ import annotations

import sys
import time

import pymysql

from hamgr_sandbox.demo.writer import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, Writer

_PAUSE_S = 0.1
_LONGEST_S = 120.0


def main() -> int:
    host, port, password, first = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    connection = None
    number = first
    end = time.monotonic() + _LONGEST_S
    while time.monotonic() < end:
        try:
            if connection is None:
                connection = pymysql.connect(
                    host=host,
                    port=port,
                    user="root",
                    password=password,
                    connect_timeout=CONNECT_TIMEOUT_S,
                    read_timeout=ANSWER_TIMEOUT_S,
                    write_timeout=ANSWER_TIMEOUT_S,
                )
            with connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO {Writer.TABLE} (number, server) VALUES (%s, 'insider')", (number,))
            connection.commit()
            print(number, time.monotonic(), flush=True)
        except (pymysql.MySQLError, OSError, EOFError):
            connection = None
        number += 1
        time.sleep(_PAUSE_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
