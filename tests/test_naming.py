"""Names: headers against two public parsers of Content-Disposition, anything at all against the file system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import contentdisp
import pytest
from browser_download_filename import parse_content_disposition
from hypothesis import example, given
from hypothesis import strategies as st

from fetchq import _naming
from fetchq._errors import UsageError
from fetchq._naming import MAX_BYTES, candidates, guess, home_expanded, name_from, place, printable, sanitise

LONGEST_SUFFIX = ".part.json.tmp"
HOSTILE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def wire(text: str) -> str:
    """Text as an HTTP library hands it over whose server sent UTF-8."""
    return text.encode().decode("latin-1")


# Content-Disposition -> the name we give it; both oracles agree after our sanitiser.
AGREED = [
    ('attachment; filename="plain.txt"', "plain.txt"),
    ("attachment; filename=plain.txt", "plain.txt"),
    ('inline; filename="inline.pdf"', "inline.pdf"),
    ('ATTACHMENT; FILENAME="upper.txt"', "upper.txt"),
    ('attachment;filename="tight.txt"', "tight.txt"),
    ('attachment; filename = "blanks.txt"', "blanks.txt"),
    ('attachment; filename="two words.txt"', "two words.txt"),
    ("attachment; filename=two words.txt", "two words.txt"),
    ('attachment; filename="semi;colon.txt"', "semi;colon.txt"),
    ('attachment; filename="quo\\"ted.txt"', "quo_ted.txt"),
    ('attachment; filename="f\\oo.html"', "foo.html"),
    ('attachment; filename="C:\\\\dir\\\\file.txt"', "file.txt"),
    ('attachment; filename="../../etc/passwd"', "passwd"),
    ('attachment; filename="/etc/passwd"', "passwd"),
    ('attachment; filename="..\\\\..\\\\boot.ini"', "boot.ini"),
    ('attachment; filename=".."', "download"),
    ('attachment; filename=""', "download"),
    ("attachment; filename=", "download"),
    ("attachment", "download"),
    ("attachment;", "download"),
    ("", "download"),
    ('filename="untyped.txt"', "untyped.txt"),
    ("filename=untyped.txt", "untyped.txt"),
    ('attachment; filename="open.txt', "open.txt"),
    ('attachment; filename="first.txt"; filename="second.txt"', "first.txt"),
    ('attachment; filename="first.txt", attachment; filename="second.txt"', "first.txt"),
    ('attachment; filename="trail.txt";', "trail.txt"),
    ('attachment; size=5; filename="after.txt"', "after.txt"),
    ('form-data; name="f"; filename="form.txt"', "form.txt"),
    ('attachment; name="only-name.txt"', "download"),
    ('attachment; foo="; filename=evil.txt"; filename="good.txt"', "good.txt"),
    ('attachment; xfilename="x.txt"', "download"),
    ("attachment; filename*=UTF-8''%e2%82%ac%20rates.txt", "€ rates.txt"),
    ("attachment; filename*=utf-8'en'%C3%A4.txt", "ä.txt"),
    ("attachment; filename*=iso-8859-1''%E4.txt", "ä.txt"),
    ("attachment; filename*=ISO-8859-1''caf%e9.txt", "café.txt"),
    ("attachment; filename=\"plain.txt\"; filename*=UTF-8''star.txt", "star.txt"),
    ("attachment; filename*=UTF-8''star.txt; filename=\"plain.txt\"", "star.txt"),
    ("attachment; filename*=UTF-8''%ff%fe.txt; filename=\"plain.txt\"", "plain.txt"),
    ("attachment; filename*=UTF-8''%ff.txt", "download"),
    ('attachment; filename*=star.txt; filename="plain.txt"', "plain.txt"),
    ("attachment; filename*=''nocharset.txt; filename=\"plain.txt\"", "plain.txt"),
    ('attachment; filename*=UTF-8\'nolanguage.txt; filename="plain.txt"', "plain.txt"),
    ("attachment; filename*=unicode_escape''%5Cu4F60.txt; filename=\"plain.txt\"", "plain.txt"),
    ("attachment; filename*=UTF-8''..%2f..%2fetc%2fpasswd", "passwd"),
    ("attachment; filename*=UTF-8''%e2%80%aegnp.exe", "gnp.exe"),
    ('attachment; filename="ä-latin1.txt"', "ä-latin1.txt"),
    ('attachment; filename="100% sure.txt"', "100% sure.txt"),
    ("attachment; filename='single.txt'", "'single.txt'"),
    ('attachment; filename="CON.txt"', "_CON.txt"),
    ('attachment; filename=".htaccess"', "htaccess"),
    ('attachment; filename="trailing.txt. . "', "trailing.txt"),
]
UTF8_BYTES = "bytes above ASCII that are UTF-8 are read as UTF-8, like every browser; contentdisp keeps Latin-1"
ENCODED_PLAIN = (
    "an unambiguous percent-encoded plain filename is decoded, like browsers; contentdisp follows the RFC"
)
CHARSETS = "servers use other charsets and spellings than the RFC's, and what they mean is beyond doubt"
RFC_2231 = "mail libraries cut long names in pieces, and nothing else can be meant"
# Content-Disposition, our name, contentdisp's, the browser's, why ours is the better one here.
DIFFERENT = [
    (
        '"attachment"; filename="quoted-type.txt"',
        ("quoted-type.txt", "quoted-type.txt", "download"),
        "a type in quotes is wrong, and still the name is the best one there is",
    ),
    (
        'attachment; filename="trail.txt" garbage; size=5',
        ("trail.txt", "trail.txt", "trail.txt_ garbage"),
        "what follows the closing quote is not part of the name",
    ),
    (
        "attachment; filename*=windows-1252''%80.txt; filename=\"euro.txt\"",
        ("€.txt", "euro.txt", "€.txt"),
        "servers use other charsets than the RFC's, and what they mean is beyond doubt",
    ),
    (
        'attachment; filename*="UTF-8\'\'quoted%20star.txt"; filename="plain.txt"',
        ("quoted star.txt", "plain.txt", "plain.txt"),
        "quotes around the extended value are a common mistake, and nothing else can be meant",
    ),
    (
        "attachment; filename*=UTF-8''bare space.txt",
        ("bare space.txt", "download", "bare space.txt"),
        "an unencoded blank is read like the browser does",
    ),
    (
        "attachment; filename*=UTF-8''; filename=\"plain.txt\"",
        ("plain.txt", "download", "plain.txt"),
        "an empty name is none",
    ),
    (
        "attachment; filename*=UTF-8''a%00b.txt",
        ("ab.txt", "download", "ab.txt"),
        "the control character goes, the rest of the name stays",
    ),
    (
        "attachment; filename*=UTF-8''100%.txt; filename=\"plain.txt\"",
        ("plain.txt", "plain.txt", "100%.txt"),
        "a malformed filename* does not beat a good filename (RFC 6266 section 4.3)",
    ),
    (
        "attachment; filename*=UTF-8''100%.txt",
        ("100%.txt", "download", "100%.txt"),
        "without another name, a per cent sign that begins no escape is read like the browser does",
    ),
    (
        "attachment; filename*=utf8''%C3%A4.txt",
        ("ä.txt", "download", "ä.txt"),
        CHARSETS,
    ),
    ("attachment; filename*=EUC-KR''%C7%D1.txt", ("한.txt", "download", "한.txt"), CHARSETS),
    ("attachment; filename*=gbk''%C4%E3.txt", ("你.txt", "download", "你.txt"), CHARSETS),
    (
        "attachment; filename*=iso-8859-1''%93a%94.txt",
        ("“a”.txt", "download", "“a”.txt"),
        "in ISO-8859-1 the bytes 80 to 9F are Windows-1252's, as in browsers",
    ),
    (
        'attachment; filename="\x93a\x94.txt"',
        ("“a”.txt", "a.txt", "a.txt"),
        "in ISO-8859-1 the bytes 80 to 9F are Windows-1252's, as in browsers",
    ),
    (
        'attachment; filename="C:\\Users\\bob\\new report.txt"',
        ("new report.txt", "C_Usersbobnew report.txt", "C_Usersbobnew report.txt"),
        "old browsers' and scripts' paths hold backslashes that escape nothing",
    ),
    (
        'attachment; filename*0="con"; filename*1="tinued.txt"',
        ("continued.txt", "download", "download"),
        RFC_2231,
    ),
    (
        "attachment; filename*1*=%A4.txt; filename*0*=UTF-8''%C3; filename=plain.txt",
        ("ä.txt", "plain.txt", "plain.txt"),
        RFC_2231,
    ),
    (
        'attachment; filename*0="50% é"; filename*1*=%C3%A4; filename*3=no',
        ("50% éä", "download", "download"),
        RFC_2231,
    ),
    (
        'attachment; filename="%E4%BD%A0%E5%A5%BD.txt"',
        ("你好.txt", "%E4%BD%A0%E5%A5%BD.txt", "你好.txt"),
        ENCODED_PLAIN,
    ),
    (
        "attachment; filename=%E4%BD%A0%E5%A5%BD.txt",
        ("你好.txt", "%E4%BD%A0%E5%A5%BD.txt", "你好.txt"),
        ENCODED_PLAIN,
    ),
    ('attachment; filename="50%25.txt"', ("50%.txt", "50%25.txt", "50%.txt"), ENCODED_PLAIN),
    (
        "attachment; filename=%E4%BD%A0.txt ; size=5",
        ("你.txt", "%E4%BD%A0.txt", "你.txt"),
        ENCODED_PLAIN,
    ),
    (
        'attachment; filename="a%20b c.txt"',
        ("a%20b c.txt", "a%20b c.txt", "a b c.txt"),
        "an encoder would have escaped both blanks, so this was perhaps no escape",
    ),
    (
        "attachment; filename*=UTF-8''it's.txt",
        ("it's.txt", "download", "download"),
        "an apostrophe that was not encoded leaves no doubt what is meant",
    ),
    (
        "attachment; filename*=UTF-8''\ud800a.txt",
        ("_a.txt", "download", "download"),
        "what cannot be encoded is replaced, and the rest of the name stays",
    ),
    (
        'attachment; filename="%ff.txt"',
        ("%ff.txt", "%ff.txt", "download"),
        "escapes that are not UTF-8 were perhaps no escapes",
    ),
    (
        'attachment; filename="=?UTF-8?B?4oKsLnR4dA==?="',
        ("=_UTF-8_B_4oKsLnR4dA==_=", "=_UTF-8_B_4oKsLnR4dA==_=", "€.txt"),
        "RFC 2047 words are not for HTTP headers (RFC 6266 appendix C.1)",
    ),
    (
        'attachment; filename="tab\tin.txt"',
        ("tabin.txt", "tabin.txt", "tab in.txt"),
        "control characters go without a trace",
    ),
    (wire('attachment; filename="äöü.txt"'), ("äöü.txt", "Ã¤Ã¶Ã¼.txt", "äöü.txt"), UTF8_BYTES),
    (wire('attachment; filename="你好.txt"'), ("你好.txt", "ä½_å¥½.txt", "你好.txt"), UTF8_BYTES),
]


def ours(field: str) -> str:
    return name_from({"content-disposition": field}, "https://host/")


def oracles(field: str) -> tuple[str, str]:
    browser = parse_content_disposition(field).filename
    return sanitise(contentdisp.parse(field).filename or ""), sanitise(browser or "")


@pytest.mark.parametrize(("field", "name"), AGREED)
def test_content_disposition_agrees_with_two_public_parsers(field: str, name: str) -> None:
    assert (ours(field), *oracles(field)) == (name, name, name)


@pytest.mark.parametrize(("field", "names", "reason"), DIFFERENT)
def test_every_difference_from_the_public_parsers_is_meant(
    field: str, names: tuple[str, str, str], reason: str
) -> None:
    found = (ours(field), *oracles(field))
    assert tuple(name.replace("\xa0", "_") for name in found) == names, reason
    assert len(set(names)) > 1


PARAMETER_TEXT = st.text(st.sampled_from("ab.c ;,=\"\\'%2Ffé€*/"), max_size=12)


@given(plain=PARAMETER_TEXT, star=st.none() | PARAMETER_TEXT, first=st.booleans())
def test_any_header_that_was_built_by_the_rules_is_read_as_it_was_meant(
    plain: str, star: str | None, first: bool
) -> None:
    quoted = plain.replace("\\", "\\\\").replace('"', '\\"')
    fields = [f'filename="{quoted}"']
    if star is not None:
        fields.insert(
            0 if first else 1, "filename*=utf-8''" + "".join(f"%{byte:02x}" for byte in star.encode())
        )
    field = "; ".join(["attachment", *fields])
    meant = [raw for raw in (star, plain) if raw]
    if "%" not in plain:
        names = [sanitise(raw) for raw in meant]
        assert ours(field) == next((name for name in names if name != "download"), "download")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/a/b.iso", "b.iso"),
        ("https://host/a/b.iso?x=/y/z#/w", "b.iso"),
        ("https://host/a/dir/", "dir"),
        ("https://host/", "download"),
        ("https://host", "download"),
        ("https://host?name=x", "download"),
        ("https://user:pw@host:8080/x.bin", "x.bin"),
        ("https://host/%E4%BD%A0%20%e2%82%ac.txt", "你 €.txt"),
        ("https://host/caf%e9.txt", "café.txt"),
        ("https://host/caf%e9/%E4%BD%A0.txt", "你.txt"),
        ("https://host/X%E4%BD%A0X", "X你X"),
        ("https://host/..%2f..%2fetc%2fpasswd", "passwd"),
        ("https://host/a%5cb.txt", "b.txt"),
        ("https://host/a+b.txt", "a+b.txt"),
        ("https://host/100%.txt", "100%.txt"),
        ("https://host/.netrc", "netrc"),
        ("https://[::1/x.bin", "x.bin"),
        ("files/a.iso", "a.iso"),
        ("files//a.iso", "a.iso"),
        ("//host/a.iso", "a.iso"),
        ("https://host/é\ud800.txt", "é_.txt"),
        ("", "download"),
    ],
)
def test_a_name_from_the_url_is_its_last_segment_decoded(url: str, name: str) -> None:
    assert guess(url) == name_from({}, url) == name


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("a/b/c.txt", "c.txt"),
        ("a\\b\\c.txt", "c.txt"),
        ("dir/", "dir"),
        ("a\\dir\\", "dir"),
        ("e\u0301.txt", "é.txt"),
        ("XéX", "XéX"),
        (".Xrc", "Xrc"),
        ("\u3000é\u00a0", "é"),
        ("e" + "\u0301" * 300, "é" + "\u0301" * 118),
        ("\x1b[2Jclear.txt", "[2Jclear.txt"),
        ("a\u009bb", "ab"),
        ("photo\u202egpj.exe", "photogpj.exe"),
        ("\ufeffbom.txt", "bom.txt"),
        ("zero\u200bwidth", "zerowidth"),
        ("join\u200ced", "joined"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        ("👩\u200d🔬.png", "👩\u200d🔬.png"),
        ("line\u2028sep\u2029", "linesep"),
        ("half\ud800.txt", "half.txt"),
        ('a<b>c:d"e|f?g*h', "a_b_c_d_e_f_g_h"),
        ("nul", "_nul"),
        ("Con.tar.gz", "_Con.tar.gz"),
        ("COM¹.txt", "_COM¹.txt"),
        ("com0", "_com0"),
        ("LPT9 .txt", "_LPT9 .txt"),
        ("CONIN$", "_CONIN$"),
        ("console.txt", "console.txt"),
        ("COM10", "COM10"),
        ("dots...", "dots"),
        ("blank .", "blank"),
        ("...", "download"),
        ("..", "download"),
        (" . ", "download"),
        ("\u200b", "download"),
        ("\u3164", "download"),
        (" .hidden", "hidden"),
        ("a.part", "a.part_"),
        ("a.PART", "a.PART_"),
        ("a.part.json", "a.part.json_"),
        ("a.part.json.tmp", "a.part.json.tmp_"),
        ("a.part.bad", "a.part.bad_"),
        ("part", "part"),
        ("a.parts", "a.parts"),
        ("fetchq.toml", "fetchq.toml_"),
        ("fetchq.toml.", "fetchq.toml_"),
    ],
)
def test_sanitise(raw: str, name: str) -> None:
    assert sanitise(raw) == name


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (".bashrc", ".bashrc"),
        (" .bashrc", ".bashrc"),
        ("..x", "..x"),
        (".", "download"),
        ("..", "download"),
        (".part", ".part_"),
        (".fetchq.db", ".fetchq.db_"),
        (".fetchq.db-wal", ".fetchq.db-wal_"),
    ],
)
def test_dotfiles_only_if_asked_for_and_never_ours(raw: str, name: str) -> None:
    assert sanitise(raw, dotfiles=True) == name
    assert not sanitise(raw).startswith(".")


def test_a_dotfile_of_the_url_keeps_its_dot_only_if_asked_for() -> None:
    assert name_from({}, "https://host/a/.bashrc", dotfiles=True) == ".bashrc"
    assert name_from({}, "https://host/a/.bashrc") == "bashrc"


@pytest.mark.parametrize("suffix", [".iso", ".tar.gz", ".fastq.gz", ".tar.zst", ".torrent", ".iso.sig"])
@pytest.mark.parametrize("letter", ["a", "é", "你", "😀", "👩\u200d🔬", "👍🏻", "👍🏿", "e\u0327\u0301"])
def test_a_long_name_is_cut_between_letters_and_keeps_its_suffix(letter: str, suffix: str) -> None:
    whole = unicodedata.normalize("NFC", letter)
    # Each place within a letter that the bound can fall on.
    for before in ("x" * count for count in range(len(whole.encode()))):
        name = sanitise(before + letter * 300 + suffix)
        letters = name.removeprefix(before).removesuffix(suffix)
        assert name.endswith(suffix)
        assert letters == whole * (len(letters) // len(whole))
        assert MAX_BYTES - len(whole.encode()) < len(name.encode()) <= MAX_BYTES


def assert_safe(name: str) -> None:
    assert 0 < len(name.encode()) <= MAX_BYTES
    assert len((name + LONGEST_SUFFIX).encode()) <= 255
    assert "/" not in name
    assert "\\" not in name
    assert name not in {".", ".."}
    assert not HOSTILE.search(name)
    assert unicodedata.is_normalized("NFC", name)
    assert not re.fullmatch(r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])([ .].*)?", name)
    assert not name.lower().endswith((".part", ".part.json", ".part.bad", ".part.json.tmp", " ", "."))
    assert name.lower() != "fetchq.toml"
    assert not re.fullmatch(r"(?i)\.fetchq\.db(-wal|-shm|-journal)?", name)


# Text where the rules meet: devices, dots, our suffixes, marks, joiners, half characters.
PIECES = st.sampled_from(
    [
        *"a.é €/\\ _-",
        *"\u0301\u0338\u200c\u200d\u200b\u202e\ufeff\ud83d\udc80\u3000\u037e\u212a\x00\x1b\x85<>:👩🏽🇬",
        *[
            "con",
            "COM1",
            "LPT¹",
            ".part",
            ".json",
            ".bad",
            ".tmp",
            "fetchq",
            ".toml",
            ".fetchq.db",
            ".tar.gz",
            "..",
        ],
        *["a" * 120, "é" * 60, "\u0301" * 130, "👩\u200d" * 40, "a" * 235],
    ]
)
NASTY = (
    st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=60) | st.text(st.characters(), max_size=300)
)


@given(raw=NASTY, dotfiles=st.booleans())
@example(raw="é\u200d\u3000", dotfiles=False)
@example(raw="a" * 235 + ".part" + "x" * 16, dotfiles=False)
def test_sanitise_is_safe_and_changes_nothing_the_second_time(raw: str, dotfiles: bool) -> None:
    name = sanitise(raw, dotfiles=dotfiles)
    assert_safe(name)
    assert dotfiles or not name.startswith(".")
    assert sanitise(name, dotfiles=dotfiles) == name


@given(
    field=NASTY, wrap=st.sampled_from(["{}", 'a; filename="{}"', "a; filename={}", "a; filename*=utf-8''{}"])
)
def test_name_from_is_safe_for_any_header(field: str, wrap: str) -> None:
    assert_safe(name_from({"content-disposition": wrap.format(field)}, "https://host/x"))


@given(url=NASTY, prefix=st.sampled_from(["https://host/", "", "https://host/%2e%2e%2f", "//"]))
def test_guess_is_safe_for_any_url(url: str, prefix: str) -> None:
    assert_safe(guess(prefix + url))


@given(url=NASTY, prefix=st.sampled_from(["https://host/", "http:", "", "//", "///", "a/b://"]))
def test_guess_finds_the_end_of_the_path_by_its_slashes(url: str, prefix: str) -> None:
    url = prefix + url.replace("?", "/").replace("#", "/")
    assert _naming.guess(url) == _naming.guess(f"{url}#fragment")


@given(raw=NASTY)
def test_candidates_are_safe_and_all_different(raw: str) -> None:
    names = list(islice(candidates(sanitise(raw)), 120))
    assert names[0] == sanitise(raw)
    assert len(set(names)) == len(names)
    for name in names:
        assert_safe(name)


@pytest.mark.parametrize(
    ("name", "tried"),
    [
        ("a.iso", ["a.iso", "a.1.iso", "a.2.iso"]),
        ("a.tar.gz", ["a.tar.gz", "a.1.tar.gz", "a.2.tar.gz"]),
        ("README", ["README", "README.1", "README.2"]),
        (".bashrc", [".bashrc", ".bashrc.1", ".bashrc.2"]),
        ("v1.2.gz", ["v1.2.gz", "v1.2.1.gz", "v1.2.2.gz"]),
        ("a" * 238, ["a" * 238, "a" * 236 + ".1", "a" * 236 + ".2"]),
    ],
)
def test_candidates_put_the_number_before_the_suffix(name: str, tried: Iterable[str]) -> None:
    assert list(islice(candidates(name), 3)) == tried


@pytest.mark.parametrize(
    ("out", "folder", "name"),
    [
        ("a.iso", "", "a.iso"),
        ("b/c/a.iso", "b/c", "a.iso"),
        ("./b//a.iso", "b", "a.iso"),
        ("b/./a.iso", "b", "a.iso"),
        ("a" * 255 + "/b", "a" * 255, "b"),
        (".bashrc", "", ".bashrc"),
        ("what: ever?", "", "what: ever?"),
        ("back\\slash", "", "back\\slash"),
        ("...", "", "..."),
        ("a" * 238, "", "a" * 238),
    ],
)
def test_the_users_own_name_is_kept_as_written(out: str, folder: str, name: str) -> None:
    assert place(Path("d"), out, name="other") == (Path("d") / folder, name)


def test_without_a_target_the_name_goes_into_the_directory() -> None:
    assert place(Path("d"), None, name="x.iso") == (Path("d"), "x.iso")
    assert place(Path("d"), None) == (Path("d"), "")


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("", "it is empty"),
        ("a/..", "it names a folder, not a file"),
        ("a/", "it names a folder, not a file"),
        ("a/.", "it names a folder, not a file"),
        (".", "it names a folder, not a file"),
        ("a\0b", "it holds a control character"),
        ("a\x1b[2J", "it holds a control character"),
        ("a\nb", "it holds a control character"),
        ("a\u202eb", "it holds a control character"),
        ("a\udc80b", "it holds a control character or one that cannot be encoded"),
        ("a" * 239, "its name is longer than 238 bytes"),
        ("a" * 256 + "/b", "a folder's name is longer than 255 bytes"),
    ],
)
def test_a_target_that_cannot_be_used_is_refused_in_one_printable_sentence(out: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"cannot be used: {says}") as caught:
        place(Path("d"), out)
    assert printable(str(caught.value)) == str(caught.value)


@pytest.mark.parametrize(
    ("out", "path"),
    [
        ("/etc/a", "/etc/a"),
        ("/etc//./a", "/etc/a"),
        ("../a", "d/../a"),
        ("b/../../a", "d/b/../../a"),
        ("~/a", "/home/me/a"),
        ("~", "/home/me"),
        ("~nobody-of-that-name/a", "d/~nobody-of-that-name/a"),
        ("a~", "d/a~"),
        ("./~", "d/~"),
    ],
)
def test_the_users_own_path_may_lead_anywhere(monkeypatch: pytest.MonkeyPatch, out: str, path: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert place(Path("d"), out) == (Path(path).parent, Path(path).name)
    if out == "./~":
        return  # a Path has no leading dot
    assert place(Path("d"), None, dir=Path(out), name="n") == (Path(path), "n")
    if path.startswith("/") or ".." in path:
        for words in ((out, None), ("x", Path(out))):
            with pytest.raises(UsageError, match=r"leads out of the directory, .* with --allow-outside"):
                place(Path("d"), words[0], dir=words[1], confined=True)


def test_what_is_below_the_directory_is_inside_however_it_is_written() -> None:
    assert place(Path("/srv"), "/srv/a/b", confined=True) == (Path("/srv/a"), "b")
    assert place(Path("/srv"), "b", dir=Path("/srv/a"), confined=True) == (Path("/srv/a"), "b")
    for out in ("/srv", "/srv/../etc", "/srvs/a"):
        with pytest.raises(UsageError, match="leads out"):
            place(Path("/srv"), None, dir=Path(out, ".."), confined=True)


def test_a_home_that_is_not_known_makes_no_folder_called_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    for text in ("~", "~/a"):
        with pytest.raises(UsageError, match="set HOME"):
            home_expanded(text)
    assert home_expanded("~other/a") == "~other/a"


@given(out=NASTY, dir=st.none() | NASTY)
def test_a_confined_target_never_leaves_the_directory(out: str, dir: str | None) -> None:
    root = Path("/srv/files")
    try:
        folder, name = place(root, out, dir=None if dir is None else Path(dir), confined=True)
    except UsageError:
        return
    assert folder == root or root in folder.parents
    assert ".." not in folder.parts
    assert name not in {"", ".", ".."}
    assert "/" not in name
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", str(folder / name))
    assert all(len((part + LONGEST_SUFFIX).encode()) <= 255 for part in [name])
    assert all(len(part.encode()) <= 255 for part in folder.parts)


@given(text=st.text() | NASTY)
def test_printable_text_cannot_command_a_terminal(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert not re.search(
        r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", shown
    )
    shown.encode()


@pytest.mark.parametrize(
    "unit", ["a", ";", '"', "\\", "=", "%", "a;", "' ", '="', ".", " .", "\u200d", "é\u200d"]
)
def test_a_header_of_the_greatest_size_is_read_in_linear_time(unit: str) -> None:
    for prefix in ["attachment; filename=", 'attachment; filename="', "attachment; filename*=utf-8''", ""]:
        assert_safe(name_from({"content-disposition": prefix + unit * 65536}, "https://h/" + unit * 65536))


@given(st.from_regex(_naming._USUAL, fullmatch=True))
@example("NUL.txt")
@example("a.part.json")
@example("fetchq.toml")
def test_what_is_taken_for_usual_would_pass_all_the_steps(raw: str) -> None:
    assert sanitise(raw) == _naming._cleaned_once(raw, dotfiles=False)
