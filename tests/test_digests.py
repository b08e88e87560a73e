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

from fetchq._digests import (
    SIZES,
    Checksum,
    ChecksumPolicy,
    Hasher,
    Manifest,
    algorithms,
    compare,
    matches,
    parse,
    promised,
)
from fetchq._digests.manifest import _url_path
from fetchq._errors import ChecksumError, UsageError
from fetchq._models import Job

DATA = b"hello world"


def hex_of(algorithm: str, data: bytes = DATA) -> str:
    if algorithm == "crc32":
        return f"{zlib.crc32(data):08x}"
    if algorithm == "blake2b-256":
        return hashlib.blake2b(data, digest_size=32).hexdigest()
    return hashlib.new(algorithm.replace("-", "_"), data).hexdigest()


def base64_of(algorithm: str, data: bytes = DATA) -> str:
    return base64.b64encode(bytes.fromhex(hex_of(algorithm, data))).decode()


def checksum_of(algorithms: str, data: bytes = DATA) -> Checksum:
    """Of *data*, by the first of *algorithms*, when any of them is let pass."""
    first, *others = algorithms.split()
    return Checksum(hex_of(first, data), (first, *others))


SHA256, SHA512, MD5, SHA1 = (hex_of(name) for name in ("sha256", "sha512", "md5", "sha1"))
# What a bare value of the length may be.
BY_28, BY_48 = "sha224 sha3-224", "sha384 sha3-384"
BY_32, BY_64 = "sha256 blake2s blake2b-256 sha3-256", "sha512 blake2b sha3-512"


def groups(text: str, size: int = 8) -> str:
    """In groups of digits, as gpg prints them."""
    return " ".join(text[at : at + size] for at in range(0, len(text), size)).upper()


@pytest.mark.parametrize(
    ("text", "algorithms"),
    [
        (f"sha256:{SHA256}", "sha256"),
        (f"sha-256={SHA256}", "sha256"),
        (f"SHA256 {SHA256.upper()}", "sha256"),
        (f"SHA-256: {SHA256}", "sha256"),
        (f" sha_256 = {SHA256}\n", "sha256"),
        (f"SHA2-512:{SHA512}", "sha512"),
        (SHA256, BY_32),
        (MD5.upper(), "md5"),
        (SHA1, "sha1"),
        (hex_of("sha224"), BY_28),
        (hex_of("sha384"), BY_48),
        (SHA512, BY_64),
        (f"sha:{SHA1}", "sha1"),
        (f"sha3-256:{hex_of('sha3-256')}", "sha3-256"),
        (f"SHA3_512={hex_of('sha3-512')}", "sha3-512"),
        (f"blake2b:{hex_of('blake2b')}", "blake2b"),
        (f"BLAKE2b512:{hex_of('blake2b')}", "blake2b"),
        (f"BLAKE2b-256:{hex_of('blake2b-256')}", "blake2b-256"),
        (f"blake2s256={hex_of('blake2s')}", "blake2s"),
        (f"crc32:{hex_of('crc32')}", "crc32"),
        # Subresource Integrity, and base64 behind other spellings
        (f"sha256-{base64_of('sha256')}", "sha256"),
        (f"sha384-{base64_of('sha384')}", "sha384"),
        (f"sha512-{base64_of('sha512').rstrip('=')}", "sha512"),
        (f"sha3-256-{base64_of('sha3-256')}", "sha3-256"),
        (f"sha1:{base64_of('sha1')}", "sha1"),
        (f"sha256={base64_of('sha256')}", "sha256"),
        # a whole line, pasted
        (f"{SHA256}  f.bin", BY_32),
        (f"{SHA256} *f.bin\n", BY_32),
        (f"\\{SHA1}  a\\nb", "sha1"),
        (f"SHA256 (f.bin) = {SHA256}", "sha256"),
        (f"SHA2-256(f.bin)= {SHA256}", "sha256"),
        (f"(stdin)= {SHA1}", "sha1"),
        (f"f.bin: {MD5}", "md5"),
        (f"f.bin {MD5}", "md5"),
        (f"SHA256          {SHA256.upper()}       C:\\Users\\me\\f.bin", "sha256"),
        (f"SHA-256 checksum: {SHA256}", "sha256"),
        (f"f.bin: {groups(SHA512)}", BY_64),
        (f"f.bin: SHA1 = {groups(SHA1, 4)}", "sha1"),
        (groups(MD5, 2), "md5"),
    ],
)
def test_a_checksum_is_understood_as_people_spell_it(text: str, algorithms: str) -> None:
    assert parse(text) == checksum_of(algorithms)


SPELLED = {
    **{name: name for name in SIZES},
    **{name.replace("-", "_").upper(): name for name in SIZES},
    **{f"sha-{bits}": f"sha{bits}" for bits in (1, 224, 256, 384, 512)},
    **{f"SHA2-{bits}": f"sha{bits}" for bits in (224, 256, 384, 512)},
    "sha": "sha1",
    "BLAKE2B-512": "blake2b",
    "BLAKE2S-256": "blake2s",
    "CRC-32": "crc32",
}


