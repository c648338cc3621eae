from __future__ import annotations

from comfywatchman.app.version_pins import summarize_pins

A = "a" * 64


def test_lines_that_name_no_bytes_are_found() -> None:
    text = f"""# a comment
tiny==1.0 \\
    --hash=sha256:{A}
extra[all]==2.0 --hash=sha256:{A}
by-url @ https://example.org/a.whl --hash=sha256:{A}
by-git @ git+https://example.org/r.git@{"c" * 40}
no-hash==1.0
-e ./local
branch @ git+https://example.org/r.git@main
"""
    pins = summarize_pins(text)
    assert pins.package_count == 7
    assert pins.unpinned == ("no-hash==1.0", "-e ./local", "branch @ git+https://example.org/r.git@main")
