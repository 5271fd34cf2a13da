import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def peak_of_a_child(code: str = "") -> float:
    call = f"{code}\nfrom workbench.memory import peak_mb; print(peak_mb())"
    done = subprocess.run([sys.executable, "-c", call], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_a_job_is_not_charged_with_the_memory_of_what_started_it():
    held = bytearray(b"x" * 400_000_000)  # written, so that it is really held
    assert peak_of_a_child() < 200 < len(held) / 2**20


def test_the_peak_counts_what_was_held_and_given_back():
    before, after = peak_of_a_child(), peak_of_a_child("held = bytearray(b'x' * 300 * 2**20); del held")
    assert 250 < after - before < 700  # the literal, and the copy of it
