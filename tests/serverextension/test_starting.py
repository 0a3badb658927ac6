"""When a Jupyter server counts as started: once it takes connections."""

import json
import socket
import subprocess
import sys
import threading
import time

import pytest

from benchmarks.door import url_of


def test_a_port_that_is_told_before_it_is_listened_at_is_waited_for(tmp_path):
    with socket.socket() as bound, subprocess.Popen(["sleep", "60"]) as process:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        told = {"hostname": "127.0.0.1", "port": port, "url": f"http://127.0.0.1:{port}/"}
        (tmp_path / "jpserver-1.json").write_text(json.dumps(told))
        started = time.monotonic()
        later = threading.Timer(0.3, bound.listen)
        later.start()
        try:
            assert url_of(tmp_path, process, tmp_path / "log") == told["url"]
            assert time.monotonic() - started >= 0.3
        finally:
            later.join()
            process.kill()


def test_a_server_that_ends_is_told_with_its_log(tmp_path):
    log = tmp_path / "log"
    log.write_text("no such option")
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(RuntimeError, match="did not start:\nno such option"):
        url_of(tmp_path, process, log)
