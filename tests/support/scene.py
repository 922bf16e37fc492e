"""What the end-to-end tests share: a running Reeve to act on, callers of models, load, and patience with an end.

    class Story(Scene):
        def test_…(self):
            answer = self.chat("summarize", "Hello")
            self.until(lambda: …, "the new revision is active")

A Scene starts the quickstart's installation in a folder of its own (scene.stack), on free ports, and stops all of it. With
REEVE_VERBOSE=1 it narrates.
"""
import atexit
import hashlib
import http.client
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse
from dataclasses import dataclass, field

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from quickstart import Quickstart  # noqa: E402
from stack import ROOT  # noqa: E402

BUILD = os.path.abspath(os.environ.get("REEVE_BUILD", os.path.join(ROOT, "build", "release")))
VERBOSE = bool(os.environ.get("REEVE_VERBOSE"))
BEGAN = time.monotonic()
FAST = ("--first-byte-ms", "5", "--token-ms", "1")
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


def say(text):
    if VERBOSE:
        print(f"  [{time.monotonic() - BEGAN:6.1f} s] {text}", file=sys.stderr, flush=True)


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def provider_key(name):
    """A provider key that can be told from any other."""
    return f"sk-{name}-{os.urandom(16).hex()}"


# --- calls ---------------------------------------------------------------------------------------------------------------

@dataclass
class Answer:
    """What a caller got: status 0 when the connection broke."""
    status: int = 0
    headers: dict = field(default_factory=dict)
    text: str = ""
    error: str = ""
    began: float = 0.0
    ended: float = 0.0

    @property
    def ok(self):
        return self.status == 200 and not self.error

    @property
    def json(self):
        return json.loads(self.text)

    @property
    def events(self):
        """The data of each event of a stream, decoded where it is JSON."""
        found = []
        for line in self.text.splitlines():
            if line.startswith("data: "):
                found.append(json.loads(line[6:]) if line[6:].startswith("{") else line[6:])
        return found

    @property
    def model(self):
        return self.headers.get("reeve-model")

    @property
    def attempts(self):
        return int(self.headers.get("reeve-attempts", 0))

    @property
    def complete(self):
        """Whether the answer is whole, streamed or not, in either dialect."""
        if not self.ok:
            return False
        if "text/event-stream" not in self.headers.get("content-type", ""):
            return "usage" in self.json
        events = self.events
        return bool(events) and (events[-1] == "[DONE]" or events[-1].get("type") == "message_stop")

    def __str__(self):
        return f"{self.status} {self.error} {self.text[:300]}"


def http_call(port, method, path, body=None, headers=None, timeout=60):
    """One call; never raises for what the other side does."""
    answer = Answer(began=time.monotonic())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        data = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        try:
            connection.request(method, path, data, {"content-type": "application/json", **(headers or {})})
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the whole body was sent: the answer is there
        reply = connection.getresponse()
        answer.status = reply.status
        answer.headers = {name.lower(): value for name, value in reply.getheaders()}
        answer.text = reply.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as trouble:
        answer.error = f"{type(trouble).__name__}: {trouble}"
    finally:
        connection.close()
        answer.ended = time.monotonic()
    return answer


