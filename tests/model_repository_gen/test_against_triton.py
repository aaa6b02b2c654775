"""Every rule against a real Triton: both reject, or both accept, a model."""

from __future__ import annotations

import contextlib
import http.client
import select
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from portalis.model_repository_gen.repository_check import check_repository
from portalis.model_repository_gen.rules.rule import ConfigProblem, ConfigSeverity
from portalis.tritonserver import TritonServer
from tests.model_repository_gen import cases
from tests.running import waiting

pytestmark = [pytest.mark.triton, pytest.mark.slow]
# Without auto-complete, a server checks a configuration on its own, before any backend receives it.
STRICT = ("--disable-auto-complete-config", "--rate-limit=execution_count")
# A model that fails after its instances were created (a state, a warm-up) leaves a dangling reference in 2.51, and the next
# such failure may crash the server (signal 11; its stubs keep the port open, so requests get no
# response). Therefore models are loaded one at a time, a new server is started after each such model, and a model is
# loaded again if its server ends.
LATE = "TRITONBACKEND_ModelInstanceInitialize"
ATTEMPTS, SERVERS = 4, 3


class Judge:
    """Triton's result for each model: whether it loads (`ready`), and its response and log."""

    def __init__(self, repository: Path, backends: Path) -> None:
        self.ready: set[str] = set()
        self.reasons: dict[str, str] = {}
        self._repository, self._backends = repository, backends
        self._server: TritonServer | None = None

    def judge(self, name: str) -> None:
        for _ in range(ATTEMPTS):
            server = self._server or self._start()
            with contextlib.suppress(OSError, http.client.HTTPException):
                refusal = self._load(server, name)
                if refusal is None:
                    self.ready.add(name)
                self.reasons[name] = refusal or ""
                if f"{LATE}: {name}_" in self.reasons[name]:
                    self.close()
                return
            self.close()
        pytest.fail(f"Triton was lost {ATTEMPTS} times while it loaded {name}")

    def _start(self) -> TritonServer:
        server = TritonServer(
            self._repository,
            backend_directory=self._backends,
            model_control="explicit",
            start_timeout_s=waiting.PATIENCE_S,
            extra_args=STRICT,
        )
        self._server = server.start()
        return server

    @staticmethod
    def _load(server: TritonServer, name: str) -> str | None:
        """Load a model; returns None, or the response and the log if it fails.

        Raises OSError or HTTPException without a complete response.
        """
        before = len(server.log())
        connection = http.client.HTTPConnection(server.http_url)
        with contextlib.closing(connection):
            connection.request("POST", f"/v2/repository/models/{name}/load", b"{}")
            waiting.until(lambda: select.select([connection.sock], [], [], 0.2)[0] or not server.running(), every_s=0)
            if not server.running():
                raise ConnectionError
            answer = connection.getresponse()
            reported = answer.read().decode()
        return None if answer.status == 200 else reported + server.log()[before:]

    def close(self) -> None:
        if self._server is not None:
            self._server.stop()
        self._server = None


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, case in cases.ALL.items():
        cases.write(folder, name, case)
    return folder


@pytest.fixture(scope="module")
def triton(repository: Path, wasm_backends: Path) -> Judge:
    # most of the time is spent waiting for stubs to end, so a few servers share the work
    judges = [Judge(repository, wasm_backends) for _ in range(SERVERS)]

    def judge_some(i: int) -> None:
        with contextlib.closing(judges[i]):
            for name in list(cases.ALL)[i::SERVERS]:
                judges[i].judge(name)

    with ThreadPoolExecutor(SERVERS) as pool:
        list(pool.map(judge_some, range(SERVERS)))
    for judge in judges[1:]:
        judges[0].ready |= judge.ready
        judges[0].reasons |= judge.reasons
    return judges[0]


@pytest.fixture(scope="module")
def ours(repository: Path) -> dict[str, list[ConfigProblem]]:
    return check_repository(repository, auto_complete=False, backends=("python", "wasm"))


@pytest.mark.parametrize("name", cases.GOOD)
def test_a_good_model_passes_both(name: str, triton: Judge, ours: dict[str, list[ConfigProblem]]) -> None:
    assert name in triton.ready, triton.reasons.get(name)
    assert ours[name] == []


@pytest.mark.parametrize("name", cases.BAD)
def test_a_model_that_the_rules_reject_is_rejected_by_triton_for_the_same_reason(
    name: str, triton: Judge, ours: dict[str, list[ConfigProblem]]
) -> None:
    case = cases.BAD[name]
    reported = "\n".join(map(str, ours[name]))
    assert case.ours in reported
    assert any(problem.severity is ConfigSeverity.ERROR for problem in ours[name]) or name == "metrics_new"
    assert all(problem.remediation for problem in ours[name])
    if case.later:
        assert name in triton.ready
        return
    assert case.triton is not None
    assert name not in triton.ready
    assert case.triton in triton.reasons[name]


@pytest.mark.parametrize("name", cases.WARNED)
def test_a_setting_that_triton_silently_ignores_is_a_warning(
    name: str, triton: Judge, ours: dict[str, list[ConfigProblem]]
) -> None:
    assert name in triton.ready, triton.reasons.get(name)
    assert cases.WARNED[name].ours in "\n".join(map(str, ours[name]))
    assert {problem.severity for problem in ours[name]} == {ConfigSeverity.WARNING}


def test_a_list_of_gpus_makes_kind_auto_fail_without_these_gpus(
    triton: Judge, ours: dict[str, list[ConfigProblem]]
) -> None:
    ((name, case),) = cases.AUTO_GPUS.items()
    assert name not in triton.ready
    assert case.triton is not None and case.triton in triton.reasons[name]
    (problem,) = ours[name]
    assert problem.severity is ConfigSeverity.WARNING and case.ours in str(problem)
