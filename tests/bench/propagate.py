"""Starts a whole control plane (PostgreSQL, keeper, reeved) and runs bench_propagate against it: 200 data planes."""
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from quickstart import SAMPLE, Quickstart  # noqa: E402

BUILD = os.environ.get("REEVE_BUILD", os.path.join(ROOT, "build", "release"))


class ControlPlane(Quickstart):
    """An organization with a project; the data planes come from the bench."""

    def prices(self):
        pass

    def start_gateway(self):
        pass

    def add_project(self, sample):
        name = sample["organization"]
        self.owner(name, "project", "create", sample["project"])
        self.owner(name, "secret", "create", "main", "--origin", self.url("provider"), "--from-file", "-", data="sk-bench")
        return []


def main():
    home = tempfile.mkdtemp(prefix="reeve-propagate-")
    os.chmod(home, 0o711)
    try:
        with ControlPlane(os.path.join(home, "reeve"), BUILD, say=lambda *_: None) as stack:
            stack.up()
            return subprocess.run(
                [os.path.join(BUILD, "tests", "bench_propagate"), "--url", stack.url("reeved"),
                 "--enrol-key", stack.path("root", "enrol.key"), "--root", stack.path("root", "root.jws"),
                 "--fleet", stack.state["fleet"], "--token-file", stack.path("acme.token"),
                 "--project", SAMPLE[0]["project"], *sys.argv[1:]], check=False).returncode
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    sys.exit(main())
