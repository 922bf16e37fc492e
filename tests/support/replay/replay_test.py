"""scripts/replay against the simulated provider itself (as the gateway) and a small stand-in for the usage report.

The stand-in makes its report from what the provider did ("served"), not from the usage objects that the reconciliation
reads, so the two meet only in the result. Every way in which a ledger may be wrong must be noticed.
Usage: replay_test.py PATH/TO/reeve-sim
"""
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, os.path.join(HERE, ".."))
import reconcile  # noqa: E402
from simulated import Simulated  # noqa: E402

PROGRAM = "reeve-sim"
# USD per million tokens -> picodollars per token is a factor of a million. The last digits need half-even rounding.
PRICES = {"chat": {"input_uncached": "0.15", "cache_read": "0.0750005", "output": "0.6000015", "reasoning": "0.6"},
          "prose": {"input_uncached": "3", "cache_read": "0.3", "cache_write_5m": "3.75", "cache_write_1h": "6", "output": "15"}}
RATES = {"chat": {"input_uncached": 150000, "cache_read": 75000, "output": 600002, "reasoning": 600000},
         "prose": {"input_uncached": 3000000, "cache_read": 300000, "cache_write_5m": 3750000, "cache_write_1h": 6000000,
                   "output": 15000000}}
KEYS = {"sk-alpha": ("alpha", "chat"), "sk-beta": ("beta", "prose")}


class Report(http.server.ThreadingHTTPServer):
    """GET /v1/usage in pages of two rows; `bend` may falsify the rows."""

    def __init__(self, sim):
        super().__init__(("127.0.0.1", 0), ReportHandler)
        self.sim, self.bend = sim, lambda rows: rows
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def rows(self):
        places = {reconcile.key_sha256(key): place for key, place in KEYS.items()}
        sums = {}
        for line in self.sim.journal():
            project, workflow = places[line["key_sha256"]]
            for meter, count in line["served"].items():
                if count:
                    key = (project, workflow, line["model"], meter)
                    sums[key] = sums.get(key, 0) + count
        return [{"project": "prj_" + key[0], "workflow": key[1], "model": key[2], "meter": key[3], "quantity": count,
                 "amount_usd": reconcile.dollars(count * RATES[key[2]][key[3]]), "unrated_quantity": 0}
                for key, count in sorted(sums.items())]


class ReportHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        rows = self.server.bend(self.server.rows())
        start = int(self.path.partition("page_token=")[2] or 0)
        more = str(start + 2) if start + 2 < len(rows) else None
        text = json.dumps({"data": rows[start:start + 2], "next_page_token": more}).encode()
        authorized = self.headers["authorization"] == "Bearer rv_svc_test"
        self.send_response(200 if authorized else 401)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Replay(unittest.TestCase):
    def setUp(self):
        self.sim = Simulated(PROGRAM, "--fast")
        self.addCleanup(self.sim.stop)
        self.report = Report(self.sim)
        self.addCleanup(self.report.server_close)
        self.addCleanup(self.report.shutdown)
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.write_traces()
        self.setup_path = self.write("setup.json", json.dumps(self.setup_document()))

    def write(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def write_traces(self):
        lines = [f"2023-11-16 18:17:{n // 50 + 3:02}.97996{n % 50:02},{n * 37 % 4000 + 1},{n % 90}" for n in range(300)]
        self.write("AzureLLMInferenceTrace_code.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(lines) + "\n")
        rows = [{"timestamp": n * 10, "input_length": 512 * (n % 7) + 300, "output_length": n % 40 + 1,
                 "hash_ids": [*range(n % 5), *range(n, n + 7)][: n % 7 + 1]} for n in range(300)]
        self.write("mooncake_synthetic.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def setup_document(self):
        lanes = []
        for key, (project, workflow) in KEYS.items():
            dialect = "openai" if workflow == "chat" else "anthropic"
            lanes.append({"project": project, "project_id": "prj_" + project, "workflow": workflow, "dialect": dialect,
                          "client_key": key, "key_sha256": reconcile.key_sha256(key), "models": [workflow],
                          "include_usage": True})
        return {"gateway": self.sim.base_url, "provider": self.sim.base_url, "tokens": ["rv_svc_test"],
                "admin": f"http://127.0.0.1:{self.report.server_port}", "prices": {"models": PRICES}, "lanes": lanes}

    def replay(self, *arguments, code=0):
        done = subprocess.run([os.path.join(ROOT, "scripts", "replay"), "--setup", self.setup_path, "--traces",
                               self.folder.name, "--settle-s", "3" if code == 0 else "0.3", "--concurrency", "8", *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60)
        self.assertEqual(code, done.returncode, done.stdout)
        return done.stdout

    def test_an_azure_trace_balances(self):
        text = self.replay("--trace", "azure-code")
        self.assertIn("300 calls, 0 failed, 300 priced", text)
        self.assertIn("equal", text)

    def test_a_mooncake_trace_balances_with_cached_and_written_tokens(self):
        text = self.replay("--trace", "mooncake")
        for meter in ("cache_read", "cache_write_5m", "input_uncached", "output"):
            self.assertIn(meter, text)
        self.assertIn("300 priced", text)

    def test_what_was_there_before_does_not_disturb(self):
        self.replay("--limit", "20")
        self.assertIn("10 calls, 0 failed, 10 priced", self.replay("--limit", "10"))

    def test_arrivals_follow_the_scaled_clock(self):
        text = self.replay("--limit", "101", "--speed", "2")  # 2 s of the trace
        self.assertIn("101 calls", text)
        first, *_, last = [line["at_us"] for line in self.sim.journal()]
        self.assertGreater(last - first, 900000)

    def wrong(self, bend):
        def once_there(rows):
            return bend(rows) if rows else rows
        self.sim.reset(journal=True)
        self.report.bend = once_there
        text = self.replay("--limit", "40", code=1)
        self.assertIn("NOT EQUAL", text)
        return text

    def test_a_picodollar_too_much_is_noticed(self):
        def bend(rows):
            rows[1]["amount_usd"] = reconcile.dollars(reconcile.picodollars(rows[1]["amount_usd"]) + 1)
            return rows
        self.assertIn("amount differs by +1 picodollars", self.wrong(bend))

    def test_a_lost_or_doubled_token_is_noticed(self):
        for change in (-1, 1):
            def bend(rows, change=change):
                rows[0]["quantity"] += change
                return rows
            self.assertIn(f"tokens differ by {change:+}", self.wrong(bend))

    def test_a_missing_row_and_a_row_too_many_are_noticed(self):
        self.wrong(lambda rows: rows[1:])
        self.wrong(lambda rows: rows + [{**rows[0], "meter": "web_search"}])

    def test_tokens_in_the_wrong_meter_are_noticed(self):
        def bend(rows):
            rows[0]["meter"] = "cache_read_elsewhere"
            return rows
        self.wrong(bend)

    def test_a_failed_call_is_told_and_fails_the_replay(self):
        self.sim.fault("status", status=500, count=3)
        text = self.replay("--limit", "30", code=1)
        self.assertIn("30 calls, 3 failed, 27 priced", text)
        self.sim.fault("status", status=500, count=3)
        self.replay("--limit", "30", "--allow-failures")

    def test_tokens_that_were_never_told_are_shown(self):
        document = self.setup_document()
        document["lanes"][0]["include_usage"] = False
        self.setup_path = self.write("setup.json", json.dumps(document))
        self.assertIn("tokens were served and never reported", self.replay("--limit", "40", code=1))

    def test_calls_under_a_foreign_key_are_strays(self):
        self.setup_path = self.write("setup.json", json.dumps({**self.setup_document(), "lanes": [
            {**self.setup_document()["lanes"][0], "key_sha256": "0" * 64}]}))
        text = self.replay("--limit", "5", code=1)
        self.assertIn("5 calls reached the provider with a key and model of no lane", text)

    def test_a_missing_trace_or_setup_is_a_sentence(self):
        self.assertIn("is not there", self.replay("--traces", "/nowhere", code=1))
        self.assertIn("cannot be read", self.replay("--setup", "/nowhere", code=1))
        path = self.write("setup.json", "{}")
        self.assertIn("lacks gateway, admin", self.replay("--setup", path, code=1))


class Reconciling(unittest.TestCase):
    LINE = {"key_sha256": "k", "model": "m", "dialect": "anthropic", "usage_delivered": True,
            "served": {"input_uncached": 5, "output": 9}}
    START = {"input_tokens": 5, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 30,
             "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}, "output_tokens": 1}

    def test_a_stream_tells_its_writes_at_the_start_and_its_output_at_the_end(self):
        final = {"input_tokens": 5, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 30, "output_tokens": 9}
        meters = reconcile.told_meters({**self.LINE, "usage_start": self.START, "usage": final})
        self.assertEqual((10, 20, 9), (meters["cache_write_5m"], meters["cache_write_1h"], meters["output"]))

    def test_a_cut_stream_told_what_its_start_said(self):
        meters = reconcile.told_meters({**self.LINE, "usage_start": self.START, "usage": None, "usage_delivered": False})
        self.assertEqual((5, 1), (meters["input_uncached"], meters["output"]))

    def test_rates_are_rounded_half_to_even_once(self):
        book = reconcile.PriceBook({"m": {"output": "0.0000005", "cache_read": "0.0000015", "input_uncached": "1e-7"}})
        self.assertEqual([0, 2, 0], [book.rate("m", meter, 1) for meter in ("output", "cache_read", "input_uncached")])

    def test_a_tier_begins_beyond_its_start(self):
        book = reconcile.PriceBook({"m": {"output": {"base": 3, "tiers": [{"start": 100, "price": 6}, {"start": 50, "price": 4}]}}})
        self.assertEqual([3000000, 4000000, 4000000, 6000000], [book.rate("m", "output", n) for n in (50, 51, 100, 101)])

    def test_tokens_without_a_price_are_unrated_and_never_free(self):
        line = {**self.LINE, "usage_start": None, "usage": {**self.START, "output_tokens": 9}}
        lanes = reconcile.Lanes([{"project": "p", "workflow": "w", "key_sha256": "k", "models": ["m"]}])
        expected = reconcile.expect([line], lanes, reconcile.PriceBook({"m": {"input_uncached": 1}}))
        self.assertEqual(reconcile.Sum(9, 0, 9), expected.sums[("p", "w", "m", "output")])
        self.assertFalse(reconcile.compare(expected, {("p", "w", "m", "output"): reconcile.Sum(9, 0, 0)}).equal)

    def test_an_amount_finer_than_a_picodollar_is_refused(self):
        self.assertEqual(1, reconcile.picodollars("0.000000000001"))
        with self.assertRaises(ValueError):
            reconcile.picodollars("0.0000000000001")

    def test_lanes_that_cannot_be_told_apart_are_refused(self):
        lane = {"project": "p", "workflow": "w", "key_sha256": "k", "models": ["m"]}
        with self.assertRaises(ValueError):
            reconcile.Lanes([lane, {**lane, "workflow": "v"}])


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        PROGRAM = sys.argv.pop(1)
    unittest.main()