@pytest.mark.parametrize(("spelling", "algorithm"), SPELLED.items())
def test_every_algorithm_is_known_by_each_of_its_spellings(spelling: str, algorithm: str) -> None:
    assert parse(f"{spelling}:{hex_of(algorithm)}") == checksum_of(algorithm)
    assert str(checksum_of(algorithm)) == f"{algorithm}:{hex_of(algorithm)}"


def test_a_checksum_without_an_algorithm_is_shown_as_its_value() -> None:
    assert str(parse(SHA256.upper())) == SHA256


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "ALGORITHM:HEX"),
        ("nonsense", "ALGORITHM:HEX"),
        ("0d4a1185", "ALGORITHM:HEX"),
        ("0d4a1185  f.bin", "ALGORITHM:HEX"),
        ("deadbeef", "ALGORITHM:HEX"),
        (SHA256[:-1], "ALGORITHM:HEX"),
        ("sha256:", "64 hex digits.* has 0"),
        ("sha256:abcd", "64 hex digits.* has 4"),
        ("sha256:" + "g" * 64, "64 hex digits"),
        ("sha256:" + "\uff11" * 64, "64 hex digits"),
        (f"md5:{SHA256}", "32 hex digits"),
        ("crc32c:00000000", "one of crc32, md5, "),
        ("rot13:00", "one of crc32, md5, "),
        (f"keccak:{SHA256}", "'keccak' is not one of"),
        (f"keccak-256 = {SHA256}", "'keccak-256' is not one of"),
        (f"sha384:{SHA256}", "96 hex digits.* has 64"),
        ("sha256-AAAA", "ALGORITHM:HEX"),
        ("sha256-€", "ALGORITHM:HEX"),
        (f"SHA512/256 (f.bin) = {SHA256}", "ALGORITHM:HEX"),
        (groups(SHA256)[:-18], "ALGORITHM:HEX"),
        (f"see {groups(SHA256)}", "ALGORITHM:HEX"),
        ("sha256:" + "\x1b[2J" + "a" * 60, "64 hex digits"),
        ("sha256:" + "a" * 10**6, "64 hex digits"),
    ],
)
def test_a_checksum_of_the_wrong_kind_is_refused_with_the_right_one_named(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


FORM = "write ALGORITHM:HEX, such as sha256:HEX with 64 hex digits."


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (" sha256:abcd\n", "The sha256 checksum 'abcd' must be 64 hex digits, and it has 4 characters."),
        ("rot13:00", f"The checksum algorithm 'rot13' is not one of {', '.join(SIZES)}."),
        (f"x{'y' * 140}", f"The checksum 'x{'y' * 139}...' is not understood: {FORM}"),
        ("z" * 140, f"The checksum '{'z' * 140}' is not understood: {FORM}"),
    ],
)
def test_the_sentence_about_a_checksum_that_is_none(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert str(caught.value) == says


@given(st.text(max_size=40) | st.from_regex(r"[a-z0-9-]{1,9}[:= ][0-9a-f]{0,70}", fullmatch=True))
def test_any_text_is_a_digest_or_a_usage_error(text: str) -> None:
    try:
        checksum = parse(text)
    except UsageError:
        return
    assert {2 * SIZES[name] for name in checksum.algorithms} == {len(checksum.hex)}
    assert parse(str(checksum)) == checksum


SHA256_64, MD5_64, SHA1_64, CRC32_64 = (base64_of(name) for name in ("sha256", "md5", "sha1", "crc32"))


@pytest.mark.parametrize(
    ("headers", "algorithms"),
    [
        ({"repr-digest": f"sha-256=:{SHA256_64}:"}, {"sha256"}),
        ({"repr-digest": f'md5=:{MD5_64}:;q="a,b", unknown=:AAAA:, sha-256=:{SHA256_64}:'}, {"md5", "sha256"}),
        ({"repr-digest": f"sha-256=:{SHA256_64.rstrip('=')}:"}, {"sha256"}),
        ({"repr-digest": f" \tsha-256=:{SHA256_64}:\t "}, {"sha256"}),
        ({"repr-digest": f"sha-256=:{SHA256_64}:,"}, set()),
        ({"repr-digest": f"sha-256={SHA256_64}"}, set()),
        ({"repr-digest": f"SHA-256=:{SHA256_64}:"}, set()),
        ({"repr-digest": "sha-256=:AAAA:"}, set()),
        ({"repr-digest": f"sha-256=:{MD5_64}:"}, set()),
        ({"content-digest": f"sha-256=:{SHA256_64}:"}, {"sha256"}),
        ({"digest": f"SHA-256={SHA256_64},MD5={MD5_64}"}, {"sha256", "md5"}),
        ({"digest": f" SHA-256 = {SHA256_64} , md5= {MD5_64.rstrip('=')} "}, {"sha256", "md5"}),
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
        ({"x-amz-checksum-sha256": SHA256_64, "x-amz-checksum-type": "composite"}, set()),
        ({"x-amz-checksum-sha256": SHA256_64, "x-amz-checksum-type": "FULL_OBJECT"}, {"sha256"}),
        ({"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}, set()),
        ({"repr-digest": f"sha-256=:{SHA256_64}:, x=:A:"}, set()),
        ({"x-checksum-sha256": SHA256, "x-checksum-sha1": SHA1, "x-checksum-md5": MD5}, {"sha256"}),
        ({"x-checksum-sha256": "junk", "x-checksum-sha1": SHA1.upper(), "x-checksum-md5": MD5}, {"sha1"}),
        ({"x-checksum-md5": MD5}, {"md5"}),
        ({"x-checksum-md5": SHA1}, set()),
        ({"x-linked-etag": f'"{SHA256}"', "x-linked-size": "11", "content-length": "11"}, {"sha256"}),
        ({"x-linked-etag": SHA256, "x-linked-size": "11"}, {"sha256"}),
        ({"x-linked-etag": f'"{SHA256}"', "x-linked-size": "11", "content-length": "12"}, set()),
        ({"x-linked-etag": f'"{SHA256}"'}, set()),
        ({"x-linked-etag": f'"{SHA1}"', "x-linked-size": "11"}, set()),
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
        ("x-checksum-sha256", SHA256, False),
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
    expected = [checksum_of("sha1"), checksum_of("md5")]
    compare(expected, {"md5": MD5, "sha1": SHA1}, "a.iso")
    other = hex_of("md5", b"other")
    with pytest.raises(ChecksumError) as caught:
        compare(expected, {"md5": other, "sha1": SHA1}, "a\x1b.iso")
    assert str(caught.value) == f"a?.iso: the md5 should be {MD5}, and it is {other}."
    assert caught.value.exit_code == 9
    assert algorithms([*expected, *expected]) == ["sha1", "md5"]


@pytest.mark.parametrize("algorithm", BY_64.split())
def test_a_value_without_an_algorithm_is_right_by_any_of_its_length(algorithm: str) -> None:
    computed = {name: hex_of(name) for name in BY_64.split()}
    checksum = parse(hex_of(algorithm))
    assert algorithms([checksum]) == BY_64.split()
    assert matches(checksum, computed)
    assert matches(checksum, {algorithm: hex_of(algorithm)}), "what is not known does not matter"
    compare([checksum], computed, "f.bin")
    wrong = parse(hex_of(algorithm, b"other"))
    assert not matches(wrong, computed)
    with pytest.raises(ChecksumError) as caught:
        compare([wrong], computed, "f.bin")
    assert str(caught.value) == (
        f"f.bin: the sha512, blake2b or sha3-512 should be {wrong.hex}, and the sha512 is {SHA512}."
    )


# --- manifests


def find(text: str | bytes, *targets: str, source: str = "manifest", for_one: bool = False) -> Checksum | None:
    data = text if isinstance(text, bytes) else text.encode()
    return Manifest(data, source, for_one=for_one).find(*targets)


# A manifest's text, its file name, the algorithms that f.bin is looked up with; all digests are of DATA.
FORMS = [
    (f"{SHA256}  f.bin", "", BY_32),
    (f"{SHA256} *f.bin", "", BY_32),
    (f"{SHA256} f.bin", "", BY_32),
    (f"{SHA256}\tf.bin\r\n", "", BY_32),
    (f"{MD5}  g.bin\r{SHA256}  f.bin\r# end", "", BY_32),
    (f"  {SHA256}  f.bin", "", BY_32),
    (f"\\{SHA1}  f.bin", "", "sha1"),
    (f"sha256:{SHA256}  f.bin", "", "sha256"),
    (f"sha256-{base64_of('sha256')} f.bin", "", "sha256"),
    (f"SHA256 (f.bin) = {SHA256.upper()}", "", "sha256"),
    (f"SHA256(f.bin)= {SHA256}", "", "sha256"),
    (f"SHA2-256(f.bin)= {SHA256}", "", "sha256"),
    (f"SHA3-256(f.bin)= {hex_of('sha3-256')}", "", "sha3-256"),
    (f"BLAKE2b (f.bin) = {hex_of('blake2b')}", "", "blake2b"),
    (f"BLAKE2b-256 (f.bin) = {hex_of('blake2b-256')}", "", "blake2b-256"),
    (f"SHA256 (f.bin) = {base64_of('sha256')}", "", "sha256"),
    (f"\\MD5 (f.bin) = {MD5}", "", "md5"),
    (f"f.bin: {SHA256}", "", BY_32),
    (f"f.bin = {SHA1}", "", "sha1"),
    (f"f.bin {SHA1}", "", "sha1"),
    (f"f.bin sha512-{base64_of('sha512')}", "", "sha512"),
    (f"f.bin: sha256:{SHA256}", "", "sha256"),
    (f"f.bin {hex_of('crc32').upper()}", "files.sfv", "crc32"),
    (f"\ufeff{SHA256}  f.bin", "", BY_32),
    # the algorithm from the file's name
    (f"{SHA256}  f.bin", "SHA256SUMS", "sha256"),
    (f"{SHA256}  f.bin", "SHASUMS256.txt", "sha256"),
    (f"{SHA256}  f.bin", "f.bin.sha256", "sha256"),
    (f"{SHA256}  f.bin", "folder.b2/checksums-sha256.txt", "sha256"),
    (f"{SHA256}  f.bin", "sha2sums", "sha256"),
    (f"{SHA256}  f.bin", "SHASUMS", "sha256"),
    (f"{hex_of('blake2b')}  f.bin", "B2SUMS", "blake2b"),
    (f"{hex_of('blake2b')}  f.bin", "f.bin.b2", "blake2b"),
    (f"{hex_of('blake2b-256')}  f.bin", "b2sums.txt", "blake2b-256"),
    (f"{hex_of('blake2s')}  f.bin", "blake2.txt", "blake2s blake2b-256"),
    (f"{hex_of('blake2s')}  f.bin", "blake2s.txt", "blake2s"),
    (f"{hex_of('sha3-256')}  f.bin", "SHA3-256SUMS", "sha3-256"),
    (f"{hex_of('sha3-512')}  f.bin", "f.bin.sha3", "sha3-512"),
    (f"{MD5}  f.bin", "SHA256SUMS", "md5"),
    (f"{SHA256}  f.bin", "blake2s/list.txt", BY_32),
    (f"{SHA256}  f.bin", "blake2s\\list.txt", BY_32),
    (f"{hex_of('crc32')}  f.bin", "crc32.txt", "crc32"),
    (f"{hex_of('sha3-224')}  f.bin", "sha3sum", "sha3-224"),
    (f"{hex_of('sha3-384')}  f.bin", "sha-3.txt", "sha3-384"),
    (f"{SHA1}  f.bin", "SHASUMS", "sha1"),
    (f"{hex_of('sha224')}  f.bin", "SHA2", "sha224"),
    (f"{hex_of('sha384')}  f.bin", "sha-2", "sha384"),
    (f"{SHA512}  f.bin", "sha", "sha512"),
    (f"{hex_of('blake2b')}  f.bin", "blake2", "blake2b"),
    (f"{hex_of('blake2b')}  f.bin", "blake2b", "blake2b"),
    (f"{hex_of('blake2b-256')}  f.bin", "blake2b", "blake2b-256"),
    (f"{hex_of('blake2b-256')}  f.bin", "BLAKE2b_256", "blake2b-256"),
    (f"{SHA256}  f.bin", "b2-release.txt", BY_32),
    (f"{SHA256}  f.bin", "sha512.txt", BY_32),
    # and from a comment or a heading above, which is nearer
    (f"# SHA3-512 sums\n\n{hex_of('sha3-512')}  f.bin", "SHA512SUMS", "sha3-512"),
    (f"; BLAKE2b\n{hex_of('blake2b')}  f.bin", "", "blake2b"),
    (f"// sha256\n# of all files\n{SHA256}  f.bin", "", "sha256"),
    (f"# sha1 or sha256\n{SHA256}  f.bin", "", "sha256"),
    (f"# sha3, or blake2\n{hex_of('blake2b')}  f.bin", "", "blake2b sha3-512"),
    (f"SHA3-256 of all: \n{hex_of('sha3-256')}  f.bin", "", "sha3-256"),
    (f"[sha256]\n{SHA256}  f.bin", "", "sha256"),
    (f"== BLAKE2s checksums ==\n{hex_of('blake2s')}  f.bin", "", "blake2s"),
    (f"The SHA256 digests:\n{SHA256}  f.bin", "", "sha256"),
    (f"# MD5\n{SHA256}  f.bin", "SHA256SUMS", "sha256"),
    (f"sha512 is not used here\n{SHA256}  f.bin", "", BY_32),
    # several of one file: the strongest, in whatever order
    (f"MD5 (f.bin) = {MD5}\nSHA256 (f.bin) = {SHA256}\nSHA1 (f.bin) = {SHA1}", "", "sha256"),
    (f"{SHA512}  f.bin\n{SHA256}  f.bin\n{MD5}  f.bin", "", BY_64),
    (f"{SHA256}  f.bin\nSHA256 (f.bin) = {SHA256}", "", "sha256"),
    (f"{SHA256}  f.bin\n{SHA256}  f.bin", "", BY_32),
    (f"{SHA512}  f.bin\nBLAKE2b (f.bin) = {hex_of('blake2b')}", "", "blake2b"),
    (f"{hex_of('blake2s')}  f.bin\nSHA256 (f.bin) = {SHA256}", "", "blake2s blake2b-256 sha3-256"),
    (f"SHA384 (f.bin) = {hex_of('sha384')}\nSHA3-256 (f.bin) = {hex_of('sha3-256')}", "", "sha384"),
    # gpg --print-md and --print-mds
    (f"f.bin: {groups(SHA256)}", "", BY_32),
    (f"f.bin: {groups(SHA512[:64])}\n       {groups(SHA512[64:])}", "", BY_64),
    (f"f.bin:\n  {groups(SHA512[:64])}\n  {groups(SHA512[64:])}", "", BY_64),
    (f"f.bin:    MD5 = {groups(MD5[:16], 2)}  {groups(MD5[16:], 2)}", "", "md5"),
    (f"f.bin:   SHA1 = {groups(SHA1[:20], 4)}  {groups(SHA1[20:], 4)}", "", "sha1"),
    (f"f.bin: SHA256 = {groups(SHA256[:56])}\n                {groups(SHA256[56:])}", "", "sha256"),
    # a flat JSON object
    (f'{{"f.bin": "{SHA256}", "size": 11}}', "sha256.json", "sha256"),
    (f'\n{{"g.bin": "{MD5}", "f.bin": "sha256:{SHA256}"}}', "", "sha256"),
    (f'{{"f.bin": "sha256-{base64_of("sha256")}"}}', "", "sha256"),
    (f'{{"f.bin": "{MD5}", "f.bin": " {SHA256} "}}', "", BY_32),
]


@pytest.mark.parametrize(("text", "source", "expected"), FORMS)
def test_a_manifest_is_read_in_every_form(text: str, source: str, expected: str) -> None:
    assert find(text, "f.bin", source=source) == checksum_of(expected)
    assert find(text, "other.bin", source=source) is None


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (SHA256, "f.bin.sha256"),
        (f"{SHA256}\n", "f.bin.SHA256"),
        (f"{SHA256}  -\n", "f.bin.sha256sum"),
        (f"SHA2-256(stdin)= {SHA256}", "f.bin.sha256.txt"),
        (f"  (stdin)= {SHA256}", "f.bin.sha256"),
        (f"SHA256: {SHA256}", "folder/f.bin.checksum"),
        (f"sha256:{SHA256}", "f.bin.digest"),
        (f"sha256 hash of it:\n{SHA256}\nCertUtil: -hashfile command completed successfully.", "f.bin.hash"),
        (f"Algorithm : SHA256\nHash      : {SHA256}\nPath      : C:\\x", "f.bin.sha256"),
        (f'{{"sha256": "{SHA256}"}}', "f.bin.sum"),
    ],
)
def test_a_lone_digest_is_of_the_one_file_or_of_that_it_is_named_after(text: str, source: str) -> None:
    assert find(text, "f.bin", source=source) == checksum_of("sha256")
    assert find(text, "g.bin", source=source) is None
    named_otherwise = find(text, "g.bin", source="sha256.txt", for_one=True)
    assert named_otherwise == checksum_of("sha256")
    assert find(text, "g.bin", source="sha256.txt") is None


def test_a_lone_digest_does_not_count_where_the_file_is_listed() -> None:
    text = f"SHA256: {hex_of('sha256', b'other')}\nMD5 (f.bin) = {MD5}"
    assert find(text, "f.bin", for_one=True) == checksum_of("md5")
    assert find(text, "g.bin", for_one=True) == checksum_of("sha256", b"other")
    assert find(f"{SHA256}\n{MD5}", for_one=True) == checksum_of(BY_32), "the strongest"


# The name that is listed, and what the file is called.
SPELLINGS = [
    ("f.bin", "/pool/f.bin"),
    ("./f.bin", "f.bin"),
    ("././x//f.bin", "x/f.bin"),
    ("dist/x/f.bin", "f.bin"),
    ("dist/x/f.bin", "/other/f.bin"),
    ("dist\\x\\f.bin", "f.bin"),
    ("C:\\Users\\me\\f.bin", "f.bin"),
    ("f.bin  ", "f.bin"),
    ("f.bin\t", "f.bin"),
    ("..\\f.bin", "../f.bin"),
    ("b c.bin", _url_path("https://h/b%20c.bin?x=1#y")),
    ("a (1).bin", "a (1).bin"),
    ("a:b.bin", "a_b.bin"),
    ("cafe\u0301.bin", "caf\xe9.bin"),
    ("caf\xe9.bin", _url_path("https://h/caf%E9.bin")),
    ("caf\xe9.bin", _url_path("https://h/cafe%CC%81.bin")),
    (".hidden", ".hidden"),
    ("f.bin", _url_path("f.bin")),
    ("f.bin", _url_path("/x/f.bin?g.bin")),
]


@pytest.mark.parametrize(("listed", "called"), SPELLINGS)
def test_names_are_compared_as_they_are_kept(listed: str, called: str) -> None:
    assert find(f"MD5 ({listed}) = {MD5}", called) == checksum_of("md5")
    assert find(f"{MD5}  {listed}", called) == checksum_of("md5")
    assert find(f"{MD5}  {listed}", called + "x") is None


@pytest.mark.parametrize(
    ("encoding", "bom"),
    [("utf-8", b""), ("latin-1", b""), ("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")],
)
def test_a_manifest_in_any_encoding(encoding: str, bom: bytes) -> None:
    data = bom + f"{MD5}  f.bin\r\n{SHA1}  caf\xe9.bin\r\n".encode(encoding)
    assert find(data, "caf\xe9.bin") == checksum_of("sha1")
    assert find(data, "f.bin") == checksum_of("md5")


def test_a_line_in_latin_1_leaves_the_others_as_they_are() -> None:
    data = f"{MD5}  \u20ac.bin\n".encode() + f"{SHA1}  caf\xe9.bin\n".encode("latin-1")
    assert find(data, "\u20ac.bin") == checksum_of("md5")
    assert find(data, "caf\xe9.bin") == checksum_of("sha1")


def test_a_size_stands_before_the_name_below_a_heading_only() -> None:
    assert find(f"Sums:\n {MD5} 11 f.bin", "11 f.bin") is None
    assert find(f"Sums:\n{MD5} 11 f.bin", "11 f.bin") == checksum_of("md5")
    assert find(f"Sums\n {MD5} 11 f.bin", "11 f.bin") == checksum_of("md5")
    assert find(f" {MD5} 11 f.bin", "11 f.bin") == checksum_of("md5")
    assert find(f"Sums:\n zz 11 f.bin\n {MD5} 11 g.bin", "f.bin") is None
    assert find(f"Sums:\n {MD5} x1 f.bin", "x1 f.bin") == checksum_of("md5")


def test_names_are_unescaped_where_they_are_marked() -> None:
    text = f"\\{MD5}  new\\nline\\\\.iso\n{SHA1}  plain\\nname.iso\n\\MD5 (c\\r) = {MD5}"
    assert list(Manifest(text.encode()).names) == ["new\nline\\.iso", "plain\\nname.iso", "c\r"]


OTHER, OTHER_SHA256 = hex_of("md5", b"other"), hex_of("sha256", b"other")


@pytest.mark.parametrize(
    ("targets", "data"),
    [
        (["/dist/win-x64/node.exe"], DATA),
        (["/dist/win-arm64/node.exe"], b"other"),
        (["win-x64/node.exe"], DATA),
        (["node.exe", "/dist/win-x64/node.exe"], DATA),
        (["/deep/win-x64/readme"], b"deep"),
        (["/win-x64/readme"], b"x64"),
        (["/elsewhere/readme"], b"top"),
        (["readme"], b"top"),
    ],
)
def test_folders_tell_files_of_one_name_apart(targets: list[str], data: bytes) -> None:
    lines = {
        "win-x64/node.exe": DATA,
        "win-arm64/node.exe": b"other",
        "readme": b"top",
        "win-x64//./readme": b"x64",
        "deep/win-x64/readme": b"deep",
    }
    text = "\n".join(f"{hex_of('md5', content)}  {name}" for name, content in lines.items())
    assert find(text, *targets) == checksum_of("md5", data)


@pytest.mark.parametrize(
    ("text", "targets", "says"),
    [
        (
            f"SHA256 (f) = {SHA256}\nSHA256 (f) = {hex_of('sha256', b'x')}",
            ["f"],
            "f has two sha256 digests that differ",
        ),
        (f"{MD5}  f\n{OTHER}  ./f", ["f"], f"manifest: f has two md5 digests that differ, {MD5} and {OTHER}"),
        (f"SHA256 (f) = {SHA256}\nMD5 (f) = {MD5}\nMD5 (f) = {OTHER}", ["f"], "two md5 digests"),
        (f"{SHA512}  f\n{hex_of('blake2b')}  f", ["f"], "two sha512 digests"),
        (f'{{"f": "{MD5}", "f": "{OTHER}"}}', ["f"], "two md5 digests"),
        (f"{MD5}  a/f\n{OTHER}  b/f", ["f"], "^manifest lists several files called f, a/f and b/f: give"),
        (f"{MD5}  a/f\n{OTHER}  b/f", ["/c/f"], "several files called f"),
        (f"{MD5}  a/f\nSHA1 (b/f) = {SHA1}", ["f"], "several files called f"),
        (f"{MD5}  a\n{OTHER}  b", ["/a", "b"], "two md5 digests"),
        (f"{MD5}\n{OTHER}", ["b"], "two md5 digests"),
    ],
)
def test_digests_that_contradict_each_other_are_an_error(text: str, targets: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        find(text, *targets, for_one=True)
    assert str(caught.value).endswith(": give the right one with --checksum.")


def test_one_file_listed_in_several_folders_is_no_contradiction() -> None:
    assert find(f"{MD5}  a/f\n{MD5}  b/f", "f") == checksum_of("md5")
    assert find(f"{MD5}  a\n{MD5}  b", "a", "b") == checksum_of("md5")
    assert find(f"MD5 (a) = {MD5}\nSHA1 (b) = {SHA1}", "a", "b", "c") == checksum_of("sha1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n \n",
        "# none\n",
        "nonsense",
        "  00 00",
        f"- {MD5}  f.bin",
        "{}",
        '{"f": 1}',
        '{"f": ',
        "\\",
        "[" * 10**5,
        "{" * 10**5,
        f"x{MD5}",
    ],
)
def test_a_manifest_without_a_digest_is_an_error(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Manifest(text.encode(), "SU\x1bMS")
    assert str(caught.value) == "SU?MS holds no digest: is it the manifest that was meant?"


# Manifests as the projects publish them: text, file name, what is found, the warning.
PUBLISHED = {
    "Debian SHA256SUMS": (
        f"""\
{SHA256}  debian-12-amd64-netinst.iso
{OTHER_SHA256}  debian-edu-12-amd64-netinst.iso
""",
        "SHA256SUMS",
        {"debian-12-amd64-netinst.iso": "sha256", "debian-mac-12-amd64-netinst.iso": None},
        "",
    ),
    "Debian Release": (
        f"""\
Origin: Debian
Codename: bookworm
Acquire-By-Hash: yes
MD5Sum:
 {MD5}  1484322 main/binary-amd64/Packages.gz
 {OTHER}    738242 main/binary-arm64/Packages.gz
SHA256:
 {SHA256}  1484322 main/binary-amd64/Packages.gz
 {OTHER_SHA256}    738242 main/binary-arm64/Packages.gz
""",
        "Release",
        {"/debian/dists/bookworm/main/binary-amd64/Packages.gz": "sha256", "main/binary-armhf/Release": None},
        "Release: line 1 and 4 more hold no digest that is understood.",
    ),
    "Debian .dsc": (
        f"""\
-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA512

Format: 3.0 (quilt)
Checksums-Sha1:
 {SHA1} 11 a.tar.xz
Checksums-Sha256:
 {SHA256} 11 a.tar.xz
Files:
 {MD5} 11 a.tar.xz

-----BEGIN PGP SIGNATURE-----

iQIzBAEBCAAdFiEE
-----END PGP SIGNATURE-----
""",
        "a.dsc",
        {"a.tar.xz": "sha256", "11 a.tar.xz": None},
        "a.dsc: line 4 and 3 more hold no digest that is understood.",
    ),
    "Arch sha256sums.txt": (
        f"""\
{SHA256}  archlinux-2024.01.01-x86_64.iso
{SHA256}  archlinux-x86_64.iso
""",
        "sha256sums.txt",
        {"/iso/latest/archlinux-x86_64.iso": "sha256"},
        "",
    ),
    "Arch b2sums.txt": (
        f"{hex_of('blake2b')}  archlinux-x86_64.iso\n",
        "b2sums.txt",
        {"archlinux-x86_64.iso": "blake2b"},
        "",
    ),
    "GitHub release": (
        f"""\
{SHA256}  tool_1.2_linux_amd64.tar.gz
{SHA256} *./tool_1.2_windows.zip
""",
        "tool_1.2_checksums.txt",
        {"tool_1.2_linux_amd64.tar.gz": BY_32, "tool_1.2_windows.zip": BY_32, "tool_1.2_darwin.zip": None},
        "",
    ),
    "Fedora CHECKSUM": (
        f"""\
-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA1

# Fedora-Server-dvd-39.iso: 2612854784 bytes
SHA256 (Fedora-Server-dvd-39.iso) = {SHA256}
# Fedora-Server-netinst-39.iso: 736499712 bytes
SHA256 (Fedora-Server-netinst-39.iso) = {OTHER_SHA256}
- {SHA256}  -escaped
-----BEGIN PGP SIGNATURE-----

{SHA256}  Fedora-Server-dvd-40.iso
=gLoj
-----END PGP SIGNATURE-----
{MD5}  behind
""",
        "Fedora-Server-39-CHECKSUM",
        {
            "Fedora-Server-dvd-39.iso": "sha256",
            "Fedora-Server-dvd-40.iso": None,
            "-escaped": BY_32,
            "behind": "md5",
        },
        "",
    ),
    "FreeBSD distinfo": (
        f"""\
TIMESTAMP = 1700000000
SHA256 (curl-8.5.tar.xz) = {SHA256}
SIZE (curl-8.5.tar.xz) = 2657064
""",
        "distinfo",
        {"curl-8.5.tar.xz": "sha256"},
        "distinfo: line 1 and 1 more hold no digest that is understood.",
    ),
    "FreeBSD CHECKSUM": (
        f"SHA512 (FreeBSD-14.0-amd64-disc1.iso) = {SHA512}\n",
        "CHECKSUM.SHA512-FreeBSD-14.0",
        {"FreeBSD-14.0-amd64-disc1.iso": "sha512"},
        "",
    ),
    "OpenBSD SHA256.sig": (
        f"""\
untrusted comment: verify with openbsd-74-base.pub
RWRoyQmAD08ajTqgzK3UcWaVlwaJMckH9/CshU8Md5pN1GoIrcBdTF+c=
SHA256 (base74.tgz) = {SHA256}
""",
        "SHA256.sig",
        {"base74.tgz": "sha256"},
        "SHA256.sig: line 1 and 1 more hold no digest that is understood.",
    ),
    "Node.js SHASUMS256.txt": (
        f"""\
{SHA256}  node-v20.tar.gz
{SHA256}  win-x64/node.exe
{OTHER_SHA256}  win-arm64/node.exe
""",
        "SHASUMS256.txt",
        {"/dist/v20/node-v20.tar.gz": "sha256", "/dist/v20/win-x64/node.exe": "sha256"},
        "",
    ),
    "PowerShell Get-FileHash": (
        f"""\

Algorithm       Hash                                                                   Path
---------       ----                                                                   ----
SHA256          {SHA256.upper()}       C:\\a folder\\f.bin


""".replace("\n", "\r\n"),
        "hashes.txt",
        {"f.bin": "sha256", "a folder/f.bin": "sha256"},
        "hashes.txt: line 2 holds no digest that is understood.",
    ),
    "Apache .sha512": (
        f"""\
apache-tool-1.0.tar.gz: {groups(SHA512[:64])}
                        {groups(SHA512[64:])}
""",
        "apache-tool-1.0.tar.gz.sha512",
        {"apache-tool-1.0.tar.gz": "sha512"},
        "",
    ),
    "several algorithms, some unknown": (
        f"""\
RMD160 (f.bin) = {SHA1}
SHA512/256 (f.bin) = {SHA256}
SHA1 (f.bin) = {SHA1}
""",
        "SUMS",
        {"f.bin": "sha1"},
        "SUMS: line 1 and 1 more hold no digest that is understood.",
    ),
}


@pytest.mark.parametrize(("text", "source", "found", "warning"), PUBLISHED.values(), ids=PUBLISHED)
def test_a_manifest_as_it_is_published(
    text: str, source: str, found: dict[str, str | None], warning: str
) -> None:
    manifest = Manifest(text.encode(), source)
    for target, expected in found.items():
        assert manifest.find(target) == (None if expected is None else checksum_of(expected)), target
    assert manifest.warning == warning


def test_the_warning_names_what_is_left_out_of_json() -> None:
    assert Manifest(f'{{"f": "{MD5}", "a\\u001b": 1, "b": "x"}}'.encode()).warning == (
        "manifest: the member 'a?' and 1 more hold no digest that is understood."
    )


def test_the_names_are_those_that_are_listed_each_once() -> None:
    text = f"{MD5}  b\n{SHA1}  ./a\nSHA256 (b) = {SHA256}\n{MD5}  ..\n"
    assert list(Manifest(text.encode()).names) == ["b", "./a"]
    assert list(Manifest(MD5.encode(), "f.bin.md5").names) == ["f.bin"]
    assert list(Manifest(MD5.encode(), "SUMS").names) == []


def test_comments_and_blank_lines_are_not_worth_a_warning() -> None:
    assert Manifest(f"# a\n; b\n  // c\n\n \n{MD5}  f.bin".encode()).warning == ""


LINES = [text for text, _, _ in FORMS] + ["-----BEGIN PGP SIGNED MESSAGE-----", "SHA256:", "- x", " 00 00"]


@given(st.lists(st.text(max_size=90) | st.sampled_from(LINES), max_size=5), st.text(max_size=9))
def test_any_manifest_gives_digests_or_an_error(lines: list[str], target: str) -> None:
    try:
        found = find("\n".join(lines).encode("utf-8", "surrogatepass"), target, *lines, source=target)
    except UsageError:
        return
    assert found is None or {2 * SIZES[name] for name in found.algorithms} == {len(found.hex)}


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a ",
        " ",
        "(",
        ")=",
        ") = x ",
        "00 ",
        "aa: ",
        "\\",
        "{",
        "sha256:",
        "#",
        "-",
        "0" * 63 + " ",
        "hash ",
    ],
)
def test_a_manifest_of_the_greatest_size_is_read_in_linear_time(unit: str) -> None:
    for end in ("", f"\n{MD5}"):
        text = unit * (2_000_000 // len(unit)) + end
        long_lines = "\n".join([unit * (9_990 // len(unit)) + "?"] * 100) + end
        for data in (text, long_lines):
            try:
                find(data, "f.bin")
            except UsageError:
                assert not end or unit == "{"


# --- what a job's file must hash to

LISTED = Manifest(f"{MD5}  f.bin".encode(), "SU\x1bMS")


@pytest.mark.parametrize(
    ("job", "name", "manifest", "expected"),
    [
        (Job("https://h/f.bin"), "", None, None),
        (Job("https://h/f.bin", checksum=f"sha1:{SHA1}"), "f.bin", None, "sha1"),
        (Job("https://h/f.bin", checksum=f"sha1:{SHA1}"), "f.bin", LISTED, "sha1"),
        (Job("https://h/f.bin"), "", LISTED, "md5"),
        (Job("https://h/f%2Ebin?x=/g.bin"), "", LISTED, "md5"),
        (Job("x/f.bin"), "", LISTED, "md5"),
        (Job("https://h/f.bin", "g.bin"), "h.bin", LISTED, "md5"),
        (Job("https://h/get?f.bin"), "", LISTED, None),
        (Job("https://h/get"), "f.bin", LISTED, "md5"),
        (Job("https://h/get", "f.bin"), "g.bin", LISTED, "md5"),
        (Job("https://h/get", "-"), "f.bin", LISTED, "md5"),
        (Job("https://h/", "-"), "", LISTED, None),
        (Job("https://f.bin"), "", LISTED, None),
    ],
)
def test_a_file_is_looked_up_by_all_its_names_unless_its_job_has_a_checksum(
    job: Job, name: str, manifest: Manifest | None, expected: str | None
) -> None:
    found = ChecksumPolicy(manifest).find(job, name)
    assert found == (None if expected is None else checksum_of(expected))


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (ChecksumPolicy(), ""),
        (ChecksumPolicy(unlisted=True), ""),
        (ChecksumPolicy(LISTED, unlisted=True), "a?b is not listed in SU?MS, and is not verified."),
    ],
)
def test_a_file_may_do_without_a_checksum_where_none_was_asked_for(policy: ChecksumPolicy, says: str) -> None:
    assert policy.unknown("a\x1bb") == says


NOT_KNOWN = "a?b has no known checksum, and one is required: give it with --checksum."
NOT_LISTED = (
    "a?b is not listed in SU?MS: give its digest with --checksum, or --allow-unlisted to take it unchecked."
)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (ChecksumPolicy(required=True), NOT_KNOWN),
        (ChecksumPolicy(LISTED), NOT_LISTED),
        (ChecksumPolicy(LISTED, required=True), NOT_LISTED),
        (ChecksumPolicy(LISTED, required=True, unlisted=True), NOT_KNOWN),
    ],
)
def test_a_file_without_the_checksum_that_was_asked_for_is_refused(policy: ChecksumPolicy, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        policy.unknown("a\x1bb")
    assert str(caught.value) == says
