"""How the daemons come and go, through their public face: flags, a port that is taken, SIGTERM, SIGHUP.

    REEVE_BUILD=build/release python3 tests/e2e/lifecycle_test.py
"""
import datetime
import os
import signal
import socket
import ssl
import sys
import time
import unittest

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from scene import Scene  # noqa: E402
from stack import Trouble  # noqa: E402

DAEMONS = ("reeved", "reeve-keeper", "reeve-gateway")
STOP_WITHIN_S = float(os.environ.get("REEVE_STOP_WITHIN_S", "1"))  # with nothing running


def certificate(serial):
    """A self-signed certificate with that serial number, and its key: two PEM texts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "reeve.test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(serial).not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1)).sign(key, hashes.SHA256()))
    return made.public_bytes(serialization.Encoding.PEM).decode(), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def is_listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Lifecycle(Scene):
    def path(self, *parts):
        return self.stack.path(*parts)

    def daemon(self, name, *arguments):
        return self.stack.run(self.stack.program(name), *arguments, check=False)

    def config_of(self, daemon):
        return self.path(daemon.removeprefix("reeve-") + ".yaml")

    def settings_of(self, daemon):
        with open(self.config_of(daemon), encoding="utf-8") as file:
            return yaml.safe_load(file)

    def seconds_to_stop(self, name):
        began = time.monotonic()
        code = self.stack.stop(name)
        self.assertEqual(0, code, self.stack.tail(name))
        return time.monotonic() - began

    def log_of(self, name):
        return self.stack.read(os.path.join("log", name + ".log"))

    def hang_up(self, name, *words):
        """SIGHUP, and waits for the words that the daemon logs about it."""
        before = self.log_of(name).count(words[0])
        os.kill(self.stack.pid(name), signal.SIGHUP)
        self.until(lambda: self.log_of(name).count(words[0]) > before, f"{name} says: {words[0]}", within=5)

    # --- flags ---

    def test_every_daemon_says_its_version(self):
        for name in DAEMONS:
            with self.subTest(name):
                answer = self.daemon(name, "--version")
                self.assertEqual(0, answer.returncode)
                self.assertRegex(answer.stdout, rf"^{name} \d+\.\d+\.\d+\n$")

    def test_every_daemon_helps(self):
        for name in DAEMONS:
            with self.subTest(name):
                answer = self.daemon(name, "--help")
                self.assertEqual(0, answer.returncode)
                for flag in ("--config", "--check-config", "--print-config", "--version"):
                    self.assertIn(flag, answer.stdout)

    def test_every_daemon_checks_and_prints_its_settings(self):
        for name in DAEMONS:
            with self.subTest(name):
                self.assertEqual(0, self.daemon(name, "--config", self.config_of(name), "--check-config").returncode)
                printed = self.daemon(name, "--config", self.config_of(name), "--print-config")
                self.assertEqual(0, printed.returncode)
                self.assertIsInstance(yaml.safe_load(printed.stdout), dict)

    def test_every_daemon_names_a_setting_that_it_does_not_know(self):
        for name in DAEMONS:
            with self.subTest(name):
                path = self.stack.config(f"unknown-{name}.yaml", {**self.settings_of(name), "colour": "red"})
                answer = self.daemon(name, "--config", path, "--check-config")
                self.assertNotEqual(0, answer.returncode)
                self.assertIn("colour", answer.stderr)

    def test_every_daemon_refuses_a_flag_that_it_does_not_know(self):
        for name in DAEMONS:
            with self.subTest(name):
                self.assertEqual(64, self.daemon(name, "--colour").returncode)

    # --- a port that is taken ---

    def start_beside(self, daemon, **changed):
        path = self.stack.config(f"beside-{daemon}.yaml", {**self.settings_of(daemon), **changed})
        began = time.monotonic()
        answer = self.daemon(daemon, "--config", path)
        self.assertLess(time.monotonic() - began, 10)
        return answer

    def test_reeved_says_which_address_is_in_use(self):
        answer = self.start_beside("reeved")
        self.assertEqual(1, answer.returncode, answer.stderr)
        self.assertIn(f"127.0.0.1 port {self.stack.port('reeved')} cannot be served: it is in use", answer.stderr)

    def test_the_gateway_says_which_address_is_in_use(self):
        state = self.stack.folder("gateway-beside")
        answer = self.start_beside("reeve-gateway", state_dir=state, admin_listen="127.0.0.1:0")
        self.assertEqual(1, answer.returncode, answer.stderr)
        self.assertIn(f"127.0.0.1 port {self.stack.port('gateway')} cannot be served: it is in use", answer.stderr)

    def test_an_address_of_another_machine_is_called_so(self):
        answer = self.start_beside("reeved", listen={"address": "192.0.2.1", "port": 0, "tls": "proxy"})
        self.assertEqual(1, answer.returncode, answer.stderr)
        self.assertIn("not an address of this machine", answer.stderr)

    def test_the_stack_does_not_take_a_stranger_for_its_child(self):
        with socket.socket() as stranger:
            stranger.bind(("127.0.0.1", 0))
            stranger.listen()
            self.stack.ports["taken"] = stranger.getsockname()[1]
            with self.assertRaisesRegex(Trouble, "in use by another program"):
                self.stack.start("taken", "30", program="/bin/sleep")

    def test_the_stack_sees_that_its_child_ended_though_something_answers(self):
        def ready():
            self.stack.children["ended"][0].wait(timeout=10)
            return True
        with self.assertRaisesRegex(Trouble, "ended ended with 1"):
            self.stack.start("ended", ready=ready, program="/bin/false", *["-"])

    # --- SIGTERM ---

    def test_each_ends_at_once_when_nothing_runs(self):
        """The gateway's long poll is under way the while, at both its ends."""
        self.until(lambda: self.polls_waiting() > 0, "a long poll waits")
        self.assertLess(self.seconds_to_stop("reeved"), STOP_WITHIN_S)
        self.stack.start("reeved")
        self.until(lambda: self.polls_waiting() > 0, "a long poll waits again", within=40)
        self.assertLess(self.seconds_to_stop("gateway"), STOP_WITHIN_S)
        self.assertLess(self.seconds_to_stop("keeper"), STOP_WITHIN_S)
        self.stack.start("keeper")
        self.stack.start("gateway")
        for name in ("reeved", "gateway", "keeper"):
            self.assertNotIn("could not be woken", self.log_of(name))

    def polls_waiting(self):
        text = self.admin("GET", "/metrics").text
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("reeved_long_polls_waiting "))

    def test_a_client_that_leaves_is_no_error_of_ours(self):
        self.until(lambda: self.polls_waiting() > 0, "a long poll waits", within=40)
        errors = self.log_of("reeved").count('"level":"error"')
        self.seconds_to_stop("gateway")
        self.until(lambda: self.polls_waiting() == 0, "the poll is over")
        self.stack.start("gateway")
        self.assertEqual(errors, self.log_of("reeved").count('"level":"error"'), self.stack.tail("reeved"))
        self.assertNotIn("client-gone", self.log_of("reeved"))

    # --- SIGHUP ---

    def write_certificate(self, name, serial):
        cert, key = certificate(serial)
        return self.stack.write(f"{name}.crt", cert), self.stack.write(f"{name}.key", key)

    def serial_at(self, port):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, context.wrap_socket(plain) as secure:
            return x509.load_der_x509_certificate(secure.getpeercert(binary_form=True)).serial_number

    def hang_up_story(self, child, config, settings, port):
        """One story for both daemons: what is good is taken, what is bad changes nothing and is logged."""
        self.assertEqual(1001, self.serial_at(port))
        self.write_certificate(child, 1002)
        self.hang_up(child, "settings reloaded")
        self.until(lambda: self.serial_at(port) == 1002, "the new certificate is served", within=5)

        self.stack.write(f"{child}.crt", "no certificate\n")
        self.stack.config(config, {**settings, "log": {"level": "error"}})
        self.hang_up(child, "nothing changed")
        self.assertEqual(1002, self.serial_at(port))

        self.write_certificate(child, 1003)
        self.stack.config(config, {**settings, "log": {"level": "shout"}})
        self.hang_up(child, "nothing changed")
        self.assertEqual(1002, self.serial_at(port))

        self.stack.write(config, "{")
        self.hang_up(child, "nothing changed")
        self.assertEqual(1002, self.serial_at(port))

        self.stack.config(config, {**settings, "log": {"level": "info"}})
        self.hang_up(child, "settings reloaded")  # said at the level info: the refused ones changed no level
        self.until(lambda: self.serial_at(port) == 1003, "the third certificate is served", within=5)

        self.stack.config(config, {**settings, "log": {"level": "error"}})
        before = self.log_of(child).count("settings reloaded")
        self.write_certificate(child, 1004)
        os.kill(self.stack.pid(child), signal.SIGHUP)
        self.until(lambda: self.serial_at(port) == 1004, "the fourth certificate is served", within=5)
        self.assertEqual(before, self.log_of(child).count("settings reloaded"), "the level error is in force")

    def test_reeved_reads_certificates_and_log_level_again(self):
        cert, key = self.write_certificate("reeved-tls", 1001)
        port = self.stack.port("reeved-tls")
        settings = {**self.settings_of("reeved"), "loops": 2,
                    "listen": {"address": "127.0.0.1", "port": port, "tls": "on", "cert_file": cert, "key_file": key}}
        settings["database"].pop("worker")
        path = self.stack.config("reeved-tls.yaml", settings)
        self.stack.start("reeved-tls", "--config", path, program=self.stack.program("reeved"),
                         ready=lambda: is_listening(port))
        try:
            self.hang_up_story("reeved-tls", "reeved-tls.yaml", settings, port)
        finally:
            self.assertLess(self.seconds_to_stop("reeved-tls"), STOP_WITHIN_S)

    def test_the_gateway_reads_certificates_and_log_level_again(self):
        cert, key = self.write_certificate("gateway", 1001)
        plain = self.settings_of("reeve-gateway")
        settings = {**plain, "tls": {"mode": "on", "cert_file": cert, "key_file": key}}
        self.stack.stop("gateway")
        self.stack.config("gateway.yaml", settings)
        self.stack.start("gateway")
        try:
            self.hang_up_story("gateway", "gateway.yaml", settings, self.stack.port("gateway"))
        finally:
            self.stack.stop("gateway")
            self.stack.config("gateway.yaml", plain)
            self.stack.start("gateway")

    def test_a_file_that_turns_tls_on_needs_a_restart_and_says_so(self):
        cert, key = self.write_certificate("later", 1001)
        plain = self.settings_of("reeve-gateway")
        self.stack.config("gateway.yaml", {**plain, "tls": {"mode": "on", "cert_file": cert, "key_file": key}})
        try:
            self.hang_up("gateway", "this takes a restart")
        finally:
            self.stack.config("gateway.yaml", plain)


if __name__ == "__main__":
    unittest.main()
