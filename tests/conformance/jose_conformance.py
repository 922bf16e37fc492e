#!/usr/bin/python3
"""Our JOSE against an independent one: python3-cryptography and the text of the RFCs.

    jose_conformance.py PEER [ROUNDS]

Each round makes keys, headers and payloads at random (seeded), lets one side write and the other read, both ways,
then changes one byte and sees that it is refused. Exit 77 when python3-cryptography is missing.
"""
import base64
import hashlib
import json
import os
import random
import subprocess
import sys

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError:
    print("skipped: python3-cryptography is not installed")
    sys.exit(77)

RAW = serialization.Encoding.Raw
DICE = random.Random(20261120)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def public_bytes(key):
    return key.public_key().public_bytes(RAW, serialization.PublicFormat.Raw)


def private_bytes(key):
    return key.private_bytes(RAW, serialization.PrivateFormat.Raw, serialization.NoEncryption())


def thumbprint(crv, x):
    return b64(hashlib.sha256(json.dumps({"crv": crv, "kty": "OKP", "x": x}, separators=(",", ":"), sort_keys=True)
                              .encode()).digest())


def jwk_of(crv, key):
    x = b64(public_bytes(key))
    return {"kty": "OKP", "crv": crv, "x": x, "kid": thumbprint(crv, x)}


def compact_header(header):
    """JSON as other libraries write it: members in any order, now and then with spaces."""
    items = list(header.items())
    DICE.shuffle(items)
    separators = DICE.choice([(",", ":"), (", ", ": ")])
    return b64(json.dumps(dict(items), separators=separators).encode())


def sign(key, header, payload):
    signed = compact_header(header) + "." + b64(payload)
    return signed + "." + b64(key.sign(signed.encode()))


def seal(cek, header, plain):
    head, nonce = compact_header(header), DICE.randbytes(12)
    sealed = AESGCM(cek).encrypt(nonce, plain, head.encode())
    return ".".join([head, "", b64(nonce), b64(sealed[:-16]), b64(sealed[-16:])])


def unseal(cek, jwe):
    head, empty, nonce, ciphertext, tag = jwe.split(".")
    assert empty == ""
    return AESGCM(cek).decrypt(unb64(nonce), unb64(ciphertext) + unb64(tag), head.encode())


def prefixed(data):
    return len(data).to_bytes(4, "big") + data


def agreed(private, public, header):
    """RFC 7518, 4.6.2."""
    info = (prefixed(b"A256GCM") + prefixed(unb64(header.get("apu", ""))) + prefixed(unb64(header.get("apv", "")))
            + (256).to_bytes(4, "big"))
    return ConcatKDFHash(hashes.SHA256(), 32, info).derive(private.exchange(X25519PublicKey.from_public_bytes(public)))


