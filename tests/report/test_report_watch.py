"""`lth report --watch`: the page on this machine, made again when runs change, and for no other host."""

import threading
import urllib.error
import urllib.request

import pytest

from lth.report.watch import _Handler, _Server, watch
from tests.support.written_runs import write_run


@pytest.fixture
def server():
    with _Server(("127.0.0.1", 0), _Handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def get(server, path, host=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.server_port}{path}", headers={"Host": host} if host else {}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


@pytest.mark.slow
def test_the_page_follows_the_runs_from_none_on(server, tmp_path):
    server.make([tmp_path], "test_accuracy")
    assert "No run has begun here yet." in get(server, "/")[1]
    stamps = [get(server, "/stamp")[1]]
    write_run(tmp_path, seed=0, complete=False)
    server.make([tmp_path], "test_accuracy")
    stamps.append(get(server, "/stamp")[1])
    text = get(server, "/")[1]
    assert "<strong>0</strong> of 1 runs complete" in text
    assert "data-watched" in text
    server.make([tmp_path], "test_accuracy")
    stamps.append(get(server, "/stamp")[1])
    assert stamps[0] != stamps[1] == stamps[2]


def test_only_this_machine_s_names_are_answered(server):
    server.page, server.stamp = b"page", "stamp"
    assert get(server, "/") == (200, "page")
    assert get(server, "/../etc/passwd")[0] == 404
    assert get(server, "/", host="evil.example")[0] == 403


def test_a_port_that_is_taken_and_a_wrong_interval_are_mistakes(server, tmp_path):
    with pytest.raises(ValueError, match="--port 0 takes one that is free"):
        watch([tmp_path], "test_accuracy", server.server_port, 5)
    with pytest.raises(ValueError, match="--every 0"):
        watch([tmp_path], "test_accuracy", 0, 0)
