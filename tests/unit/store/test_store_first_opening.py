"""Workers and the control process open a new file at the same time (DESIGN 6)."""

from pathlib import Path

from frontiergate.store.connection import connect
from frontiergate.store.schema import APPLICATION_ID, bring_forward


def test_a_file_that_another_process_creates_meanwhile_is_not_taken_for_another_programs(tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")
    ours, theirs = (connect(path, busy=1.0, synchronous="NORMAL") for _ in range(2))

    def be_faster(statement: str) -> None:
        if "user_version" in statement:  # the second thing that is read of the file
            ours.set_trace_callback(None)
            bring_forward(theirs, path)

    ours.set_trace_callback(be_faster)
    try:
        bring_forward(ours, path)
        assert ours.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert ours.execute("SELECT count(*) FROM meta").fetchone() == (1,)
    finally:
        for connection in (ours, theirs):
            connection.close()
