"""The web server as the supervisor runs it, with its processes killed."""

import http.client
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from hone import supervisor
from hone.supervisor import Supervisor

pytestmark = pytest.mark.slow


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Supervisor, str, int]]:
    address = supervisor.free_address("127.0.0.1", 8900)
    host, port = address.rsplit(":", 1)
    one = Supervisor(var=tmp_path)
    one.environment = {**supervisor.os.environ, "HONE_VAR": str(tmp_path), "SECRET_KEY": "of this test"}
    one.run(next(command for command in supervisor.commands(address=address) if command.name == "web"))
    yield one, host, int(port)
    one.stop()


def until(found: Callable[[], bool]) -> None:
    supervisor.wait_for(found, seconds=40, what="The web server")


def answers(host: str, port: int) -> bool:
    """A page that needs no database."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/api/v1/projects/")
        return connection.getresponse().status == 401
    except OSError:
        return False
    finally:
        connection.close()


def started(one: Supervisor) -> int:
    """How many workers have ever been ready."""
    return one.log("web").read_text(encoding="utf-8").count("Started worker")


def processes(one: Supervisor) -> list[psutil.Process]:
    main = psutil.Process(one._children["web"].pid)
    return [main, *main.children(recursive=True)]


def test_a_killed_server_leaves_no_process_that_goes_on_listening(web: tuple[Supervisor, str, int]) -> None:
    one, host, port = web
    until(lambda: started(one) == 2)
    main, *workers = processes(one)
    main.kill()
    one._children["web"].wait()
    until(lambda: time.monotonic() - one._started["web"] > 1.0)
    one.restart_ended()
    psutil.wait_procs(workers, timeout=10)
    assert not [worker for worker in workers if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE]
    until(lambda: started(one) == 4 and answers(host, port))
    assert not {process.pid for process in processes(one)} & {process.pid for process in [main, *workers]}


def test_a_killed_worker_is_replaced(web: tuple[Supervisor, str, int]) -> None:
    one, host, port = web
    until(lambda: started(one) == 2)
    main, first, second = processes(one)
    first.kill()
    until(lambda: started(one) == 3)
    [new] = {process.pid for process in processes(one)} - {main.pid, first.pid, second.pid}
    assert all(answers(host, port) for _ in range(8)) and main.is_running() and second.is_running()


def test_a_port_that_is_taken_is_not_shared(web: tuple[Supervisor, str, int]) -> None:
    """The server's sockets let others of its user listen at the same port, who would get half of the requests."""
    one, host, port = web
    until(lambda: started(one) == 2)
    assert supervisor.free_address(host, port) != f"{host}:{port}"
