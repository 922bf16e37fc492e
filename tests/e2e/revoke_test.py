"""A gateway is revoked for good: its credential ends, the fleet's next key is not for it, the others go on serving.

    REEVE_BUILD=build/release REEVE_VERBOSE=1 /usr/bin/python3 tests/e2e/revoke_test.py -v
"""
import json
import os
import sys
import time
import unittest

import yaml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from intruder import base64url, sign_jws  # noqa: E402
from scene import Scene, http_call, model_call, provider_key, say  # noqa: E402


class Revoke(Scene):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        stack = cls.stack
        token = stack.path("join-2.token")
        stack.reeve("fleet", "join-token", stack.state["fleet"], "--enrol-key", stack.path("root", "enrol.key"), "--root",
                    stack.path("root", "root.jws"), "--join-url", stack.url("reeved"), "--out", token, as_json=False)
        settings = yaml.safe_load(stack.read("gateway.yaml"))
        stack.folder("gateway-2")
        stack.config("gateway-2.yaml", {**settings, "name": "gateway-2", "state_dir": stack.path("gateway-2"),
                                        "listen": f"127.0.0.1:{stack.port('gateway-2')}", "join_token_file": token,
                                        "admin_listen": f"127.0.0.1:{stack.port('gateway-2-admin')}"})
        stack.start("gateway-2", "--config", stack.path("gateway-2.yaml"), program=stack.program("reeve-gateway"),
                    ready=lambda: stack.http_ok("gateway-2-admin", "/readyz"))
        cls.addClassCleanup(stack.stop, "gateway-2")

    def data_planes(self):
        listed = self.operator("fleet", "data-planes", "list", "main")
        return {item["name"]: item for item in (listed["data"] if isinstance(listed, dict) else listed)}

    def newest(self):
        return int(self.stack.psql("select max(seq) from reeve.manifest"))

    def ask_token(self, folder, data_plane):
        identity = json.loads(self.stack.read(f"{folder}/reeve/identity.json"))
        now = int(time.time())
        assertion = sign_jws(identity["sign"], "reeve-dpl+jws", {
            "v": 1, "data_plane": data_plane, "aud": identity["installation"], "iat": now, "exp": now + 60,
            "jti": base64url(os.urandom(16))})
        return http_call(self.stack.port("reeved"), "POST", "/v1/data-planes/token", {"assertion": assertion})

    def keyring(self, token):
        return http_call(self.stack.port("reeved"), "GET", "/v1/snapshot/keyring", headers={"authorization": f"Bearer {token}"})

    def test_a_revoked_gateway_gets_no_next_key_and_the_others_serve_on(self):
        self.until(lambda: all(d["active_seq"] == self.newest() and d["ack_state"] == "active"
                               for d in self.data_planes().values()), "both gateways are seen to run the newest manifest")
        before = self.data_planes()
        self.assertEqual({"gateway-1", "gateway-2"}, set(before))
        self.assertTrue(all(d["last_seen_at"] for d in before.values()))
        out, kept = before["gateway-2"]["id"], before["gateway-1"]["id"]
        for port in ("gateway", "gateway-2"):
            self.assertTrue(model_call(self.stack.port(port), self.client_key(), "summarize").ok)
        token = self.ask_token("gateway-2", out).json["access_token"]
        self.assertEqual(200, self.keyring(token).status)

        files = ("--enrol-key", self.stack.path("root", "enrol.key"), "--root", self.stack.path("root", "root.jws"))
        wrong = self.operator("fleet", "advance", "main", "--revoke", self.stack.state["fleet"], *files, "--yes", check=False)
        self.assertNotEqual(0, wrong.returncode)
        stranger = self.operator("fleet", "advance", "main", "--enrol-key", self.stack.path("root", "root.key"), "--root",
                                 self.stack.path("root", "root.jws"), "--yes", check=False)
        self.assertNotEqual(0, stranger.returncode, "a key of another role opened a generation")
        fleet = self.operator("fleet", "advance", "main", "--revoke", out, *files, "--yes")
        self.assertEqual(2, fleet["generation"])

        # The revoked one: neither its token nor its key opens anything.
        self.assertEqual((401, "data-plane-revoked"), (self.keyring(token).status, self.keyring(token).json["code"]))
        refused = self.ask_token("gateway-2", out)
        self.assertEqual((401, "data-plane-revoked"), (refused.status, refused.json["code"]))
        say("the revoked gateway gets nothing")

        # The other one: under the new key, with secrets sealed for it, also for what comes now.
        self.until(lambda: int(self.stack.psql("select generation from reeve.manifest order by seq desc limit 1")) == 2,
                   "a manifest of the second generation")
        self.until(lambda: self.data_planes()["gateway-1"]["active_seq"] == self.newest(), "the kept gateway runs it")
        new_key = provider_key("after")
        self.owner("secret", "rotate", "summarize-primary", "--overlap", "0", "--from-file", "-", data=new_key)
        self.until(lambda: self.data_planes()["gateway-1"]["active_seq"] == self.newest(), "the rotation arrived")
        for _ in range(5):
            answer = self.call_model("summarize")
            self.assertTrue(answer.ok, answer)
        self.assertEqual(200, self.keyring(self.ask_token("gateway", kept).json["access_token"]).status)
        self.assertEqual("0", self.stack.psql(
            "select count(*) from reeve.secret_version v where v.state = 'active' and not exists (select from "
            "reeve.sealed_secret s where s.secret = v.secret and s.number = v.number and s.generation = 2)").strip())
        after = self.data_planes()
        self.assertEqual("revoked", after["gateway-2"]["state"])
        self.assertLess(after["gateway-2"]["active_seq"], self.newest())
        self.assertNotIn(new_key, json.dumps(after))

    def test_metrics_are_well_formed_and_tell_what_waits(self):
        """A parser of the text format: one HELP and TYPE a name, before its samples; names and numbers in shape."""
        def lines():
            return http_call(self.stack.port("reeved"), "GET", "/metrics").text.splitlines()
        def manifests():
            return sum(float(line.rsplit(" ", 1)[1]) for line in lines() if line.startswith("reeved_manifests_total"))
        self.until(lambda: manifests() >= 1, "the numbers of the database")
        types, values = {}, {}
        for line in lines():
            if line.startswith("# HELP "):
                self.assertRegex(line, r"^# HELP [a-z_]+ \S.*\.$")
            elif line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                self.assertNotIn(name, types)
                self.assertIn(kind, ("counter", "gauge"))
                self.assertEqual(kind == "counter", name.endswith("_total"), name)
                types[name] = kind
            else:
                self.assertRegex(line, r'^[a-z_]+(\{[a-z_]+="[^"]*"\})? [0-9.e+-]+$')
                name, value = line.split(" ")[0].split("{")[0], float(line.rsplit(" ", 1)[1])
                self.assertIn(name, types, "a sample without its TYPE")
                values[name] = value
        self.assertEqual((1, 1), (values["reeved_database_up"], values["reeved_keeper_up"]))
        self.assertGreaterEqual(values["reeved_manifests_total"], 1)
        self.assertGreaterEqual(values["reeved_data_planes"], 1)
        self.assertLess(values["reeved_rating_lag_seconds"], 60)


if __name__ == "__main__":
    unittest.main()
