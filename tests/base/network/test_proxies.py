from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.network.proxies import Proxy, find_proxy


def find(variables: dict[str, str], *, scheme: str = "https", host: str = "hub.example", port: int = 443) -> str:
    """Return the proxy as `VARIABLE scheme://user:password@host:port`; empty for a direct connection."""
    proxy = find_proxy(variables, scheme=scheme, host=host, port=port)
    if proxy is None:
        return ""
    user_info = f"{proxy.user}:{proxy.password}@" if proxy.user or proxy.password else ""
    return f"{proxy.variable} {proxy.scheme}://{user_info}{proxy.netloc}"


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, ""),
        ({"HTTPS_PROXY": "http://p:3128"}, "HTTPS_PROXY http://p:3128"),
        ({"HTTPS_PROXY": "p:3128"}, "HTTPS_PROXY http://p:3128"),
        ({"HTTPS_PROXY": " http://P.Example/ "}, "HTTPS_PROXY http://p.example:80"),
        ({"HTTPS_PROXY": "https://p"}, "HTTPS_PROXY https://p:443"),
        ({"HTTPS_PROXY": "HTTP://p:"}, "HTTPS_PROXY http://p:80"),
        ({"HTTPS_PROXY": "http://[fe80::1]:3128"}, "HTTPS_PROXY http://[fe80::1]:3128"),
        ({"ALL_PROXY": "socks5://p"}, "ALL_PROXY socks5://p:1080"),
        ({"ALL_PROXY": "socks5h://p:9"}, "ALL_PROXY socks5://p:9"),
        ({"all_proxy": "socks://p:9/"}, "all_proxy socks5://p:9"),
        ({"HTTPS_PROXY": "http://u:s%40%2F@p:1"}, "HTTPS_PROXY http://u:s@/@p:1"),
        ({"HTTPS_PROXY": "http://u:s@s@p:1"}, "HTTPS_PROXY http://u:s@s@p:1"),
        ({"HTTPS_PROXY": "http://u@p:1"}, "HTTPS_PROXY http://u:@p:1"),
        # The variable of the scheme goes before ALL_PROXY, lower case before upper case.
        ({"ALL_PROXY": "socks5://p", "https_proxy": "http://q:2"}, "https_proxy http://q:2"),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": "http://q:2"}, "https_proxy http://q:2"),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": ""}, ""),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": "", "all_proxy": "q:2"}, "all_proxy http://q:2"),
        ({"HTTP_PROXY": "http://p:1"}, ""),
        ({"HTTP_PROXY": "garbage://", "HTTPS_PROXY": "p:1"}, "HTTPS_PROXY http://p:1"),
    ],
)
def test_proxy_of_an_https_server(variables: dict[str, str], proxy: str) -> None:
    assert find(variables) == proxy


def test_http_servers_have_a_variable_of_their_own() -> None:
    variables = {"HTTP_PROXY": "p:1", "HTTPS_PROXY": "q:2"}
    assert find(variables, scheme="http", port=80) == "HTTP_PROXY http://p:1"


SECRET = "hunter2"  # noqa: S105 - looked for in every message


@pytest.mark.parametrize(
    "value",
    [
        "garbage://",
        f"garbage://u:{SECRET}@p:1",
        "http://",
        "socks4://p:1",
        "ftp://p:1",
        "://p",
        "http://p:0",
        "http://p:65536",
        "http://p:123456",
        "http://p:x",
        "http://::1:3128",
        "http://[::1",
        "http://p q:1",
        f'"http://u:{SECRET}@p:1"',
        f"http://u:{SECRET}#@p:1",
        f"http://u:{SECRET}/@p:1",
        f"u:{SECRET}?x@p:1",
        f"http://u:{SECRET}%FF@p:1",
        f"http://u:{SECRET}\udcff@p:1",
        f"http://u:{SECRET * 40}@p:1",
        "http://pröxy:1",
        "${PROXY}",
        "http://p:1 http://q:2",
    ],
)
def test_unusable_value_is_a_failure_that_names_the_variable_only(value: str) -> None:
    with pytest.raises(Failure) as raised:
        find({"HTTPS_PROXY": value})
    assert raised.value.code == "network-settings"
    assert "HTTPS_PROXY" in raised.value.message
    assert SECRET not in f"{raised.value} {raised.value.__cause__}"


def test_password_is_in_no_text_of_a_proxy() -> None:
    proxy = find_proxy({"HTTPS_PROXY": f"http://u:{SECRET}@p:1"}, scheme="https", host="hub.example", port=443)
    assert isinstance(proxy, Proxy)
    assert SECRET not in f"{proxy} {proxy!r}"
    assert proxy.authorization == {"Proxy-Authorization": "Basic dTpodW50ZXIy"}
    assert find_proxy({}, scheme="https", host="hub.example", port=443) is None


LOCAL_HOSTS = "localhost api.localhost 127.0.0.1 127.9.9.9 ::1 0.0.0.0 ::ffff:127.0.0.1"


@pytest.mark.parametrize("host", LOCAL_HOSTS.split())
def test_this_machine_is_reached_directly(host: str) -> None:
    assert find({"ALL_PROXY": "garbage://"}, host=host) == ""


@pytest.mark.parametrize(
    ("no_proxy", "hosts"),
    [
        ("*", "hub.example 10.0.0.1 fd00::1"),
        ("hub.example", "hub.example www.hub.example"),
        (".hub.example", "hub.example www.hub.example"),
        ("*.hub.example", "hub.example www.hub.example"),
        ("HUB.example, other.example", "hub.example other.example"),
        ("other.example  hub.example\n", "hub.example hub.example."),
        ("hub.example:443", "hub.example"),
        ("https://hub.example", "hub.example"),
        ("10.0.0.0/8", "10.0.0.1 ::ffff:10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1:443", "10.0.0.1"),
        ("[fd00::1]", "fd00::1"),
        ("fd00::1", "fd00::1 fd00:0::1"),
        ("[fd00::1]:443", "fd00::1"),
        ("fd00::/8", "fd00::1"),
        ("[::1],[garbage,hub.example", "hub.example"),
    ],
)
def test_servers_in_no_proxy_are_reached_directly(no_proxy: str, hosts: str) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        for host in hosts.split():
            assert find({"HTTPS_PROXY": "p:1", name: no_proxy}, host=host) == ""


@pytest.mark.parametrize(
    "no_proxy",
    [
        "",
        "[::1]",
        "[",
        "http://[",
        "://",
        ".",
        "*.",
        "ub.example",
        "hub.example:80",
        "hub.example:x",
        "hub.example:",
        "http://hub.example",
        "www.hub.example",
        "exa mple",
        "10.0.0.0/33",
        "\udcff",
    ],
)
def test_other_entries_of_no_proxy_cover_nothing(no_proxy: str) -> None:
    assert find({"HTTPS_PROXY": "p:1", "NO_PROXY": no_proxy}) == "HTTPS_PROXY http://p:1"


def test_empty_no_proxy_in_lower_case_overrides_upper_case() -> None:
    assert find({"HTTPS_PROXY": "p:1", "NO_PROXY": "*", "no_proxy": ""}) == "HTTPS_PROXY http://p:1"
