"""Starting and steering the simulated provider from Python (standard library only).

    with Simulated("build/dev/bin/reeve-sim", "--fast") as sim:
        sim.fault("status", status=500, count=1, match={"model": "m"})
        ...
        for line in sim.journal(): ...
"""
import http.client
import json
import os
import subprocess
import tempfile
import time


class Simulated:
    """One process of reeve-sim, or a client of one that runs already (port=)."""

    def __init__(self, program=None, *arguments, port=None):
        self.process, self.directory, self.port = None, None, port
        if port is None:
            self.directory = tempfile.TemporaryDirectory(prefix="reeve-sim-")
            self._start(program, arguments)

    def _start(self, program, arguments):
        port_file = os.path.join(self.directory.name, "port")
        self.process = subprocess.Popen([program, "--port-file", port_file, *arguments], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not os.path.exists(port_file):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the simulated provider did not start")
            time.sleep(0.01)
        with open(port_file, encoding="ascii") as file:
            self.port = int(file.read())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Ends the process gently; answers its exit code."""
        if not self.process:
            return None
        self.process.terminate()
        code = self.process.wait(timeout=30)
        self.directory.cleanup()
        self.process = None
        return code

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.port}"

    def control(self, method, path, body=None):
        """One call to the control endpoint; the decoded answer. Raises on anything but 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status != 200:
                raise RuntimeError(f"{method} {path}: {answer.status} {text}")
            return text
        finally:
            connection.close()

    def fault(self, kind, match=None, **fault):
        self.control("POST", "/_sim/faults", {"match": match or {}, "fault": {"kind": kind, **fault}})

    def heal(self):
        self.control("DELETE", "/_sim/faults")

    def keys(self, add=(), revoke=()):
        self.control("POST", "/_sim/keys", {"add": list(add), "revoke": list(revoke)})

    def stats(self):
        return json.loads(self.control("GET", "/_sim/stats"))

    def reset(self, journal=False):
        self.control("POST", "/_sim/reset" + ("?journal=true" if journal else ""))

    def journal(self, after=0):
        """Every line after the given number, as dictionaries, page by page."""
        while True:
            page = self.control("GET", f"/_sim/journal?after={after}")
            if not page:
                return
            for line in page.splitlines():
                entry = json.loads(line)
                after = entry["n"]
                yield entry
