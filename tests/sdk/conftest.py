"""One proxy for all tests, and the clients that talk to it."""

import anthropic
import openai
import pytest

from proxy import CLIENT_KEY, Proxy


@pytest.fixture(scope="session")
def proxy(tmp_path_factory):
    proxy = Proxy(tmp_path_factory.mktemp("proxy"))
    yield proxy
    proxy.stop()


@pytest.fixture(scope="session")
def oai(proxy):
    return openai.OpenAI(
        base_url=proxy.client + "/v1", api_key=CLIENT_KEY, max_retries=0, timeout=20
    )


@pytest.fixture(scope="session")
def claude(proxy):
    return anthropic.Anthropic(
        base_url=proxy.client, api_key=CLIENT_KEY, max_retries=0, timeout=20
    )


def pytest_collection_modifyitems(items):
    """What judges all that the other tests have caused comes last."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


def pytest_configure(config):
    config.addinivalue_line("markers", "last: runs after every other test")
