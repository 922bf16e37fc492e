"""The main job as one story in seven steps, over the real programs: from a new project to a rotated key, a switched model, a
broken provider, two killed programs, and a bill that is right to the picodollar.

    REEVE_BUILD=build/release REEVE_VERBOSE=1 /usr/bin/python3 tests/e2e/main_job_test.py -v
"""
import json
import os
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
import reconcile  # noqa: E402
from scene import Load, Scene, provider_key, say, sha256  # noqa: E402

PROJECT = "story"
FIRST_BYTE_MS = 1500
OVERLAP_S = 4
MODELS = {"summarize": ("openai", ["gpt-4o-mini", "gpt-4o"]), "review": ("anthropic", ["claude-haiku-4-5", "claude-sonnet-4-5"])}
OTHER_MODEL = "gpt-4.1-mini"
# More than an OpenAI prefix block of 1,024 tokens, so that its second reading is from the cache.
LONG_TEXT = "A reeve was the officer who held an estate's keys, set its rules, and kept its accounts. " * 60


class MainJob(Scene):
    """Steps run in the order of their names, each on what the ones before left."""

    keys, ids, calls, callers = {}, {}, 0, threading.Lock()

    # --- what the steps say ---

    def project(self, *words, **more):
        return self.owner(*words, "-p", PROJECT, **more)

    def put_key(self, name):
        """A fresh provider key into the project; sealed by the command line."""
        key = self.keys[name] = provider_key(name)
        self.project("secret", "create", name, "--origin", self.stack.url("provider"), "--from-file", "-", data=key)

    def ask(self, workflow="summarize", text="Tell me about reeves.", **more):
        """One call as the application makes it."""
        with self.callers:
            type(self).calls += 1
        return self.call_model(workflow, text, key=self.keys["client"], dialect=MODELS[workflow][0], **more)

    def ask_ok(self, *arguments, **more):
        answer = self.ask(*arguments, **more)
        self.assertTrue(answer.complete, answer)
        return answer

    def load(self, callers=4):
        return Load(callers, lambda stream: self.ask(stream=stream))

    def journal(self):
        return list(self.stack.provider().journal())

    def uses(self, key):
        """When the provider was called with the key, in seconds of Unix time."""
        return [line["at_us"] / 1e6 for line in self.journal() if line["key_sha256"] == sha256(key)]

    def attempts(self):
        """{(connection, outcome): attempts} of the project, as the ledger has them."""
        sums = {}
        for row in self.usage("connection,attempt_outcome", project=self.ids[PROJECT]):
            name = self.names.get(row["connection"], row["connection"])
            sums[name, row["attempt_outcome"]] = sums.get((name, row["attempt_outcome"]), 0) + int(row["attempts"])
        return sums

    def events(self):
        """How many requests the ledger knows of the project."""
        return sum(int(row["events"]) for row in self.usage("project", project=self.ids[PROJECT]))

    def data_plane(self):
        return self.operator("fleet", "data-planes", "list", self.stack.state["fleet"])[0]

    # --- the story ---

    def test_1_a_project_a_sealed_key_connections_workflows_and_a_client_key(self):
        project = self.owner("project", "create", PROJECT)
        self.ids[PROJECT], type(self).names = project["id"], {}
        for workflow, (dialect, models) in MODELS.items():
            base_url = self.stack.url("provider") + ("/v1" if dialect == "openai" else "")
            for place in ("primary", "backup"):
                name = f"{workflow}-{place}"
                self.put_key(name)
                made = self.project("connection", "create", name, "--dialect", dialect, "--base-url", base_url, "--secret", name)
                self.names[made["id"]] = name
            self.ids[workflow] = self.project("workflow", "create", workflow, "--dialect", dialect)["id"]
            self.project("workflow", "revise", workflow, "--release",
                         "--target", f"connection={workflow}-primary,model={models[0]},max_attempts=1,first_byte_ms={FIRST_BYTE_MS}",
                         "--target", f"connection={workflow}-backup,model={models[1]},max_attempts=1")
        self.keys["client"] = self.project("key", "create", "app")["token"]
        began = time.monotonic()
        self.until(lambda: self.call_model("summarize", key=self.keys["client"], text="ping").ok,
                   "the gateway knows the new client key")
        say(f"1. made: 4 sealed keys, 4 connections, 2 workflows, a client key; the gateway knew it {time.monotonic() - began:.2f} s later")
        type(self).calls = self.settle_count()
        for secret in self.project("secret", "list"):
            self.assertNotIn("sealed", secret)
            self.assertEqual(self.stack.url("provider"), secret["origin"])

    def settle_count(self):
        """Waits until the ledger has all the calls so far; how many."""
        self.until(lambda: self.waiting_events() == 0, "the spool is empty")
        known = len(self.journal())
        self.until(lambda: self.events() >= known, "the ledger knows the first calls")
        return self.events()

    def test_2_answers_in_both_dialects_streamed_and_not_cached_and_not(self):
        for workflow, (dialect, models) in MODELS.items():
            for stream in (False, True):
                answer = self.ask_ok(workflow, stream=stream)
                self.assertEqual((models[0], 1), (answer.model, answer.attempts))
                said = answer.text if stream else json.dumps(answer.json["choices" if dialect == "openai" else "content"])
                self.assertGreater(len(said), 40)
            say(f"2. {workflow}: {models[0]} answered, streamed and not")
        hidden = self.ask_ok(stream=True).events
        self.assertTrue(all(event.get("choices") for event in hidden[:-1]), "usage that nobody asked for is shown")
        shown = self.ask_ok(stream=True, stream_options={"include_usage": True}).events
        self.assertEqual([], shown[-2]["choices"])
        self.assertGreater(shown[-2]["usage"]["total_tokens"], 0)
        self.ask_ok(text=LONG_TEXT)
        cached = self.ask_ok(text=LONG_TEXT).json["usage"]["prompt_tokens_details"]["cached_tokens"]
        self.assertGreaterEqual(cached, 1024)
        content = [{"type": "text", "text": LONG_TEXT, "cache_control": {"type": "ephemeral"}}]
        written = self.ask_ok("review", content).json["usage"]
        read = self.ask_ok("review", content).json["usage"]
        self.assertGreater(written["cache_creation_input_tokens"], 0)
        self.assertEqual(written["cache_creation_input_tokens"], read["cache_read_input_tokens"])
        say(f"2. prompts are cached: {cached} tokens with OpenAI, {read['cache_read_input_tokens']} with Anthropic")

    def test_3_the_provider_key_is_rotated_under_load(self):
        old, new = self.keys["summarize-primary"], provider_key("summarize-rotated")
        pids = {name: self.stack.pid(name) for name in ("keeper", "reeved", "gateway")}
        with self.load() as load:
            self.assertTrue(load.more(20))
            version = self.project("secret", "rotate", "summarize-primary", "--overlap", f"{OVERLAP_S}s", "--from-file", "-", data=new)
            answered = time.time()
            self.until(lambda: self.uses(new), "the new key is used")
            self.assertTrue(load.more(40))
            while time.time() < answered + OVERLAP_S + 0.5:
                time.sleep(0.05)
            self.stack.provider().keys(revoke=[old])
            self.assertTrue(load.more(40))
        self.keys["summarize-primary"], self.keys["summarize-old"] = new, old
        self.assertEqual([], [str(answer) for answer in load.failures])
        first_new, last_old = min(self.uses(new)), max(self.uses(old))
        say(f"3. {len(load.answers)} calls, none failed; the new key was used {first_new - answered:+.2f} s after the answer, "
            f"the old one last {last_old - answered:+.2f} s")
        self.assertLess(first_new - answered, 5)
        self.assertLess(last_old, answered + OVERLAP_S, "the old key was used after its overlap")
        self.assertLess(last_old, first_new + 1, "the old key was used although the new one was there")
        self.assertEqual("active", version["state"])
        states = {row["number"]: row["state"] for row in self.project("secret", "versions", "list", "summarize-primary")}
        self.assertEqual("active", states[2])
        self.assertEqual(pids, {name: self.stack.pid(name) for name in pids})

    def test_4_the_workflow_is_switched_to_another_model_under_load_and_back(self):
        before = self.data_plane()
        with self.load() as load:
            self.assertTrue(load.more(20))
            self.project("workflow", "switch", "summarize", OTHER_MODEL)
            began = time.monotonic()
            self.until(lambda: load.answers[-1].model == OTHER_MODEL, "the other model answers")
            took = time.monotonic() - began
            active = self.until(lambda: (lambda now: now if now["active_seq"] > before["active_seq"] else None)(self.data_plane()),
                                "the gateway says that it runs the new snapshot")
            self.assertTrue(load.more(20))
            self.assertEqual({OTHER_MODEL}, {answer.model for answer in load.answers[-8:]})
            self.project("workflow", "rollback", "summarize")
            self.until(lambda: load.answers[-1].model == "gpt-4o-mini", "the former model answers again")
            self.assertTrue(load.more(20))
        self.assertEqual([], [str(answer) for answer in load.failures])
        say(f"4. {len(load.answers)} calls, none failed; {OTHER_MODEL} answered {took:.2f} s after the switch, "
            f"snapshot {active['active_seq']} is active at {active['name']}; rolled back")

    def test_5_a_broken_primary_is_stepped_over_and_both_attempts_are_in_the_ledger(self):
        before = self.attempts()
        broken = {"key_prefix": self.keys["summarize-primary"][:40]}
        provider = self.stack.provider()
        self.addCleanup(provider.heal)
        for fault, outcome in ((("status", {"status": 500}), "status-5xx"), (("hang", {}), "first-byte-timeout")):
            provider.fault(fault[0], match=broken, **fault[1])
            for stream in (False, True):
                answer = self.ask_ok(stream=stream)
                self.assertEqual(("gpt-4o", 2), (answer.model, answer.attempts))
            provider.heal()
            wanted = before.get(("summarize-primary", outcome), 0) + 2
            self.until(lambda: self.attempts().get(("summarize-primary", outcome), 0) == wanted,
                       f"two attempts with the outcome {outcome} are in the ledger")
            say(f"5. {outcome}: two calls succeeded through the fallback; both attempts of each are in the ledger")
        after = self.attempts()
        self.assertEqual(before.get(("summarize-backup", "ok"), 0) + 4, after["summarize-backup", "ok"])
        self.assertEqual("gpt-4o-mini", self.ask_ok().model)

    def test_6a_the_control_plane_is_killed_and_every_event_arrives_once(self):
        self.until(lambda: self.waiting_events() == 0, "the spool is empty")
        self.stack.kill("reeved")
        for number in range(20):
            self.ask_ok(stream=number % 2 == 1)
        waiting = self.waiting_events()
        self.assertEqual(20, waiting)
        self.assertEqual(200, self.gateway_ready()[0])
        say(f"6. the control plane is dead: 20 calls were served, {waiting} events wait on the gateway's disk")
        self.stack.start("reeved")
        self.until(lambda: self.waiting_events() == 0, "the events were taken in", within=40)
        self.until(lambda: self.events() == self.calls, f"the ledger knows {self.calls} calls", within=40)
        time.sleep(0.5)
        self.assertEqual(self.calls, self.events())
        say(f"6. it is back: the ledger knows all {self.calls} calls, each once")

    def test_6b_the_gateway_is_killed_in_mid_call_and_nothing_goes_silent(self):
        before = self.attempts().get(("summarize-primary", "indeterminate"), 0)
        slow = 'sim:{"input":200,"output":20,"first_ms":1200}'
        for _ in range(5):
            self.ask_ok()
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.ask(text=slow))) for _ in range(3)]
        for thread in threads:
            thread.start()
        self.until(lambda: self.stack.provider().stats()["in_flight"] == 3, "three calls are with the provider")
        self.stack.kill("gateway")
        for thread in threads:
            thread.join(timeout=30)
        self.assertEqual([0, 0, 0], [answer.status for answer in answers])
        self.stack.start("gateway")
        self.ask_ok()
        self.until(lambda: self.attempts().get(("summarize-primary", "indeterminate"), 0) == before + 3,
                   "three indeterminate attempts are in the ledger", within=40)
        self.until(lambda: self.events() == self.calls, f"the ledger knows {self.calls} calls", within=40)
        say("6. the gateway was killed with three calls in flight: they are indeterminate in the ledger, and nothing is missing")

    def lanes(self):
        models = {"summarize": ["gpt-4o-mini", "gpt-4o", OTHER_MODEL], "review": MODELS["review"][1]}
        return reconcile.Lanes([
            {"project": PROJECT, "project_id": self.ids[PROJECT], "workflow": name.split("-")[0],
             "workflow_id": self.ids[name.split("-")[0]], "key_sha256": sha256(key), "models": models[name.split("-")[0]]}
            for name, key in self.keys.items() if name != "client"])

    def test_7_the_bill_equals_an_independent_computation_to_the_picodollar(self):
        lanes, prices = self.lanes(), reconcile.PriceBook.read(self.stack.path("prices.json"))
        ledger = reconcile.Ledger(self.stack.url("reeved"), [self.token()])
        results = []

        def equal():
            results.append(reconcile.compare(reconcile.expect(self.journal(), lanes, prices), ledger.report(lanes)))
            return results[-1].equal
        try:
            self.until(equal, "the ledger equals the provider's journal", within=30)
        finally:
            for line in results[-1].table().splitlines():
                say(f"7. {line}")
        result = results[-1]
        meters = {(key[1], key[3]) for key, provider, _ in result.rows if provider.quantity}
        for wanted in (("summarize", "input_uncached"), ("summarize", "cache_read"), ("summarize", "output"),
                       ("review", "cache_write_5m"), ("review", "cache_read")):
            self.assertIn(wanted, meters)
        self.assertGreater(sum(row[2].picodollars for row in result.rows), 0)
        self.assertEqual(0, sum(row[2].unrated for row in result.rows))
        self.compare_command_line(result)

    def compare_command_line(self, result):
        """The same numbers from the command line, unrounded."""
        rows = self.owner("usage", "list", "--group-by", "project,workflow,model,meter", "--in-project", PROJECT)
        lanes = self.lanes()
        shown = {(lanes.name(row["project"]), lanes.name(row["workflow"]), row["model"], row["meter"]):
                 reconcile.picodollars(row["amount_usd"]) for row in rows if int(row["quantity"]) > 0}
        for key, _, ledger in result.rows:
            self.assertEqual(ledger.picodollars, shown[key], key)
        say(f"7. the bill of project {PROJECT}: {reconcile.dollars(sum(shown.values()))} USD, equal to the picodollar")


if __name__ == "__main__":
    unittest.main()
