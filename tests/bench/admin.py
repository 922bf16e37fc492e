"""An authenticated, authorised, row-level-secured GET of a project, 64 connections, beside the bare server floor with one
prepared SELECT over the same row. Runs alternate; medians count.
"""
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from stack import Stack  # noqa: E402

BUILD = os.environ.get("REEVE_BUILD", os.path.join(ROOT, "build", "release"))
CONNECTIONS = 64
DATABASE_CONNECTIONS = 8  # of each: the control plane's workers, the reference's loops


class Bench(Stack):
    """PostgreSQL, the control plane and the reference; nothing else."""

    PROGRAMS = ("reeved",)

    def call(self, method, path, token, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port("reeved"), timeout=10)
        headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json", "If-Match": "*"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text!r}")
        return json.loads(text)

    def up(self):
        self.install()
        self.folder("log")
        self.start_postgres()
        self.bootstrap_database()
        self.config("reeved.yaml", {
            "listen": {"address": "127.0.0.1", "port": self.port("reeved")},
            "database": {role: self.conninfo("reeve_" + role) for role in ("api", "worker", "publish", "ingest", "migrate")},
            "keeper_socket": self.path("keeper.sock"), "workers": DATABASE_CONNECTIONS, "log": {"level": "error"}})
        self.run(self.program("reeved"), "migrate", "--config", self.path("reeved.yaml"))
        self.run(self.program("reeved"), "bootstrap-token", "--config", self.path("reeved.yaml"), "--out", self.path("token"))
        self.start("reeved", "serve", "--config", self.path("reeved.yaml"), ready=lambda: self.http_ok("reeved", "/readyz"))
        operator = self.read("token").strip()
        self.call("POST", "/v1/organizations", operator, {"name": "acme"})
        owner = self.call("POST", "/v1/organizations/acme/admit", operator, {"name": "owner"})["token"]
        project = self.call("POST", "/v1/projects", owner, {"name": "search"})
        return owner, project

    def reference(self):
        ids = self.psql("select org, id from reeve.project where name = 'search'").strip().split("|")
        process = subprocess.Popen([os.path.join(BUILD, "tests", "bench_admin_reference"), self.conninfo("super"), *ids,
                                    str(DATABASE_CONNECTIONS)],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return process, process.stdout.readline().strip()


def wrk(url, seconds, token=None):
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    if token:
        command += ["-H", "Authorization: Bearer " + token]
    text = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)", text)
    if bad:
        raise RuntimeError(f"errors under load: {bad.group(0)}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)), re.search(r"99%\s+(\S+)", text).group(1)


def main():
    seconds, rounds = (2, 1) if "--quick" in sys.argv else (4, 3)
    home = tempfile.mkdtemp(prefix="reeve-bench-")
    try:
        with Bench(home, BUILD) as bench:
            owner, project = bench.up()
            process, reference = bench.reference()
            ours_url = f"{bench.url('reeved')}/v1/projects/{project['id']}"
            wrk(reference, 1)
            wrk(ours_url, 1, owner)
            ours, theirs = [], []
            for _ in range(rounds):
                theirs.append(wrk(reference, seconds)[0])
                rate, p99 = wrk(ours_url, seconds, owner)
                ours.append(rate)
                print(f"reference {theirs[-1]:.0f}/s   admin {rate:.0f}/s (p99 {p99})", file=sys.stderr)
            process.stdin.close()
            process.wait(timeout=10)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    rate, bare = statistics.median(ours), statistics.median(theirs)
    print(json.dumps({"bench": "admin", "figures": [
        {"name": "share_of_reference", "value": round(rate / bare, 3), "unit": "ratio", "goal": 0.30, "better": "higher"},
        {"name": "requests_per_second", "value": round(rate), "unit": "1/s", "goal": None, "better": "higher"},
        {"name": "bare_requests_per_second", "value": round(bare), "unit": "1/s", "goal": None, "better": "higher"}]}))


if __name__ == "__main__":
    main()
