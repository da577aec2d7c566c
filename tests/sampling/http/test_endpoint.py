"""Which addresses are taken, where a token goes, and which redirects are followed."""

from __future__ import annotations

import pytest

from memcore.errors import ConfigError
from memcore.sampling.http.endpoint import check_endpoint, check_redirect


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("https://host/v1/", "https://host/v1"),
        ("https://host:443", "https://host"),
        ("http://host:8000/a", "http://host:8000/a"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
    ],
)
def test_addresses(address: str, url: str) -> None:
    assert check_endpoint(address).url == url


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", "an empty text"),
        (7, "got int"),
        ("host/v1", "must begin with https://"),
        ("ftp://host", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("https://", "name a host"),
        ("https://host:port", "cannot be read"),
        ("https://[::1", "cannot be read"),
        ("https://me:secret@host/v1", "holds a user or password for host"),
        ("https://host/v1#secret", "after '#'"),
    ],
)
def test_what_is_no_address_is_refused_without_repeating_it(address: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        check_endpoint(address)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]"])
def test_a_token_goes_in_clear_to_this_machine_alone(host: str) -> None:
    check_endpoint(f"http://{host}:1", has_token=True)
    check_endpoint("https://host", has_token=True)
    check_endpoint("http://host", has_token=True, plain_http=True)
    for other in ("host", "localhost.example", "10.0.0.1", "127.0.0.1.example"):
        with pytest.raises(ConfigError, match="in clear"):
            check_endpoint(f"http://{other}:1", has_token=True)


@pytest.mark.parametrize(
    "target",
    [
        *("https://other/v1", "http://host/v1", "https://host:8443/v1", "https://host.evil/v1", "//other/v1"),
        *(
            "http://127.0.0.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://[::1]/",
            "https://10.0.0.1/v1",
        ),
        *("https://host@other/v1", "https://[bad", "file:///etc/passwd", ""),
    ],
)
def test_redirects_to_other_servers_and_private_addresses_are_refused(target: str) -> None:
    with pytest.raises(ConfigError, match="another server, which is not followed"):
        check_redirect("https://host/v1/images", target)
