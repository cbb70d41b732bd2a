"""Fetching a key set over HTTP. A room of its own because its HTTP client is 15 MiB of a worker's memory: loaded at the first need."""

from typing import Final

import aiohttp

_TIMEOUT: Final = 5.0  # seconds


async def fetch(url: str, largest: int) -> bytes:
    """The document at `url`: no redirect, no cookie, no proxy from the environment, no encoding, and never more than `largest` bytes.

    Raises OSError, TimeoutError, or ValueError where the answer is not what was asked for.
    """
    try:
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            ) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise ValueError(f"the answer's status is {response.status}, not 200")
            document = b""
            async for chunk in response.content.iter_chunked(1 << 16):
                document += chunk
                if len(document) > largest:
                    raise ValueError(f"the key set is larger than {largest} bytes")
            return document
    except aiohttp.ClientError as error:
        raise OSError(str(error) or type(error).__name__) from error
