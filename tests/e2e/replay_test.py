#!/usr/bin/python3
"""The bill after a bad day: real traces through the gateway while the provider fails, callers leave, and reeved, PostgreSQL
and the gateway are killed in the middle. Nothing acknowledged is lost or there twice, and the ledger equals the provider's
journal to the picodollar: what it cannot know is in the ledger as such, attempt by attempt.

Needs the traces of ../shared/data/traces ($REEVE_SHARED/data/traces); skips without them.
"""
import argparse
import importlib.machinery
import importlib.util
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
import reconcile  # noqa: E402
from scene import Scene, say  # noqa: E402
from stack import ROOT  # noqa: E402

TRACES = os.path.join(os.environ.get("REEVE_SHARED") or os.path.join(ROOT, "..", "shared"), "data", "traces")
CALLS = 600  # of each trace
CALLERS = 16
ABORT_EVERY = 40
FAULTS = (("status", {"status": 429, "retry_after": 0}), ("status", {"status": 500}), ("cut_after_events", {"n": 2}), ("empty", {}),
          ("malformed", {}), ("reset", {}))
FAULT_COUNT = 15  # calls each, from the first call on and again after every blow


def load_replay():
    loader = importlib.machinery.SourceFileLoader("replay_command", os.path.join(ROOT, "scripts", "replay"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


replay = load_replay()


class PatientCaller(replay.Caller):
    """Waits for a gateway that is being started again, leaves some calls before their end, and counts what it was given."""
    numbers, given, left, lock = itertools.count(1), 0, 0, threading.Lock()

    def _connect(self):
        deadline = time.monotonic() + 30
        while True:
            super()._connect()
            try:
                return self.connection.connect()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def call(self, lane, directive, stream):
        if next(self.numbers) % ABORT_EVERY == 0:
            return self.leave(lane, directive)
        try:
            problem = super().call(lane, directive, stream)
        except OSError as error:
            problem = str(error)
        if problem is None:
            with self.lock:
                PatientCaller.given += 1
        return problem

    def leave(self, lane, directive):
        """Asks for a slow stream and is gone after its first bytes."""
        path, headers, body = self.request(lane, {**directive, "output": 400, "gap_ms": 20, "events": 40}, True)
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        with self.lock:
            PatientCaller.left += 1
        try:
            with socket.create_connection((self.place.hostname, self.place.port), timeout=10) as connection:
                connection.sendall(head.encode() + data)
                connection.recv(64)
        except OSError:
            pass
        return "left"


replay.Caller = PatientCaller


@unittest.skipUnless(os.path.isdir(TRACES), f"the traces are not there ({TRACES}); set REEVE_SHARED")
class Replay(Scene):
    provider_arguments = ("--first-byte-ms", "120", "--token-ms", "0")  # so that the load outlasts the blows

    def faults(self):
        for kind, more in FAULTS:
            self.stack.provider().fault(kind, match={"key_prefix": "sk-primary"}, count=FAULT_COUNT, **more)

    def arrivals(self):
        """Requests of all traces in turn, each trace over all lanes."""
        traces = [itertools.islice(replay.open_trace(name, TRACES), CALLS) for name in (*replay.AZURE, "mooncake")]
        return [row[(turn + place) % 3] for turn, row in enumerate(zip(*traces)) for place in range(3)]

    def served(self):
        return self.stack.provider().stats()["requests"]

    # --- the blows ---

    def kill_reeved(self):
        self.stack.kill("reeved")
        time.sleep(0.3)
        self.stack.start("reeved")

    def restart_postgres(self):
        self.stack.stop("postgres", signal.SIGQUIT)  # at once: recovery at the next start
        self.stack.start("postgres")

    def kill_gateway(self):
        self.stack.kill("gateway")
        self.stack.start("gateway")

    def test_the_bill_of_real_traces_survives_a_bad_day(self):
        setup, arrivals = replay.read_setup(self.stack.path("replay.json")), self.arrivals()
        self.faults()
        options = argparse.Namespace(concurrency=CALLERS, speed=0, stream=50)
        progress = []
        driver = threading.Thread(target=lambda: progress.append(replay.drive(setup, arrivals, options)), daemon=True)
        driver.start()
        for share, blow in ((1, self.kill_reeved), (2, self.restart_postgres), (3, self.kill_gateway), (4, self.kill_reeved)):
            self.until(lambda: self.served() >= len(arrivals) * share / 6, f"{share} sixths are served", within=40)
            self.assertTrue(driver.is_alive(), "the load ended before the blow")
            blow()
            self.faults()
            say(f"{blow.__name__} after {self.served():,} calls to the provider")
        driver.join(timeout=60)
        self.assertTrue(progress, "the load did not end")
        self.assertEqual(len(arrivals), progress[0].done)
        self.assertGreater(PatientCaller.given, len(arrivals) * 0.8, progress[0].problems)
        self.until(lambda: self.waiting_events() == 0, "everything was taken in", within=40)
        self.compare(setup)
        self.nothing_is_lost_or_twice()
        for organization in ("acme", "globex"):
            checked = self.owner("usage", "verify", organization=organization, as_json=False, check=False)
            self.assertEqual(0, checked.returncode, checked.stdout + checked.stderr)

    # --- the ledger's side, from its tables ---

    def attempts(self):
        """(provider's request id, reason of its line) of every attempt."""
        rows = self.stack.psql("select coalesce(a.provider_request_id, ''), c.reason from ledger.attempt a "
                               "join ledger.charge c on c.org = a.org and c.event = a.event and c.attempt = a.n")
        return [tuple(row.split("|")) for row in rows.splitlines()]

    def rated(self):
        return self.stack.psql("select (select count(*) from ledger.attempt), (select count(distinct (event, attempt)) "
                               "from ledger.charge where attempt > 0)").strip().split("|")

    def known(self, journal):
        """The lines of the journal whose usage the ledger knows, and how many it says that it does not know."""
        attempts = self.attempts()
        reasons = dict(attempts)
        dark = sum(reason in ("indeterminate", "unknown-usage") and not number for number, reason in attempts)
        lines = [line for line in journal if reasons.get(line["request_id"]) not in (None, "indeterminate", "unknown-usage")]
        lost = [line for line in journal if line["request_id"] not in reasons and reconcile.told_meters(line)]
        return lines, lost, dark

    def compare(self, setup):
        lanes, prices = reconcile.Lanes(setup["lanes"]), reconcile.PriceBook.read(setup["prices"])
        ledger = reconcile.Ledger(setup["admin"], setup["tokens"])
        self.until(lambda: self.rated()[0] == self.rated()[1], "every attempt has its line")
        lines, lost, dark = self.known(list(self.stack.provider().journal()))
        result = reconcile.compare(reconcile.expect(lines, lanes, prices), ledger.report(lanes))
        for row in result.table().splitlines():
            say(row)
        self.assertTrue(result.equal, result.table())
        self.assertGreater(result.expected.calls, 2 * CALLS)
        self.assertIn("indeterminate", {reason for _, reason in self.attempts()}, "the kill met no call in flight")
        self.assertLessEqual(len(lost), dark, "calls that the provider finished are not even in the ledger as unknown")
        self.assertLessEqual(len(lost), CALLERS, "only calls in flight when the gateway was killed may be unknown")
        say(f"{len(lines):,} calls of the provider are in the ledger; {len(lost)} were in flight at the kill, {dark} are told as unknown")

    def nothing_is_lost_or_twice(self):
        sql = self.stack.psql
        events = int(sql("select count(*) from ledger.event"))
        self.assertEqual("", sql("select * from ledger.gap").strip(), "numbers of the gateway are missing")
        self.assertEqual(events, int(sql("select sum(upper(r) - lower(r)) from ledger.source, unnest(seen) r")))
        self.assertEqual("0", sql("select count(*) from ledger.quarantine").strip())
        self.assertEqual("", sql("select provider_request_id from ledger.attempt group by 1 having count(*) > 1 "
                                 "and provider_request_id is not null").strip())
        answered = int(sql("select count(*) from ledger.event where outcome = 'ok'"))
        self.assertGreaterEqual(answered, PatientCaller.given, "a call that was answered is not in the ledger")
        say(f"{events:,} events for {PatientCaller.given:,} answered and {PatientCaller.left} abandoned calls, none missing, none twice")


if __name__ == "__main__":
    unittest.main()
