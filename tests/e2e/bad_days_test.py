"""Bad input and bad days, over the real programs: what is gone, full, forged, changed, expired or foreign, and a canary.

    REEVE_BUILD=build/release REEVE_VERBOSE=1 /usr/bin/python3 tests/e2e/bad_days_test.py -v
"""
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from intruder import Canary, DataPlane, base64url, children_of, typeid, uuid_v7  # noqa: E402
from quickstart import PORTS, new_installation  # noqa: E402
from scene import Load, Scene, http_call, provider_key, say  # noqa: E402

SPOOL_BYTES = 1 << 20


def contents(folder):
    """{file: bytes} of everything below a folder."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(place, name), "rb") as file:
                found[os.path.join(place, name)] = file.read()
    return found


class KeeperStart(Scene):
    """What the keeper refuses to start with; nothing else runs."""

    start_all = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        stack = cls.stack
        stack.install()
        stack.folder("log")
        for name in PORTS:
            stack.port(name)
        stack.state = {"ports": stack.ports, "installation": new_installation()}
        stack.settings()
        stack.make_root()
        stack.settings()

    def refused(self, said):
        before = contents(self.stack.path("keeper"))
        result = self.stack.run(self.stack.program("reeve-keeper"), "--config", self.stack.path("keeper.yaml"), check=False)
        self.assertNotEqual(0, result.returncode)
        self.assertIn(said, result.stderr)
        self.assertEqual(before, contents(self.stack.path("keeper")), "something was written")
        self.assertFalse(os.path.exists(self.stack.path("run", "keeper.sock")))

    def test_a_wrong_root_key_is_refused_in_a_sentence_and_nothing_is_written(self):
        good = self.stack.read("kms.key")
        self.addCleanup(self.stack.write, "kms.key", good)
        self.stack.write("kms.key", "A" * 43 + "\n")
        self.refused("is not the one that this keeper was initialised with; nothing was written")

    def test_a_root_that_is_not_the_trusted_one_is_refused_and_nothing_is_written(self):
        good = self.stack.state["root_hash"]
        self.stack.state["root_hash"] = "A" * 43
        self.stack.settings()
        try:
            self.refused("not the one whose hash is trusted")
        finally:
            self.stack.state["root_hash"] = good
            self.stack.settings()

    def test_a_root_key_file_that_others_can_read_is_refused(self):
        os.chmod(self.stack.path("kms.key"), 0o644)
        self.addCleanup(os.chmod, self.stack.path("kms.key"), 0o600)
        self.refused("0600")

    def test_a_second_init_keeps_what_the_first_made(self):
        before = contents(self.stack.path("keeper"))
        self.stack.run(self.stack.program("reeve-keeper"), "--config", self.stack.path("keeper.yaml"), "init", check=False)
        self.assertEqual(before, contents(self.stack.path("keeper")))


class BadDays(Scene):
    """One installation that has many bad days."""

    def works(self, key=None):
        answer = self.call_model("summarize", key=key)
        self.assertTrue(answer.complete, answer)
        return answer

    def new_project_on(self, name):
        """The control plane takes changes: it makes a project and lets it go."""
        made = self.admin("POST", "/v1/projects", {"name": name})
        self.assertEqual(201, made.status, made)
        return made.json

    # --- the control plane's companions ---

    def test_postgresql_gone_and_back(self):
        self.works()
        self.stack.stop("postgres", signal.SIGINT)
        alive = http_call(self.stack.port("reeved"), "GET", "/healthz")
        self.assertEqual(200, alive.status, alive)
        self.until(lambda: http_call(self.stack.port("reeved"), "GET", "/readyz").status == 503, "the control plane is not ready")
        for method, path, body in (("GET", "/v1/projects", None), ("POST", "/v1/projects", {"name": "nowhere"})):
            answer = self.admin(method, path, body)
            self.assertEqual((503, "application/problem+json"), (answer.status, answer.headers["content-type"]))
            self.assertLess(answer.ended - answer.began, 15)
            self.assertNotIn("host=", answer.text)
        self.works()
        self.assertEqual(200, self.gateway_ready()[0])
        self.stack.start("postgres")
        self.until(lambda: http_call(self.stack.port("reeved"), "GET", "/readyz").status == 200, "the control plane is ready again")
        key = self.owner("key", "create", "after-the-database")["token"]
        self.until(lambda: self.call_model("summarize", key=key).ok, "a change reaches the gateway again", within=40)
        say("PostgreSQL was gone: 503 for callers, the gateway served; it is back and so is everything")

    def test_the_keeper_gone_and_back(self):
        self.stack.kill("keeper")
        self.works()
        self.assertEqual(200, self.admin("GET", "/v1/projects").status)
        self.new_project_on("without-a-keeper")
        result = self.owner("secret", "create", "needs-keeper", "--origin", self.stack.url("provider"), "--from-file", "-",
                            data="sk-needs-keeper", check=False)
        self.assertEqual(75, result.returncode)
        self.assertIn("keeper-unavailable", result.stderr)
        ready = http_call(self.stack.port("reeved"), "GET", "/readyz?verbose=true")
        checks = {check["name"]: check for check in ready.json["checks"]}
        self.assertEqual((200, False), (ready.status, checks["keeper"]["ok"]))
        key = self.owner("key", "create", "while-the-keeper-is-gone")["token"]
        self.stack.start("keeper")
        self.owner("secret", "create", "needs-keeper", "--origin", self.stack.url("provider"), "--from-file", "-",
                   data="sk-needs-keeper")
        self.until(lambda: self.call_model("summarize", key=key).ok, "what was changed meanwhile reaches the gateway", within=40)
        say("the keeper was gone: reads, changes without it and the gateway went on; what needs it said 503")

    # --- the gateway's disk ---

    def restart_gateway(self, wait=True, **changes):
        """Starts it again with other settings; they are put back afterwards."""
        if self.stack.is_running("gateway"):
            self.stack.stop("gateway")
        self.stack.settings()
        if changes:
            import yaml
            settings = yaml.safe_load(self.stack.read("gateway.yaml"))
            self.stack.config("gateway.yaml", {**settings, **changes})
        if wait:
            self.stack.start("gateway")

    def test_a_full_spool_refuses_and_says_so_and_loses_nothing(self):
        self.until(lambda: self.waiting_events() == 0, "the spool is empty")
        self.restart_gateway(spool={"bytes": SPOOL_BYTES, "segment_bytes": 65536})
        self.addCleanup(self.restart_gateway)
        self.stack.kill("reeved")
        try:
            with Load(8, lambda stream: self.call_model("summarize", stream=stream)) as load:
                self.until(lambda: self.gateway_ready()[0] == 503, "the gateway says that it is not ready", within=60)
                self.assertTrue(load.more(16))
            status, ready = self.gateway_ready()
            self.assertEqual((503, "spool"), (status, ready["reason"]))
            refused = self.call_model("summarize")
            self.assertEqual(503, refused.status, refused)
            self.assertIn("error", refused.json)
            served = [answer for answer in load.answers if answer.ok]
            self.assertEqual({503}, {answer.status for answer in load.answers if not answer.ok})
            self.assertTrue(all(answer.complete for answer in served), "a call that was taken in was not finished")
            used = sum(len(data) for data in contents(self.stack.path("gateway", "spool")).values())
            self.assertLessEqual(used, SPOOL_BYTES + 65536)
            say(f"the spool was full after {len(served)} calls: then 503, and readiness says {ready['reason']}")
        finally:
            self.stack.start("reeved")
        self.until(lambda: self.gateway_ready()[0] == 200, "the gateway is ready again", within=60)
        self.works()
        self.until(lambda: self.waiting_events() == 0, "every event was taken in", within=60)

    def test_a_changed_byte_in_any_snapshot_file_is_noticed_and_pulled_again(self):
        self.works()
        self.stack.stop("gateway")
        files = [path for folder in ("manifests", "objects", "keyrings")
                 for path in sorted(contents(self.stack.path("gateway", "reeve", folder)))]
        self.assertGreater(len(files), 3)
        for path in files:
            with open(path, "rb") as file:
                data = file.read()
            at = len(data) // 2
            with open(path, "r+b") as file:
                file.seek(at)
                file.write(bytes([data[at] ^ 1]))
        self.stack.start("gateway")
        self.works()
        for path, data in contents(self.stack.path("gateway", "reeve", "objects")).items():
            self.assertEqual(os.path.basename(path), base64url(hashlib.sha256(data).digest()), "a changed object was left on disk")
        say(f"one bit was changed in each of {len(files)} snapshot files: the gateway pulled them again and serves")

    def test_a_changed_byte_is_never_served_while_the_control_plane_is_gone(self):
        self.works()
        self.stack.stop("gateway")
        self.stack.kill("reeved")
        saved = self.stack.path("saved")
        shutil.copytree(self.stack.path("gateway", "reeve"), saved, copy_function=shutil.copy2)
        try:
            for folder in ("objects", "manifests"):
                for path in contents(self.stack.path("gateway", "reeve", folder)):
                    with open(path, "r+b") as file:
                        first = file.read(1)
                        file.seek(0)
                        file.write(bytes([first[0] ^ 1]))
            process, arguments, ready, program = self.stack.children["gateway"]
            self.stack.start("gateway", *arguments, program=program, ready=lambda: self.stack.http_ok("gateway-admin", "/healthz"))
            self.stack.children["gateway"] = (self.stack.children["gateway"][0], arguments, ready, program)
            self.assertEqual(503, self.gateway_ready()[0])
            answer = self.call_model("summarize")
            self.assertGreaterEqual(answer.status, 400)
        finally:
            self.stack.start("reeved")
        self.until(lambda: self.gateway_ready()[0] == 200, "the gateway is ready again", within=60)
        self.works()
        shutil.rmtree(saved)

    def test_two_gateways_on_one_state_directory(self):
        other = self.stack.config("gateway-2.yaml", {
            "listen": "127.0.0.1:0", "state_dir": self.stack.path("gateway"), "name": "gateway-2",
            "control_plane": {"url": self.stack.url("reeved")}, "allow_private_upstreams": True})
        result = self.stack.run(self.stack.program("reeve-gateway"), "--config", other, check=False)
        self.assertNotEqual(0, result.returncode)
        self.assertRegex(result.stderr, "(?i)another|locked|in use")
        self.works()
        say("a second gateway on the same directory was refused; the first went on")

    # --- events ---

    def data_plane(self):
        return DataPlane(self.stack, self.operator("fleet", "data-planes", "list", self.stack.state["fleet"])[0]["id"])

    def ids(self, organization="acme", project="search", workflow="summarize"):
        own = {"organization": organization}
        found = {"org": self.owner("organization", "own", **own)["id"], "project": self.owner("project", "get", project, **own)["id"],
                 "workflow": self.owner("workflow", "get", workflow, **own)["id"],
                 "revision": self.owner("workflow", "revisions", "list", workflow, **own)[0]["id"],
                 "client_key": self.owner("key", "list", **own)[0]["id"]}
        return found

    def test_event_ids_from_next_year_are_quarantined_and_from_now_are_stored_once(self):
        plane, ids = self.data_plane(), self.ids()
        now = plane.event(time.time(), **ids)
        far = plane.event(time.time() + 365 * 86400, **ids)
        old = plane.event(time.time() - 5 * 365 * 86400, **ids)
        answer = plane.post_events([now, far, old, now])
        self.assertEqual(200, answer.status, answer)
        self.assertEqual([(now["id"], "stored"), (far["id"], "quarantined"), (old["id"], "quarantined"), (now["id"], "duplicate")],
                         [(verdict["id"], verdict["verdict"]) for verdict in answer.json["verdicts"]])
        changed = json.loads(json.dumps(now))
        changed["data"]["status"] = 401
        self.assertEqual(["conflict"], [verdict["verdict"] for verdict in plane.post_events([changed]).json["verdicts"]])
        self.assertEqual(401, http_call(self.stack.port("reeved"), "POST", "/v1/usage/events", "[]").status)
        say("an event id from next year was quarantined")

    def test_a_data_planes_assertion_must_be_its_own_and_fresh(self):
        plane = self.data_plane()
        for changes in ({"iat": 1000, "exp": 1060}, {"aud": typeid("ins", uuid_v7(time.time() * 1000))},
                        {"data_plane": typeid("dpl", uuid_v7(time.time() * 1000))}, {"exp": int(time.time()) + 86400}):
            answer = http_call(self.stack.port("reeved"), "POST", "/v1/data-planes/token", {"assertion": plane.assertion(**changes)})
            self.assertEqual(401, answer.status, (changes, answer))
        used = plane.assertion()
        statuses = [http_call(self.stack.port("reeved"), "POST", "/v1/data-planes/token", {"assertion": used}).status for _ in range(2)]
        self.assertEqual([200, 401], statuses, "an assertion was good twice")

    # --- credentials ---

    def later(self, seconds):
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))

    def test_expired_and_revoked_tokens_are_refused(self):
        self.owner("service-account", "create", "passer-by")
        self.owner("binding", "create", "--service-account", "passer-by", "--role", "member")
        short = self.owner("token", "create", "--service-account", "passer-by", "--expires-at", self.later(2))
        long = self.owner("token", "create", "--service-account", "passer-by")
        self.assertEqual(200, self.admin("GET", "/v1/projects", token=short["token"]).status)
        self.assertEqual(200, self.admin("GET", "/v1/projects", token=long["token"]).status)
        self.assertEqual(403, self.admin("POST", "/v1/projects", {"name": "by-a-member"}, token=long["token"]).status)
        self.owner("token", "revoke", long["id"], "--yes")
        self.assertEqual(401, self.admin("GET", "/v1/projects", token=long["token"]).status)
        self.until(lambda: self.admin("GET", "/v1/projects", token=short["token"]).status == 401, "the short token has expired")
        for wrong in ("", "rv_svc_" + "A" * 43, short["token"][:-1] + ("A" if short["token"][-1] != "A" else "B"), "x" * 5000):
            self.assertEqual(401, self.admin("GET", "/v1/projects", token=wrong).status, wrong[:40])
        file = self.stack.write("revoked.token", long["token"] + "\n")
        result = self.stack.reeve("project", "list", "--url", self.stack.url("reeved"), "--token-file", file, check=False)
        self.assertEqual(77, result.returncode, result.stderr)

    def test_expired_and_revoked_client_keys_are_refused(self):
        long = self.owner("key", "create", "long")
        self.until(lambda: self.call_model("summarize", key=long["token"]).ok, "the gateway knows the new key")
        short = self.owner("key", "create", "short", "--expires-at", self.later(5))["token"]
        self.until(lambda: self.call_model("summarize", key=short).ok, "the gateway knows the short-lived key", within=4)
        self.owner("key", "revoke", "long", "--yes")
        self.until(lambda: self.call_model("summarize", key=long["token"]).status == 401, "the revoked key is refused")
        self.until(lambda: self.call_model("summarize", key=short).status == 401, "the expired key is refused")
        for dialect in ("openai", "anthropic"):
            refused = self.call_model("summarize", key="rv_key_" + "A" * 43, dialect=dialect)
            self.assertEqual(401, refused.status)
            self.assertIn("error", refused.json)
        self.works()

    # --- others ---

    def test_foreign_ids_are_not_found_exactly_as_ids_that_do_not_exist(self):
        theirs = {noun: rows[0]["id"] for noun, rows in {
            "project": self.owner("project", "list", organization="globex"),
            "secret": self.owner("secret", "list", organization="globex"),
            "connection": self.owner("connection", "list", organization="globex"),
            "workflow": self.owner("workflow", "list", organization="globex"),
            "key": self.owner("key", "list", organization="globex"),
            "account": self.owner("service-account", "list", organization="globex"),
            "token": self.owner("token", "list", organization="globex")}.items()}
        nobody = {noun: typeid(id_.split("_")[0], uuid_v7(time.time() * 1000)) for noun, id_ in theirs.items()}
        paths = ["/v1/projects/{project}", "/v1/projects/{project}/secrets", "/v1/projects/{project}/workflows",
                 "/v1/projects/search/secrets/{secret}", "/v1/projects/search/secrets/{secret}/versions",
                 "/v1/projects/search/workflows/{workflow}/revisions", "/v1/projects/search/connections/{connection}",
                 "/v1/projects/search/workflows/{workflow}", "/v1/projects/search/workflows/{workflow}/release",
                 "/v1/projects/search/client-keys/{key}",
                 "/v1/service-accounts/{account}", "/v1/tokens/{token}"]
        changes = [("POST", "/v1/projects/{project}/archive", None), ("POST", "/v1/tokens/{token}/revoke", None),
                   ("DELETE", "/v1/projects/search/connections/{connection}", None),
                   ("DELETE", "/v1/projects/{project}", None),
                   ("POST", "/v1/projects/search/client-keys/{key}/revoke", None),
                   ("POST", "/v1/projects/{project}/workflows", {"name": "mine", "dialect": "openai"}),
                   ("POST", "/v1/projects/search/workflows/{workflow}/rollback", None)]
        for method, path, body in [("GET", path, None) for path in paths] + changes:
            told = []
            for ids in (theirs, nobody):
                answer = self.admin(method, path.format(**ids), body, if_match="*")
                self.assertEqual(404, answer.status, (method, path, answer))
                told.append({name: value for name, value in answer.json.items() if name not in ("instance", "request_id")})
            self.assertEqual(told[0], told[1], path)
        self.assertNotIn("globex", json.dumps(self.admin("GET", "/v1/projects").json))
        for path in ("/v1/organizations", "/v1/fleets", "/v1/organizations/globex"):
            self.assertIn(self.admin("GET", path).status, (403, 404), path)
        say(f"{len(paths) + len(changes)} ways to ask for another organization's things: not found, as if they did not exist")

    def test_a_foreign_secret_cannot_be_connected_to(self):
        theirs = self.owner("secret", "list", organization="globex")[0]["id"]
        answer = self.admin("POST", "/v1/projects/search/connections", {
            "name": "thief", "dialect": "openai", "base_url": self.stack.url("provider") + "/v1", "secret": theirs})
        self.assertGreaterEqual(answer.status, 400)
        self.assertLess(answer.status, 500)

    def test_a_connection_cannot_carry_a_key_to_another_origin(self):
        answer = self.admin("PATCH", "/v1/projects/search/connections/summarize-primary",
                            {"base_url": "http://127.0.0.1:1/v1"}, if_match="*", content_type="application/merge-patch+json")
        self.assertIn(answer.status, (400, 409, 422), answer)
        self.works()

    def test_malformed_bodies_are_refused_with_what_is_wrong(self):
        deep = b"[" * 5000 + b"]" * 5000
        for body, statuses in ((b"", (400, 422)), (b"{", (400, 422)), (b"[]", (400, 422)), (b'{"name":"a","name":"b"}', (400, 422)),
                               (b'{"name":"\xff\xfe"}', (400, 422)), (deep, (400, 413, 422)), (b'{"name":"ok","frob":1}', (400, 422)),
                               (b'{"name":7}', (400, 422)), (b'{"name":"' + b"x" * 2000000 + b'"}', (413,)), (b"{}", (400, 422))):
            answer = self.admin("POST", "/v1/projects", body)
            self.assertIn(answer.status, statuses, (body[:40], answer))
            self.assertEqual("application/problem+json", answer.headers["content-type"])
            self.assertTrue(answer.json["code"])
        unknown = self.admin("POST", "/v1/projects", {"frob": 1, "description": 7}).json
        self.assertEqual({"/frob", "/description", "/name"}, {error["pointer"] for error in unknown["errors"]})
        key = {"authorization": f"Bearer {self.client_key()}", "content-type": "application/json"}
        for body in (b"", b"{", b"[]", deep, b'{"model":"summarize"', b'{"model":"summarize","model":"reply","messages":[]}',
                     b'{"model":"\xff"}', b'{"model":7,"messages":[]}', b"{}"):
            answer = http_call(self.stack.port("gateway"), "POST", "/v1/chat/completions", body, key)
            self.assertIn(answer.status, (400, 404, 413), (body[:40], answer))
            self.assertIn("error", answer.json)
        self.works()

    def test_a_workflow_of_another_organization_is_no_model(self):
        answer = self.call_model("reply")
        self.assertEqual(404, answer.status, answer)

    # --- the canary: last in the order of names, because it looks at everything that happened ---

    def test_zz_a_canary_is_found_nowhere_but_where_it_must_be(self):
        canary, said = Canary(), []
        secret = "canary"
        project = ("-p", "search")
        for words, data in ((("secret", "create", secret, "--origin", self.stack.url("provider"), "--from-file", "-"), canary.text),
                            (("connection", "create", "canary", "--dialect", "openai", "--base-url",
                              self.stack.url("provider") + "/v1", "--secret", secret), None),
                            (("workflow", "create", "canary", "--dialect", "openai"), None),
                            (("workflow", "revise", "canary", "--release", "--target", "connection=canary,model=gpt-4o-mini"), None),
                            (("secret", "get", secret), None), (("secret", "versions", "list", secret), None),
                            (("audit", "list"), None)):
            result = self.owner(*words, *project, data=data, check=False)
            self.assertEqual(0, result.returncode, result.stderr)
            said.append(result.stdout + result.stderr)
        self.until(lambda: self.call_model("canary").ok, "the canary's workflow serves")
        self.assertTrue(self.call_model("canary", stream=True).complete)
        self.look_on_disk(canary)
        self.look_in_memory(canary)
        said += self.provoke(canary)
        self.assertEqual({}, {text[:200]: canary.in_bytes(text.encode()) for text in said if canary.in_bytes(text.encode())})
        self.assertEqual({}, canary.in_tree(self.stack.path("log")))

    def provoke(self, canary):
        """Everything a caller is told while the provider misbehaves, even echoes the key that it was sent."""
        told, provider = [], self.stack.provider()
        self.addCleanup(provider.heal)
        for fault in ({"kind": "echo_auth"}, {"kind": "status", "status": 401}, {"kind": "status", "status": 500}, {"kind": "malformed"}):
            provider.fault(match={"key_prefix": canary.text[:20]}, **fault)
            for stream in (False, True):
                answer = self.call_model("canary", stream=stream)
                told.append(json.dumps(answer.headers) + answer.text)
            provider.heal()
        return told

    def look_on_disk(self, canary):
        self.stack.psql("checkpoint")
        dump = self.stack.run(f"{self.stack.postgres_bin()}/pg_dump", "-h", self.stack.path("pg"), "-U", "super", "reeve")
        self.assertIn("canary", dump, "the dump does not even have the secret's name")
        self.assertEqual([], canary.in_bytes(dump.encode()))
        for folder in ("pg", "log", "keeper", "gateway", "run", "cli", "root"):
            self.assertEqual({}, canary.in_tree(self.stack.path(folder)))
        self.assertEqual([], [name for name in os.listdir(self.stack.home) if name.startswith("core")])
        say("the canary is not in the database, its files, the logs, the spool, the state directories")

    def look_in_memory(self, canary):
        if os.getuid() != 0:
            self.skipTest("reading other processes' memory needs root: the canary was looked for on disk only")
        try:
            self.assertNotEqual({}, canary.in_memory(os.getpid()), "the search itself finds nothing")
        except PermissionError:
            self.skipTest("this machine does not let root read memory: the canary was looked for on disk only")
        for name in ("reeved", "postgres"):
            for pid in children_of(self.stack.pid(name)):
                self.assertEqual({}, canary.in_memory(pid, shared=pid == self.stack.pid(name)), f"{name} has the canary in its memory")
        slow = threading.Thread(target=lambda: self.call_model("canary", 'sim:{"input":10,"output":5,"first_ms":1500}'))
        slow.start()
        self.until(lambda: self.stack.provider().stats()["in_flight"] > 0, "a call is with the provider")
        during = bool(canary.in_memory(self.stack.pid("gateway")))
        slow.join(timeout=30)
        self.assertEqual({}, canary.in_memory(self.stack.pid("gateway")), "the gateway kept the key after the call")
        say(f"the canary is in no memory but the keeper's; the gateway {'had' if during else 'did not even have'} it during a call "
            "and not after")


if __name__ == "__main__":
    unittest.main()