def model_call(port, key, model, text="Tell me about reeves.", dialect="openai", stream=False, max_tokens=24, timeout=60,
               **members):
    """A call as an application makes it."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, **members}
    if max_tokens or dialect == "anthropic":
        body["max_tokens"] = max_tokens
    auth = {"authorization": f"Bearer {key}"} if dialect == "openai" else {
        "x-api-key": key, "anthropic-version": "2023-06-01"}
    return http_call(port, "POST", PATHS[dialect], body, auth, timeout)


class Load:
    """Callers that call without a pause until the block ends: streams and not, in turn.

        with Load(4, lambda stream: scene.chat("summarize", stream=stream)) as load:
            …
        load.answers
    """

    def __init__(self, callers, call):
        self.call, self.answers, self.lock, self.stopping = call, [], threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(callers)]

    def _run(self, number):
        turn = number
        while not self.stopping.is_set():
            answer = self.call(turn % 2 == 1)
            turn += 1
            with self.lock:
                self.answers.append(answer)

    def count(self):
        with self.lock:
            return len(self.answers)

    def more(self, calls, within=30):
        """Waits until so many more calls were answered."""
        wanted, deadline = self.count() + calls, time.monotonic() + within
        while self.count() < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.count() >= wanted

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(timeout=60)

    @property
    def failures(self):
        return [answer for answer in self.answers if not answer.complete]


# --- the scene -------------------------------------------------------------------------------------------------------------

class Scene(unittest.TestCase):
    """A TestCase whose class has a running installation: stack."""

    provider_arguments = FAST
    start_all = True

    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.mkdtemp(prefix="reeve-e2e-")
        cls.stack = cls.new_stack()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
        atexit.register(cls.stack.down)
        cls.addClassCleanup(cls.tidy)
        cls.addClassCleanup(cls.stop_gently)
        if cls.start_all:
            began = time.monotonic()
            cls.stack.up()
            say(f"an installation runs after {time.monotonic() - began:.1f} s")

    @classmethod
    def new_stack(cls):
        stack = Quickstart(cls.home, BUILD, say=say)
        start = stack.start_provider
        stack.start_provider = lambda *arguments: start(*(arguments or cls.provider_arguments))
        return stack

    @classmethod
    def stop_gently(cls):
        """Each of our programs ends when it is asked to, says nothing ill, and sanitizers found nothing."""
        trouble = []
        for name in ("gateway", "reeved", "keeper"):
            if cls.stack.is_running(name) and cls.stack.stop(name) != 0:
                trouble.append(f"{name} ended with {cls.stack.children[name][0].returncode}")
        for name in ("gateway", "reeved", "keeper"):
            if name in cls.stack.children:
                log = cls.stack.read(f"log/{name}.log")
                trouble += [f"{name}: {line}" for line in log.splitlines() if "Sanitizer" in line or "runtime error" in line]
        if trouble:
            raise AssertionError("\n".join(trouble[:20]))

    @classmethod
    def tidy(cls):
        cls.stack.down()
        kept = os.environ.get("REEVE_KEEP")
        if kept:
            say(f"kept: {cls.home}")
        else:
            shutil.rmtree(cls.home, ignore_errors=True)

    def run(self, result=None):
        """A failure shows the ends of the logs."""
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            for name in ("keeper", "reeved", "gateway"):
                if name in self.stack.children:
                    print(f"--- {name}.log of {self.id()}\n{self.stack.tail(name, 12)}", file=sys.stderr, flush=True)

    # --- patience ---

    def until(self, true, what, within=20):
        """Waits for what must come; its value."""
        deadline = time.monotonic() + within
        while True:
            value = true()
            if value:
                return value
            if time.monotonic() > deadline:
                self.fail(f"not within {within} s: {what}")
            time.sleep(0.02)

    # --- people ---

    def owner(self, *words, organization="acme", **more):
        return self.stack.owner(organization, *words, **more)

    def operator(self, *words, **more):
        return self.stack.operator(*words, **more)

    def token(self, organization="acme"):
        return self.stack.read(f"{organization}.token").strip()

    def admin(self, method, path, body=None, token=None, **headers):
        """A call of the admin API as plain HTTP."""
        auth = {"authorization": f"Bearer {self.token() if token is None else token}"}
        if method == "POST":
            auth["idempotency-key"] = os.urandom(16).hex()
        return http_call(self.stack.port("reeved"), method, path, body,
                         {**auth, **{name.replace("_", "-"): value for name, value in headers.items()}})

    # --- applications ---

    def client_key(self, project="search"):
        return self.stack.read(f"{project}.key").strip()

    def call_model(self, model, *arguments, key=None, **more):
        return model_call(self.stack.port("gateway"), key or self.client_key(), model, *arguments, **more)

    # --- what the gateway says about itself ---

    def gateway_ready(self):
        answer = http_call(self.stack.port("gateway-admin"), "GET", "/readyz")
        return answer.status, json.loads(answer.text) if answer.text.startswith("{") else {}

    def waiting_events(self):
        """How many events lie in the gateway's spool, not yet acknowledged."""
        return self.gateway_ready()[1].get("spool", {}).get("waiting", -1)

    # --- the ledger ---

    def usage(self, group_by, token=None, **query):
        """Rows of the usage report."""
        rows, page = [], None
        while True:
            asked = {"group_by": group_by, **query, **({"page_token": page} if page else {})}
            answer = self.admin("GET", "/v1/usage?" + urllib.parse.urlencode(asked), token=token)
            self.assertEqual(200, answer.status, answer)
            rows += answer.json["data"]
            page = answer.json.get("next_page_token")
            if not page:
                return rows
