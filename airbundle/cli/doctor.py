"""doctor: what this machine has, what is missing, and known answers of every primitive."""

from __future__ import annotations

import hashlib
import hmac
import importlib.metadata
import os
import platform
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from airbundle.cli import output
from airbundle.cli.choices import Json
from airbundle.codec.compress import Codec, Compressor, Expander
from airbundle.codec.dtypes import Dtype
from airbundle.codec.engines import NumpyEngine, best_engine
from airbundle.codec.entropy import has_functions
from airbundle.codec.erasure import Layout, encode_blocks, recover
from airbundle.codec.galois import cauchy
from airbundle.codec.record import encode_record, recover_record
from airbundle.crypto.envelope import BundleKey, Context, Keyring, open_preamble, parse_preamble, write_preamble
from airbundle.crypto.identities import generate
from airbundle.crypto.passphrase import Passphrase
from airbundle.crypto.seal import Opener, Sealer
from airbundle.crypto.signing import check, sign
from airbundle.crypto.suites import CNSA2, STANDARD, SUITES, Suite, hash_by_suite
from airbundle.devices.sandbox import landlock_version, seccomp_known
from airbundle.devices.sources import UDEVD
from airbundle.errors import AirbundleError
from airbundle.format.cost import PassphraseCost
from airbundle.media import keystore, system
from airbundle.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable


PACKAGES: Final = ("blake3", "cryptography", "mnemonic", "msgspec", "numpy", "pyeclib", "pyudev", "reedsolo", "rich",
                   "typer", "zstandard")
EXTRAS: Final = {"distributed": "cluster"}
"""Packages that only some verbs need, and the extra that brings them."""


class SelfTestError(AirbundleError):
    """A primitive does not give its known answer: nothing that this installation says can be believed."""

    exit_status = 1


def doctor(as_json: Json = False) -> None:
    """Say what this machine has and what is missing, and run known answers of every primitive."""
    facts = machine()
    answers = known_answers()
    found = {"machine": facts, "known_answers": answers}
    if not as_json:
        output.table(facts.items(), title="machine")
        output.table(answers.items(), title="known answers")
    failed = [name for name, answer in answers.items() if answer != "right"]
    if failed:
        error = SelfTestError(f"wrong answers: {', '.join(failed)}",
                              hint="install the packages again from a source that you trust")
        error.report = found
        raise error
    if as_json:
        output.emit("doctor", found)
    else:
        output.good("all primitives give their known answers")


def machine() -> dict[str, str]:
    """What is here, in words."""
    features = system.features()
    missing = [name for name in features.__slots__ if not getattr(features, name)]
    found = {"airbundle": VERSION, "python": platform.python_version(), "system": platform.platform(terse=True),
             "cores": str(system.cpu_count()), "memory": output.human(system.memory_total()),
             "parity engine": best_engine().name,
             "entropy coder": "libzstd" if has_functions() else "zstandard (slower: libzstd has no functions for cffi)",
             "trust store": keystore.trust_folder(),
             "watching": _watching(), "missing": ", ".join(missing) or "nothing"}
    if isinstance(best_engine(), NumpyEngine):
        found["parity engine"] += " (slower: ISA-L was not found; install pyeclib or libisal2)"
    for package in (*PACKAGES, *EXTRAS):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = f"not installed (extra '{EXTRAS[package]}')" if package in EXTRAS else "not installed"
    return found


def _watching() -> str:
    """What `airbundle watch` has here: where it hears of drives, and what confines the process that reads them."""
    version = landlock_version()
    return ", ".join((
        "udevd runs" if os.path.exists(UDEVD) else "no udevd (--source kernel)",
        "may mount" if os.geteuid() == 0 else "may not mount (not root: --source mounts)",
        f"landlock {version}" if version else "NO landlock: files are not confined",
        "seccomp" if seccomp_known() else "NO seccomp filter for this machine"))


def known_answers() -> dict[str, str]:
    """Each primitive with `right`, or what went wrong."""
    tests: dict[str, Callable[[], bool]] = {
        "BLAKE3": _blake3, "SHA-384": _sha384, "SHA-256": _sha256, "HKDF-SHA256": _hkdf, "HKDF-SHA384": _hkdf384,
        "Argon2id": _argon2id, "AES-256-GCM": _seal,
        **{f"HPKE {suite.kem.title}": partial(_envelope, suite) for suite in SUITES},
        **{" and ".join(one.title for one in suite.signers): partial(_signature, suite) for suite in SUITES},
        "Cauchy matrix": _cauchy,
        "Reed-Solomon, both engines": _erasure, "record code": _record, "planes and zstd": _codec}
    answers = {}
    for name, test in tests.items():
        try:
            answers[name] = "right" if test() else "WRONG"
        except Exception as error:  # noqa: BLE001 - a broken library may raise anything
            answers[name] = f"FAILED: {type(error).__name__}: {error}"
    return answers


