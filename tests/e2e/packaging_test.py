"""What src/dist brings: units that score well, sample settings that the programs take, manifests that hold together.

    REEVE_BUILD=build/release python3 tests/e2e/packaging_test.py
"""
import glob
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DIST = os.path.join(ROOT, "src", "dist")
BUILD = os.path.abspath(os.environ.get("REEVE_BUILD", os.path.join(ROOT, "build", "release")))
EXPOSURE_MAX = 1.5
UNITS = sorted(glob.glob(os.path.join(DIST, "systemd", "*.service")))
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
needs_analyze = unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
needs_kubectl = unittest.skipUnless(shutil.which("kubectl"), "kubectl is not installed")


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def settings_of(unit):
    """The [Service] section: each setting with all its values."""
    found = {}
    for line in read(unit).splitlines():
        name, separator, value = line.strip().partition("=")
        if separator and not name.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def documents(pattern):
    for path in sorted(glob.glob(os.path.join(DIST, "kubernetes", pattern))):
        with open(path, encoding="utf-8") as file:
            yield from ((os.path.basename(path), document) for document in yaml.safe_load_all(file) if document)


def pods():
    """Every workload's pod, by its name."""
    for file, document in documents("*.yaml"):
        if document.get("kind") in WORKLOADS:
            yield f"{file}: {document['metadata']['name']}", document["spec"]["template"]["spec"]


