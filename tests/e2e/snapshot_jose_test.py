"""A snapshot of the real programs, read and opened by Node and a stock JOSE library (tests/conformance/jose), and what a
data plane does while the control plane changes, revokes and disappears.
"""
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from quickstart import Quickstart  # noqa: E402

JOSE = os.path.join(ROOT, "tests", "conformance", "jose")
BUILD = os.environ.get("REEVE_BUILD", os.path.join(ROOT, "build", "release"))
KEYS = {"acme": "sk-acme-4f7c1d", "globex": "sk-globex-90ab3e"}


class SecretsOnly(Quickstart):
    """Two organizations with one provider key each; no prices, no workflows."""

    def prices(self):
        pass

    def add_project(self, sample):
        name = sample["organization"]
        self.owner(name, "project", "create", sample["project"])
        self.owner(name, "secret", "create", "main", "--origin", self.url("provider"), "--from-file", "-", data=KEYS[name])
        return []

    def rotate(self, organization, key):
        self.owner(organization, "secret", "rotate", "main", "--overlap", "1m", "--from-file", "-", data=key)


def eventually(what, condition, within=20):
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(0.05)


class SnapshotJose(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.mkdtemp(prefix="reeve-jose-")
        os.chmod(cls.home, 0o711)
        cls.stack = SecretsOnly(os.path.join(cls.home, "reeve"), BUILD, say=lambda *_: None)
        try:
            if not os.path.isdir(os.path.join(JOSE, "node_modules")):
                subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=JOSE, check=True)
            cls.stack.up()
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.stack.down()
        shutil.rmtree(cls.home)

    def read_by_stock_jose(self):
        identity = glob.glob(os.path.join(self.stack.home, "gateway", "**", "identity.json"), recursive=True)[0]
        result = subprocess.run(["node", os.path.join(JOSE, "snapshot.mjs"), self.stack.url("reeved"), identity],
                                capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(0, result.returncode, result.stderr)
        return json.loads(result.stdout)

    def active_seq(self):
        return int(self.stack.psql("select coalesce(max(active_seq), 0) from reeve.data_plane").strip())

    def head(self):
        return int(self.stack.psql("select coalesce(max(seq), 0) from reeve.manifest").strip())

    def test_1_stock_jose_opens_the_secrets_that_the_gateway_opens(self):
        read = self.read_by_stock_jose()
        self.assertEqual(2, read["projects"])
        self.assertEqual({hashlib.sha256(key.encode()).hexdigest() for key in KEYS.values()},
                         {secret["sha256"] for secret in read["secrets"]})
        self.assertEqual({self.stack.url("provider")}, {secret["origin"] for secret in read["secrets"]})

    def test_2_a_rotation_is_active_at_the_gateway_and_opens_by_stock_jose(self):
        before = self.head()
        self.stack.rotate("acme", "sk-acme-second")
        eventually("a manifest", lambda: self.head() > before)
        eventually("its activation", lambda: self.active_seq() == self.head())
        digests = {secret["sha256"] for secret in self.read_by_stock_jose()["secrets"]}
        self.assertIn(hashlib.sha256(b"sk-acme-second").hexdigest(), digests)
        self.assertNotIn(hashlib.sha256(KEYS["acme"].encode()).hexdigest(), digests)

    def test_3_the_publisher_catches_up_after_kill_9(self):
        before = self.head()
        self.stack.kill("reeved")
        self.stack.psql("insert into reeve.publish_queue (org, project, reason) "
                        "select org, id, 'test' from reeve.project; update reeve.secret_version set state = 'revoked', "
                        "revoked_at = now() where state = 'retiring'")
        self.stack.start("reeved")
        eventually("a manifest without the revoked version", lambda: self.head() > before)
        eventually("its activation", lambda: self.active_seq() == self.head())

    def test_4_a_data_plane_sees_only_what_its_fleet_serves(self):
        before = self.head()
        self.stack.operator("fleet", "unserve", self.stack.state["fleet"], "globex", check=False, as_json=False)
        if self.head() == before:
            self.stack.psql("delete from reeve.fleet_organization where org = (select id from reeve.organization where "
                            "name = 'globex'); insert into reeve.publish_queue (org, reason) select id, 'test' from "
                            "reeve.organization where name = 'globex'; select pg_notify('reeve_publish', '')")
        eventually("a manifest with a tombstone", lambda: self.head() > before)
        eventually("the tombstone", lambda: self.stack.psql(
            "select count(*) from reeve.snapshot_entry where kind = 'tombstone'").strip() == "1")
        eventually("its activation", lambda: self.active_seq() == self.head())
        self.assertEqual(1, self.read_by_stock_jose()["projects"])

    def test_5_a_revoked_data_plane_is_refused_at_once(self):
        self.stack.psql("update reeve.data_plane set revoked_at = now()")
        identity = glob.glob(os.path.join(self.stack.home, "gateway", "**", "identity.json"), recursive=True)[0]
        result = subprocess.run(["node", os.path.join(JOSE, "snapshot.mjs"), self.stack.url("reeved"), identity],
                                capture_output=True, text=True, timeout=60, check=False)
        self.assertNotEqual(0, result.returncode)


if __name__ == "__main__":
    unittest.main()