class Peer:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, do, **question):
        self.process.stdin.write(json.dumps({"do": do, **question}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the peer has died"
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        assert self.process.wait() == 0


def changed(text):
    at = DICE.randrange(len(text))
    return text[:at] + DICE.choice([c for c in "AZaz09-_." if c != text[at]]) + text[at + 1:]


def some_header():
    names = DICE.sample(["org", "project", "secret", "origin", "version", "apu", "apv"], DICE.randrange(6))
    return {name: DICE.randrange(1 << 40) if name == "version" else b64(DICE.randbytes(DICE.randrange(1, 20)))
            for name in names}


def round_of_signatures(peer):
    key, payload = Ed25519PrivateKey.from_private_bytes(DICE.randbytes(32)), DICE.randbytes(DICE.randrange(200))
    jwk, typ = jwk_of("Ed25519", key), "reeve-%d+jws" % DICE.randrange(1000)
    assert peer.ask("thumbprint", jwk=jwk) == {"kid": jwk["kid"]}
    jws = peer.ask("sign", d=b64(private_bytes(key)), typ=typ, payload=b64(payload))["jws"]
    head, body, signature = jws.split(".")
    assert json.loads(unb64(head)) == {"alg": "EdDSA", "kid": jwk["kid"], "typ": typ} and unb64(body) == payload
    try:
        key.public_key().verify(unb64(signature), (head + "." + body).encode())
    except InvalidSignature:
        raise AssertionError("a signature of ours does not hold")
    theirs = sign(key, {"alg": "EdDSA", "kid": jwk["kid"], "typ": typ}, payload)
    assert peer.ask("verify", jwk=jwk, typ=typ, jws=theirs) == {"payload": b64(payload)}
    assert "error" in peer.ask("verify", jwk=jwk, typ=typ, jws=changed(theirs))


def round_of_direct(peer):
    cek, plain, extra = DICE.randbytes(32), DICE.randbytes(DICE.randrange(300)), some_header()
    ours = peer.ask("seal_dir", key=b64(cek), typ="t", header=extra, plain=b64(plain))["jwe"]
    assert unseal(cek, ours) == plain
    assert json.loads(unb64(ours.split(".")[0])) == {"alg": "dir", "enc": "A256GCM", "typ": "t", **extra}
    theirs = seal(cek, {"alg": "dir", "enc": "A256GCM", "typ": "t", **extra}, plain)
    assert peer.ask("open_dir", key=b64(cek), typ="t", header=extra, jwe=theirs) == {"plain": b64(plain)}
    assert "error" in peer.ask("open_dir", key=b64(cek), typ="t", header=extra, jwe=changed(theirs))


def round_of_agreement(peer):
    recipient, ephemeral = (X25519PrivateKey.from_private_bytes(DICE.randbytes(32)) for _ in range(2))
    jwk, plain, extra = jwk_of("X25519", recipient), DICE.randbytes(DICE.randrange(300)), some_header()
    assert peer.ask("thumbprint", jwk=jwk) == {"kid": jwk["kid"]}
    ours = peer.ask("seal_to", jwk=jwk, typ="t", header=extra, plain=b64(plain))["jwe"]
    header = json.loads(unb64(ours.split(".")[0]))
    assert header["alg"] == "ECDH-ES" and header["enc"] == "A256GCM" and header["kid"] == jwk["kid"]
    assert unseal(agreed(recipient, unb64(header["epk"]["x"]), header), ours) == plain
    header = {"alg": "ECDH-ES", "enc": "A256GCM", "kid": jwk["kid"], "typ": "t", **extra,
              "epk": {"kty": "OKP", "crv": "X25519", "x": b64(public_bytes(ephemeral))}}
    theirs = seal(agreed(ephemeral, public_bytes(recipient), header), header, plain)
    private = {**jwk, "d": b64(private_bytes(recipient))}
    assert peer.ask("open_from", private=private, typ="t", header=extra, jwe=theirs) == {"plain": b64(plain)}
    assert "error" in peer.ask("open_from", private=private, typ="t", header=extra, jwe=changed(theirs))


def round_of_derivation(peer):
    ikm, salt, info = (DICE.randbytes(DICE.randrange(80)) for _ in range(3))
    length = DICE.randrange(1, 256)
    okm = HKDF(hashes.SHA256(), length, salt, info).derive(ikm)
    assert peer.ask("hkdf", ikm=b64(ikm), salt=b64(salt), info=b64(info), len=length) == {"okm": b64(okm)}


def round_of_notes(peer):
    """C2SP signed-note and tlog-checkpoint."""
    key, root_of = Ed25519PrivateKey.from_private_bytes(DICE.randbytes(32)), DICE.randbytes(DICE.randrange(50))
    origin, size = "reeve/ins_%d" % DICE.randrange(1000), DICE.randrange(1 << 50)
    note = peer.ask("checkpoint", d=b64(private_bytes(key)), origin=origin, size=size, root_of=b64(root_of))["note"]
    root = base64.b64encode(hashlib.sha256(root_of).digest()).decode()
    text = "%s\n%d\n%s\n" % (origin, size, root)
    assert note.startswith(text + "\n\u2014 " + origin + " ")
    blob = base64.b64decode(note[len(text) + 1:].split(" ")[2], validate=False)
    assert blob[:4] == hashlib.sha256(origin.encode() + b"\n\x01" + public_bytes(key)).digest()[:4]
    key.public_key().verify(blob[4:], text.encode())


def main():
    peer, rounds = Peer(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 60
    kinds = [round_of_signatures, round_of_direct, round_of_agreement, round_of_derivation, round_of_notes]
    for number in range(rounds):
        for kind in kinds:
            try:
                kind(peer)
            except Exception:
                print("round %d of %s" % (number, kind.__name__), file=sys.stderr)
                raise
    peer.close()
    print("%d rounds of %d kinds agree" % (rounds, len(kinds)))


if __name__ == "__main__":
    os.environ.setdefault("ASAN_OPTIONS", "detect_leaks=1")
    main()