class Units(unittest.TestCase):
    def test_there_is_a_unit_for_every_daemon(self):
        names = {os.path.basename(unit) for unit in UNITS}
        self.assertLessEqual({"reeved.service", "reeve-keeper.service", "reeve-gateway.service"}, names)

    @needs_analyze
    def test_every_unit_is_hardly_exposed(self):
        for unit in UNITS:
            with self.subTest(os.path.basename(unit)):
                said = run("systemd-analyze", "security", "--offline=yes", unit).stdout
                score = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
                self.assertIsNotNone(score, said)
                self.assertLessEqual(float(score.group(1)), EXPOSURE_MAX, said)

    @needs_analyze
    def test_the_keeper_with_a_cloud_kms_is_hardly_exposed(self):
        with tempfile.TemporaryDirectory() as folder:
            systemd, unit = os.path.join(DIST, "systemd"), os.path.join(folder, "reeve-keeper.service")
            with open(unit, "w", encoding="utf-8") as file:  # offline nothing looks for drop-ins
                file.write(read(os.path.join(systemd, "reeve-keeper.service")) + "\n" +
                           read(os.path.join(systemd, "reeve-keeper.service.d", "cloud-kms.conf")))
            said = run("systemd-analyze", "security", "--offline=yes", unit).stdout
            self.assertLessEqual(float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", said).group(1)), 2.0, said)

    @needs_analyze
    def test_systemd_understands_every_line(self):
        for unit in UNITS:
            with self.subTest(os.path.basename(unit)):
                said = run("systemd-analyze", "verify", unit).stderr
                complaints = [line for line in said.splitlines() if os.path.basename(unit) in line
                              and "is not executable" not in line]  # the programs are not installed here
                self.assertEqual([], complaints)

    def test_every_unit_locks_memory_and_writes_no_core(self):
        for unit in UNITS:
            with self.subTest(os.path.basename(unit)):
                settings = settings_of(unit)
                self.assertEqual(["0"], settings["LimitCORE"])
                self.assertIn("LimitMEMLOCK", settings)
                self.assertEqual(["yes"], settings["MemoryDenyWriteExecute"])
                self.assertNotIn("root", settings["User"])

    def test_every_daemon_has_a_user_of_its_own(self):
        users = {os.path.basename(unit): settings_of(unit)["User"][0] for unit in UNITS if not unit.endswith("-init.service")}
        self.assertEqual(len(users), len(set(users.values())), users)
        declared = read(os.path.join(DIST, "sysusers.d", "reeve.conf"))
        for user in users.values():
            self.assertRegex(declared, rf"(?m)^u {user}\s")

    def test_the_keeper_has_no_network(self):
        settings = settings_of(os.path.join(DIST, "systemd", "reeve-keeper.service"))
        self.assertEqual(["yes"], settings["PrivateNetwork"])
        self.assertEqual(["AF_UNIX"], settings["RestrictAddressFamilies"])
        self.assertEqual(["any"], settings["IPAddressDeny"])

    def test_who_calls_stays_visible_to_the_keeper(self):
        """In a user namespace of its own the caller's user would be nobody, and every caller refused."""
        self.assertEqual(["no"], settings_of(os.path.join(DIST, "systemd", "reeve-keeper.service"))["PrivateUsers"])

    def test_what_has_a_network_cannot_ask_for_cloud_metadata(self):
        for name in ("reeved", "reeve-gateway"):
            with self.subTest(name):
                denied = settings_of(os.path.join(DIST, "systemd", name + ".service"))["IPAddressDeny"][0].split()
                self.assertLessEqual({"169.254.169.254", "fd00:ec2::254"}, set(denied))


class Samples(unittest.TestCase):
    def check(self, path, daemon):
        answer = run(os.path.join(BUILD, "bin", daemon), "--config", path, "--check-config")
        self.assertEqual(0, answer.returncode, f"{path}: {answer.stderr}")
        self.assertIn("the configuration is good", answer.stdout)

    def test_every_sample_is_taken_by_its_program(self):
        for name, daemon in (("reeved", "reeved"), ("keeper", "reeve-keeper"), ("gateway", "reeve-gateway")):
            with self.subTest(name):
                self.check(os.path.join(DIST, "etc", name + ".yaml"), daemon)

    def test_every_file_of_the_cluster_is_taken_by_its_program(self):
        for name, daemon in (("reeved", "reeved"), ("keeper", "reeve-keeper"), ("gateway-config", "reeve-gateway")):
            with self.subTest(name):
                self.check(os.path.join(DIST, "kubernetes", name + ".yaml"), daemon)

    def test_units_name_the_samples(self):
        for unit in UNITS:
            for path in re.findall(r"--config (\S+)", " ".join(settings_of(unit)["ExecStart"])):
                self.assertTrue(os.path.exists(os.path.join(DIST, "etc", os.path.basename(path))), path)


class Cluster(unittest.TestCase):
    @needs_kubectl
    def test_the_kustomization_builds(self):
        answer = run("kubectl", "kustomize", os.path.join(DIST, "kubernetes"))
        self.assertEqual(0, answer.returncode, answer.stderr)
        kinds = [document["kind"] for document in yaml.safe_load_all(answer.stdout)]
        self.assertEqual(2, kinds.count("StatefulSet"))
        self.assertNotIn("Secret", kinds)  # secrets are the operator's, never in a file of ours

    def test_no_container_has_more_rights_than_it_needs(self):
        for name, pod in pods():
            for container in pod.get("initContainers", []) + pod["containers"]:
                with self.subTest(f"{name}/{container['name']}"):
                    context = container["securityContext"]
                    self.assertTrue(pod["securityContext"]["runAsNonRoot"])
                    self.assertTrue(context["readOnlyRootFilesystem"])
                    self.assertFalse(context["allowPrivilegeEscalation"])
                    self.assertEqual(["ALL"], context["capabilities"]["drop"])
                    self.assertFalse(pod["automountServiceAccountToken"])

    def test_every_mount_has_its_volume(self):
        for file, document in documents("*.yaml"):
            if document.get("kind") not in WORKLOADS:
                continue
            pod = document["spec"]["template"]["spec"]
            volumes = {volume["name"] for volume in pod["volumes"]}
            volumes |= {claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", [])}
            for container in pod.get("initContainers", []) + pod["containers"]:
                for mount in container.get("volumeMounts", []):
                    self.assertIn(mount["name"], volumes, f"{file}: {container['name']}")

    def test_whoever_serves_is_probed(self):
        for name, pod in pods():
            for container in pod["containers"]:
                if not container.get("ports"):
                    continue
                with self.subTest(f"{name}/{container['name']}"):
                    self.assertEqual("/healthz", container["livenessProbe"]["httpGet"]["path"])
                    self.assertEqual("/readyz", container["readinessProbe"]["httpGet"]["path"])

    def test_a_pod_has_time_to_drain(self):
        for name, pod in pods():
            for part, settings in (("gateway.yaml", "gateway-config.yaml"), ("control.yaml", "reeved.yaml")):
                if name.startswith(part):
                    drain_s = yaml.safe_load(read(os.path.join(DIST, "kubernetes", settings)))["drain_s"]
                    self.assertGreater(pod["terminationGracePeriodSeconds"], drain_s + 5)

    def test_the_image_runs_as_nobody_in_particular(self):
        text = read(os.path.join(DIST, "Dockerfile"))
        users = re.findall(r"(?m)^USER (\S+)", text)
        self.assertEqual(["10001:10000"], users)
        self.assertEqual(2, len(re.findall(r"(?m)^FROM debian:12-slim", text)))


if __name__ == "__main__":
    unittest.main()
