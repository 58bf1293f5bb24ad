"""Memory does not grow with the number of rows: only the keys are held (10 MB for 100,000 prompts, whose rows are 500 MB)."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
import pyarrow as pa
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table

folder, prompts, samples = sys.argv[1], int(sys.argv[2]), 16
sample = pa.struct([("text", pa.string()), ("tokens", pa.int32())])
schema = pa.schema([("id", pa.string()), ("samples", pa.list_(sample))])

def peak_mib():  # ru_maxrss would do, did it not start at what the parent process had
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM"))

def write(table, start, stop):
    for first in range(start, stop, 256):
        rows = [
            {"id": f"prompt-{n:06d}", "samples": [{"text": f"{n} {s} some words of an answer " * 10, "tokens": 64} for s in range(samples)]}
            for n in range(first, min(first + 256, stop))
        ]
        table.append(rows)

table = Table(Store(f"file://{folder}"), "t", schema)
write(table, 0, prompts // 5)
assert sum(1 for _ in table.rows()) == prompts // 5
table.digest()
before = peak_mib()
write(table, prompts // 5, prompts)
fresh = Table(Store(f"file://{folder}"), "t", schema)
assert len(fresh.committed()) == prompts
assert sum(len(row["samples"]) for row in fresh.rows()) == prompts * samples
fresh.digest()
print(before, peak_mib())
"""


@pytest.mark.parametrize(
    ("prompts", "growth_mib"),
    [(10_000, 32), pytest.param(100_000, 128, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, prompts: int, growth_mib: int) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(prompts)]
    before, after = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert after - before < growth_mib
    assert after < 1000
