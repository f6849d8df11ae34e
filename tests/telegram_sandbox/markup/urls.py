"""URLs for tests against TDLib: whole ones, by a grammar, and ones with a character too many."""

from hypothesis import strategies as st

WEB_SCHEMES = ("http://", "https://", "HTTP://", "hTTps://")
APP_SCHEMES = ("tg://", "tg:", "TG://", "tg://http://", "tg:https://")
#: Telegram reads some of these as links too; we make no link of them.
OTHER_SCHEMES = (
    "",
    "ton://",
    "tonsite://",
    "TONSITE:",
    "ftp://",
    "mailto:",
    "javascript:",
    "file:///",
    "tel:",
)
LABELS = (
    "a",
    "jenkins",
    "localhost",
    "example",
    "com",
    "internal",
    "10",
    "my_host",
    "my-host",
    "A1",
    "-",
    "xn--mnchen-3ya",
    "xn--p1ai",
    "münchen",
    "日本",
    "пример",
    "😀",
    "%41",
    "!$,~*'();&+=",
)
ODD_LABELS = ("%zz", "%", "%4", "a b", "a<b", 'a"b', "a\\b", "a|b", "a^b", "{a}", "`", "", "%2e")
WHOLE_HOSTS = ("user", "resolve", "a.user", "a.", ".a", "192.0.2.1", "[::1]", "[::]", "[1:2:3:4:5:6:7:8]")
IPV6 = (
    "[2001:DB8::ff00:42:8329]",
    "[::ffff:192.0.2.1]",
    "[1:2:3:4:5:6:7::]",
    "[fe80::1%eth0]",
    "[::1.2.3.04]",
    "[1:2:3:4:5:6:7:8:9]",
    "[12345::]",
    "[:::]",
    "[]",
    "[",
    "[::1",
    "::1]",
    "[a.b]",
    "[::1]x",
    "[v1.a]",
    "[1::2::3]",
    "[::g]",
    ".",
    "..",
)
USERS = ("", "", "", "@", "ada@", "ada:pw@", ":@", "%41@", "ü:é@", "a:b:c@")
ODD_USERS = ("a@b@", "%4@", "u r@", "[x]@", "<@", "%@")
PORTS = ("", "", ":80", ":8080", ":65535", ":00080")
ODD_PORTS = (
    ":",
    ":0",
    ":-1",
    ":+1",
    ":1e3",
    ":port",
    ":65536",
    ":99999999999",
    ":4294967376",
    ":８０",  # noqa: RUF001 - digits that are not ASCII, on purpose
    ":8 0",
    "::80",
    ":80:80",
    ":\t80",
)
RESTS = (
    "",
    "/",
    "/job/7",
    "/d/abc?x=1&y=2#top",
    "?q=a b",
    "#f",
    "?",
    "//x//",
    "/%zz",
    "/a@b:c[d]",
    "/\x00\x1f",
    "/ü/日本/😀",
    "/ \n ",
    "/?id=5",
    "?id=5",
    "?a=1&id=7#x",
)
#: Control characters, characters that TDLib removes or that only look like ASCII, and those with a meaning.
EXTRA = (
    "\x00\x01\t\n\r\x0b\x1f\x20\x7f\x80\xa0\u0130\u017f\u030a\u0333\u200e\u200f\u2028\u202e\u212a\ufeff"
    ":/?#@[]%.&=<>\"'\\1aZ😀"
)


def _mostly(good: tuple[str, ...], odd: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.integers(0, 9).flatmap(lambda number: st.sampled_from(good if number else odd))


def _hosts() -> st.SearchStrategy[str]:
    named = st.lists(_mostly(LABELS, ODD_LABELS), min_size=1, max_size=4).map(".".join)
    numbers = st.lists(st.integers(0, 300).map(str), min_size=1, max_size=5).map(".".join)
    return st.one_of(named, numbers, st.sampled_from(WHOLE_HOSTS), st.sampled_from(IPV6))


def web_urls(schemes: tuple[str, ...] = WEB_SCHEMES) -> st.SearchStrategy[str]:
    return _urls(st.sampled_from(schemes), _mostly(USERS, ODD_USERS), _hosts(), _mostly(PORTS, ODD_PORTS))


def app_urls() -> st.SearchStrategy[str]:
    users, ports = _mostly(("",), USERS), _mostly(("",), PORTS)
    return _urls(st.sampled_from(APP_SCHEMES), users, _mostly(LABELS, WHOLE_HOSTS), ports)


@st.composite
def _urls(draw: st.DrawFn, *parts: st.SearchStrategy[str]) -> str:
    """A URL; sometimes with further characters at any place behind the scheme."""
    scheme, *others = map(draw, parts)
    rest = "".join(others) + draw(st.sampled_from((*RESTS, " ")))
    for _ in range(draw(st.sampled_from((0, 0, 0, 0, 1, 2)))):
        at = draw(st.integers(0, len(rest)))
        rest = rest[:at] + draw(st.sampled_from(EXTRA) | st.characters(codec="utf-8")) + rest[at:]
    return scheme + rest