def _blake3() -> bool:
    # From the test vectors of the BLAKE3 team: input of 1 byte, 00.
    expected = "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"
    return STANDARD.hash(b"\0").hex() == expected and STANDARD.hash(b"", b"\0").hex() == expected


def _sha384() -> bool:
    # FIPS 180-4, example "abc".
    expected = ("cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
                "8086072ba1e7cc2358baeca134c825a7")
    return CNSA2.hash(b"abc").hex() == expected and CNSA2.hash(b"a", b"bc").hex() == expected


def _sha256() -> bool:
    # FIPS 180-4, example "abc".
    return hashlib.sha256(b"abc").hexdigest() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def _hkdf() -> bool:
    # RFC 5869, test case 1, the expand step.
    key = bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
    okm = STANDARD.expand(key, bytes(range(0xF0, 0xFA)), 42)
    return okm.hex().startswith("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf")


def _hkdf384() -> bool:
    # RFC 5869 gives no vector for SHA-384: the standard library works one block of it out.
    key, info = bytes(range(32)), b"info"
    return CNSA2.expand(key, info, 48) == hmac.digest(key, info + b"\x01", "sha384")


def _argon2id() -> bool:
    # From the tests of the reference implementation: version 0x13, 2 iterations, 256 KiB, 1 lane.
    stretched = Passphrase("password").stretch(b"somesalt", PassphraseCost(memory_kib=256, iterations=2, lanes=1))
    return stretched.hex() == "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"


def _envelope(suite: Suite) -> bool:
    identity = generate(suite)
    context = Context(suite, bytes(16), identity.public.key_id)
    key = BundleKey(bytes(range(32)))
    preamble = parse_preamble(write_preamble(context, key, [identity.public]))
    return open_preamble(preamble, Keyring((identity,))).secret_bytes() == bytes(range(32))


def _seal() -> bool:
    context = Context(STANDARD, bytes(16), bytes(32))
    key = BundleKey(bytes(32))
    sealer = Sealer(context, key, 7)
    sealed, opened = bytearray(21), bytearray(5)
    sealer.seal_into(0, b"hello", memoryview(sealed), last=True)
    Opener(context, key, 7, sealer.salt).open_into(0, sealed, memoryview(opened), last=True)
    return bytes(opened) == b"hello"


def _signature(suite: Suite) -> bool:
    identity = generate(suite)
    signature = sign(identity, "text/plain", b"hello")
    check(identity.public, signature, "text/plain", b"hello")
    try:
        check(identity.public, signature, "text/plain", b"hullo")
    except AirbundleError:
        return True
    return False


def _cauchy() -> bool:
    # 1/4 and 1/5 over 0x11D, worked out by hand in the spec's manner: 4 * 0x47 = 5 * 0xA7 = 1.
    return cauchy(4, 2)[0, :2].tobytes() == b"\x47\xa7"


def _erasure() -> bool:
    layout = Layout(n=10, k=10, m=3, stripes=1)
    source = np.arange(10 * 256, dtype=np.uint32).astype(np.uint8).reshape(10, 256)
    results = []
    for engine in (best_engine(), NumpyEngine()):
        blocks = np.zeros((13, 256), np.uint8)
        blocks[:10] = source * np.arange(1, 11, dtype=np.uint8)[:, None]
        encode_blocks(engine, layout, blocks)
        whole = blocks.copy()
        lost = np.zeros(13, np.bool_)
        lost[[0, 5, 11]] = True
        blocks[lost] = 0
        still = recover(engine, layout, blocks, lost)
        results.append(blocks.tobytes())
        if still.any() or results[-1] != whole.tobytes():
            return False
    return results[0] == results[1]


def _record() -> bool:
    raw = bytearray(encode_record(b"hello", suite_number=1, hash_by_suite=hash_by_suite, engine=best_engine()))
    for copy in range(3):
        raw[copy * 131_072 + 10:copy * 131_072 + 40] = bytes(30)
    return recover_record(raw, hash_by_suite=hash_by_suite, engine=best_engine()).content == b"hello"


def _codec() -> bool:
    plain = np.linspace(-1, 1, 50_000, dtype="<f4").tobytes()
    codec, packed = Compressor().compress(memoryview(plain), Dtype.FLOAT32)
    out = bytearray(len(plain))
    Expander().expand(codec, packed, memoryview(out))
    return codec is Codec.PLANES4 and bytes(out) == plain
