"""Digests: spellings, promises of servers (structured fields against http-sf), hashers, manifests."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

import http_sf
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetchq._digests import SIZES, Digest, Hasher, compare, manifest, parse, promised
from fetchq._errors import ChecksumError, QueueFileError, UsageError

DATA = b"hello world"


def hex_of(algorithm: str, data: bytes = DATA) -> str:
    if algorithm == "crc32":
        return f"{zlib.crc32(data):08x}"
    return hashlib.new(algorithm.replace("-", "_"), data).hexdigest()


def base64_of(algorithm: str, data: bytes = DATA) -> str:
    return base64.b64encode(bytes.fromhex(hex_of(algorithm, data))).decode()


SHA256, MD5, SHA1 = hex_of("sha256"), hex_of("md5"), hex_of("sha1")


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        (f"sha256:{SHA256}", "sha256"),
        (f"sha-256={SHA256}", "sha256"),
        (f"SHA256 {SHA256.upper()}", "sha256"),
        (f"SHA-256: {SHA256}", "sha256"),
        (f" sha_256 = {SHA256}\n", "sha256"),
        (SHA256, "sha256"),
        (MD5.upper(), "md5"),
        (SHA1, "sha1"),
        (hex_of("sha224"), "sha224"),
        (hex_of("sha384"), "sha384"),
        (hex_of("sha512"), "sha512"),
        (f"sha:{SHA1}", "sha1"),
        (f"sha3-256:{hex_of('sha3-256')}", "sha3-256"),
        (f"SHA3_512={hex_of('sha3-512')}", "sha3-512"),
        (f"blake2b:{hex_of('blake2b')}", "blake2b"),
        (f"BLAKE2b512:{hex_of('blake2b')}", "blake2b"),
        (f"blake2s256={hex_of('blake2s')}", "blake2s"),
        (f"crc32:{hex_of('crc32')}", "crc32"),
    ],
)
def test_a_checksum_is_understood_as_people_spell_it(text: str, algorithm: str) -> None:
    assert parse(text) == Digest(algorithm, hex_of(algorithm))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "ALGORITHM:HEX"),
        ("nonsense", "ALGORITHM:HEX"),
        ("0d4a1185", "ALGORITHM:HEX"),
        (SHA256[:-1], "ALGORITHM:HEX"),
        ("sha256:", "64 hex digits.* has 0"),
        ("sha256:abcd", "64 hex digits.* has 4"),
        ("sha256:" + "g" * 64, "64 hex digits"),
        ("sha256:" + "\uff11" * 64, "64 hex digits"),
        (f"md5:{SHA256}", "32 hex digits"),
        ("crc32c:00000000", "one of md5, "),
        ("rot13:00", "one of md5, "),
        ("sha256:" + "\x1b[2J" + "a" * 60, "64 hex digits"),
        ("sha256:" + "a" * 10**6, "64 hex digits"),
    ],
)
def test_a_checksum_of_the_wrong_kind_is_refused_with_the_right_one_named(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@given(st.text(max_size=40) | st.from_regex(r"[a-z0-9-]{1,9}[:= ][0-9a-f]{0,70}", fullmatch=True))
def test_any_text_is_a_digest_or_a_usage_error(text: str) -> None:
    try:
        digest = parse(text)
    except UsageError:
        return
    assert len(digest.hex) == 2 * SIZES[digest.algorithm]
    assert parse(str(digest)) == digest


SHA256_64, MD5_64, SHA1_64, CRC32_64 = (base64_of(name) for name in ("sha256", "md5", "sha1", "crc32"))


@pytest.mark.parametrize(
    ("headers", "algorithms"),
    [
        ({"repr-digest": f"sha-256=:{SHA256_64}:"}, {"sha256"}),
        ({"repr-digest": f'md5=:{MD5_64}:;q="a,b", unknown=:AAAA:, sha-256=:{SHA256_64}:'}, {"md5", "sha256"}),
        ({"repr-digest": f"sha-256=:{SHA256_64.rstrip('=')}:"}, {"sha256"}),
        ({"repr-digest": f"sha-256=:{SHA256_64}:,"}, set()),
        ({"repr-digest": f"sha-256={SHA256_64}"}, set()),
        ({"repr-digest": f"SHA-256=:{SHA256_64}:"}, set()),
        ({"repr-digest": "sha-256=:AAAA:"}, set()),
        ({"repr-digest": f"sha-256=:{MD5_64}:"}, set()),
        ({"content-digest": f"sha-256=:{SHA256_64}:"}, {"sha256"}),
        ({"digest": f"SHA-256={SHA256_64},MD5={MD5_64}"}, {"sha256", "md5"}),
        ({"digest": f"sha={SHA1_64}, UNIXsum=30637"}, {"sha1"}),
        ({"digest": f"md5={MD5}"}, set()),
        ({"content-md5": MD5_64}, {"md5"}),
        ({"content-md5": MD5}, set()),
        ({"content-md5": "€"}, set()),
        ({"x-goog-hash": f"crc32c=n03x6A==,md5={MD5_64}"}, {"md5"}),
        ({"x-goog-hash": f"md5={MD5_64}", "x-goog-stored-content-encoding": "identity"}, {"md5"}),
        ({"x-goog-hash": f"md5={MD5_64}", "x-goog-stored-content-encoding": "gzip"}, set()),
        (
            {
                "x-goog-hash": f"md5={MD5_64}",
                "x-goog-stored-content-encoding": "gzip",
                "content-encoding": "gzip",
            },
            {"md5"},
        ),
        ({"x-amz-checksum-sha256": SHA256_64}, {"sha256"}),
        ({"x-amz-checksum-sha1": SHA1_64, "x-amz-checksum-crc32": CRC32_64}, {"sha1", "crc32"}),
        ({"x-amz-checksum-sha256": f"{SHA256_64}-4"}, set()),
        ({"x-amz-checksum-sha256": SHA256_64, "x-amz-checksum-type": "COMPOSITE"}, set()),
        ({"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}, set()),
        ({"etag": f'"{MD5}"'}, set()),
        ({}, set()),
    ],
)
def test_what_servers_promise_is_believed_only_where_it_can_be_true(
    headers: Mapping[str, str], algorithms: set[str]
) -> None:
    assert promised(headers, 200) == {name: hex_of(name) for name in algorithms}


@pytest.mark.parametrize(
    ("field", "value", "of_a_part"),
    [
        ("repr-digest", f"sha-256=:{SHA256_64}:", True),
        ("digest", f"sha-256={SHA256_64}", True),
        ("x-goog-hash", f"md5={MD5_64}", True),
        ("content-digest", f"sha-256=:{SHA256_64}:", False),
        ("content-md5", MD5_64, False),
        ("x-amz-checksum-sha256", SHA256_64, False),
    ],
)
def test_what_describes_only_a_parts_content_promises_nothing_of_the_whole(
    field: str, value: str, of_a_part: bool
) -> None:
    assert promised({field: value}, 200)
    assert bool(promised({field: value}, 206)) is of_a_part
    assert bool(promised({field: value, "content-range": "bytes 0-4/11"}, 200)) is of_a_part


def test_the_more_exact_field_wins_where_two_disagree() -> None:
    other = base64_of("sha256", b"other")
    headers = {"digest": f"sha-256={other}", "repr-digest": f"sha-256=:{SHA256_64}:"}
    assert promised(headers, 200) == {"sha256": SHA256}


KEYS = st.sampled_from(["sha-256", "md5", "sha-512", "x", "*a.b_c-1"])
BYTES = st.binary(max_size=4) | st.binary(min_size=16, max_size=16) | st.binary(min_size=32, max_size=32)
SCALARS = st.one_of(
    BYTES,
    st.booleans(),
    st.integers(-(10**15) + 1, 10**15 - 1),
    st.sampled_from(["", 'quo"te\\', "a, b", "x;y=:AAAA:"]),
    st.sampled_from(["tok", "*t/o:k"]).map(http_sf.Token),
    st.floats(-1000, 1000).map(lambda value: round(value, 3)),
    st.just(http_sf.DisplayString("é%, x")),
)
PARAMETERS = st.dictionaries(st.sampled_from(["a", "b-c", "*"]), SCALARS, max_size=2)
ITEMS = st.tuples(SCALARS, PARAMETERS)
MEMBERS = ITEMS | st.tuples(st.lists(ITEMS, max_size=3), PARAMETERS)
NAMES = {"sha-256": "sha256", "md5": "md5", "sha-512": "sha512"}


def by_the_oracle(field: str) -> dict[str, str]:
    try:
        members: Any = http_sf.parse(field.encode(), tltype="dictionary")
    except (http_sf.StructuredFieldError, UnicodeDecodeError):
        return {}
    values = {NAMES[key]: member[0] for key, member in members.items() if key in NAMES}
    return {
        name: value.hex()
        for name, value in values.items()
        if isinstance(value, bytes) and len(value) == SIZES[name]
    }


@given(st.dictionaries(KEYS, MEMBERS, max_size=4))
def test_any_structured_dictionary_is_read_like_http_sf_reads_it(members: dict[str, Any]) -> None:
    field = http_sf.ser(members) if members else ""
    assert promised({"repr-digest": field}, 200) == by_the_oracle(field)


GARBLE = st.text(st.sampled_from('sha-256=md5:;, ()"\\%?@1.9Aa/é\t\x00'), max_size=30)


@given(before=GARBLE, after=GARBLE)
@example(before="a=1.5.5, ", after="")
@example(before="a=1234567890123456, ", after="")
@example(before="a=(1 2), ", after=";x")
def test_a_garbled_field_is_ignored_like_http_sf_ignores_it(before: str, after: str) -> None:
    field = f"{before}md5=:{MD5_64}:{after}".strip(" \t")
    assert promised({"repr-digest": field}, 200) == by_the_oracle(field)


@given(st.text(max_size=80), st.sampled_from(["digest", "content-md5", "x-goog-hash", "x-amz-checksum-sha1"]))
def test_no_header_value_can_make_promised_fail(value: str, field: str) -> None:
    assert set(promised({field: value}, 200)) <= set(SIZES)


@pytest.mark.parametrize("unit", ["a", "a,", "a=(", "a=(1 ", "a;", "a=:", 'a="', "(", ",", " ", "1", "a=1;b, "])
def test_a_header_of_the_greatest_size_is_read_in_linear_time(unit: str) -> None:
    assert promised({"repr-digest": unit * (65536 // len(unit)), "digest": unit * 65536}, 200) == {}


@pytest.mark.parametrize("algorithm", sorted(SIZES))
def test_the_hasher_computes_what_hashlib_and_zlib_do_over_any_buffers(algorithm: str) -> None:
    hasher = Hasher([algorithm, "sha256"])
    for chunk in (DATA[:3], bytearray(DATA[3:5]), memoryview(DATA)[5:], b""):
        hasher.update(chunk)
    assert hasher.hexdigests() == {algorithm: hex_of(algorithm), "sha256": SHA256}


def test_a_hasher_can_be_read_on_the_way_and_be_empty() -> None:
    hasher = Hasher(["crc32"])
    assert hasher.hexdigests() == {"crc32": "00000000"}
    hasher.update(DATA)
    assert hasher.hexdigests() == {"crc32": hex_of("crc32")}
    nothing = Hasher([])
    nothing.update(DATA)
    assert nothing.hexdigests() == {}


def test_compare_names_file_algorithm_and_both_values() -> None:
    compare({"md5": MD5}, {"md5": MD5, "sha1": SHA1}, "a.iso")
    other = hex_of("md5", b"other")
    with pytest.raises(ChecksumError) as caught:
        compare({"sha1": SHA1, "md5": MD5}, {"md5": other, "sha1": SHA1}, "a\x1b.iso")
    assert all(word in str(caught.value) for word in ("a?.iso", "md5", MD5, other))
    assert caught.value.exit_code == 9


MANIFEST = [
    (f"{SHA256}  a.iso", "a.iso", "sha256"),
    (f"{SHA256} *b c.iso", "b c.iso", "sha256"),
    (f"{SHA256} one-blank.iso", "one-blank.iso", "sha256"),
    (f"{SHA256}\ttab.iso\r\n", "tab.iso", "sha256"),
    (f"{MD5}  ./dir/a.iso\n", "./dir/a.iso", "md5"),
    (f"\\{SHA1}  new\\nline\\\\.iso", "new\nline\\.iso", "sha1"),
    (f"{SHA1}  plain\\nname.iso", "plain\\nname.iso", "sha1"),
    (f"SHA256 (a (1).iso) = {SHA256.upper()}", "a (1).iso", "sha256"),
    (f"SHA256(openssl.iso)= {SHA256}", "openssl.iso", "sha256"),
    (f"BLAKE2b (a) = {hex_of('blake2b')}", "a", "blake2b"),
    (f"SHA3-256 (a) = {hex_of('sha3-256')}", "a", "sha3-256"),
    (f"\\MD5 (new\\nline) = {MD5}", "new\nline", "md5"),
]


@pytest.mark.parametrize(("line", "name", "algorithm"), MANIFEST)
def test_a_manifest_line_in_gnu_or_bsd_form(line: str, name: str, algorithm: str) -> None:
    assert list(manifest([line])) == [(name, Digest(algorithm, hex_of(algorithm)))]


@pytest.mark.parametrize(
    "line", ["nonsense", SHA256, f"{SHA256[:-2]}  a", f"SHA256 (a) = {MD5}", f"ROT (a) = {MD5}"]
)
def test_a_bad_manifest_line_fails_alone_and_is_named(line: str) -> None:
    good = f"{MD5}  good"
    first, bad, last = manifest([good, line, good], "SUMS")
    assert first == last == ("good", Digest("md5", MD5))
    assert isinstance(bad, QueueFileError)
    assert str(bad).startswith("SUMS:2: ")


def test_blank_lines_comments_and_a_pgp_signature_are_no_entries() -> None:
    lines = [
        "-----BEGIN PGP SIGNED MESSAGE-----",
        "Hash: SHA256",
        "",
        "# a.iso: 11 bytes",
        f"SHA256 (a.iso) = {SHA256}",
        "-----BEGIN PGP SIGNATURE-----",
        "iQIzBAEBCAAdFiEE",
        "-----END PGP SIGNATURE-----",
        f"{MD5}  b.iso",
    ]
    assert [entry[0] for entry in manifest(lines) if not isinstance(entry, QueueFileError)] == [
        "a.iso",
        "b.iso",
    ]
    assert len(list(manifest(lines))) == 2


@given(st.lists(st.text(max_size=90) | st.sampled_from([line for line, _, _ in MANIFEST]), max_size=5))
def test_any_manifest_gives_entries_or_errors(lines: list[str]) -> None:
    for entry in manifest(lines):
        assert isinstance(entry, QueueFileError) or (entry[0] and entry[1].algorithm in SIZES)
