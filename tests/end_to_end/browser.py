"""A headless Chromium, driven by its own DevTools protocol over a WebSocket: no driver, no further dependency.

`Browser` starts and stops the process, `Tab` opens pages, runs expressions, presses keys, and keeps what happened:
console messages, exceptions, and the address of every request.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--force-color-profile=srgb",
    "--remote-debugging-port=0",
)

#: Key → what the protocol wants to know of it.
_KEYS = {
    "Tab": {"code": "Tab", "windowsVirtualKeyCode": 9},
    "Enter": {"code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    " ": {"code": "Space", "windowsVirtualKeyCode": 32, "text": " "},
    "End": {"code": "End", "windowsVirtualKeyCode": 35},
}


@dataclass
class Tab:
    """One page; everything is kept from its first request on."""

    browser: Browser
    session: str
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def send(self, method: str, **params: Any) -> Any:
        return await self.browser.send(method, params, self.session)

    async def open(self, url: str) -> None:
        await self.send("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def run(self, expression: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        answer = await self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    async def until(self, expression: str, within_seconds: float = 15.0) -> Any:
        """The value of an expression as soon as it is true."""
        end = asyncio.get_running_loop().time() + within_seconds
        while not (value := await self.run(expression)):
            assert asyncio.get_running_loop().time() < end, f"never true: {expression}\n{self.console}"
            await asyncio.sleep(0.03)
        return value

    async def press(self, key: str) -> None:
        event = {"key": key, **_KEYS[key]}
        await self.send("Input.dispatchKeyEvent", type="keyDown", **event)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    async def type(self, text: str) -> None:
        for letter in text:
            await self.send("Input.insertText", text=letter)

    async def look(self, width: int, height: int, *, dark: bool = False, scale: float = 1) -> None:
        """The size of the window, and what people prefer."""
        mobile = width < 500
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self) -> bytes:
        """A PNG of what is seen."""
        return base64.b64decode((await self.send("Page.captureScreenshot", format="png"))["data"])

    def take(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.console.append(" ".join(str(each.get("value", each)) for each in params["args"]))
            case "Runtime.exceptionThrown":
                self.console.append(json.dumps(params["exceptionDetails"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.console.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])


class Browser:
    """The process and its WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tabs: dict[str, Tab] = {}
        self._reader = asyncio.create_task(self._read())

    async def tab(self, width: int = 1280, height: int = 900) -> Tab:
        """A new tab in a profile of its own, with an eye on everything."""
        context = await self.send("Target.createBrowserContext")
        target = await self.send("Target.createTarget", {"url": "about:blank", **context})
        session = (await self.send("Target.attachToTarget", {**target, "flatten": True}))["sessionId"]
        tab = self._tabs[session] = Tab(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await tab.send(f"{domain}.enable")
        await tab.look(width, height)
        return tab

    async def send(self, method: str, params: dict[str, Any] | None = None, session: str | None = None) -> Any:
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params or {}}
        await self._socket.send_json(message | ({"sessionId": session} if session else {}))
        async with asyncio.timeout(60):
            return await answer

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            waiting = self._waiting.pop(told.get("id"), None)
            if waiting is None:
                tab = self._tabs.get(told.get("sessionId", ""))
                if tab is not None:
                    tab.take(told["method"], told["params"])
            elif "error" in told:
                waiting.set_exception(AssertionError(told["error"]))
            elif not waiting.done():
                waiting.set_result(told["result"])


@asynccontextmanager
async def started(chromium: str) -> AsyncIterator[Browser]:
    """A browser while the context lasts."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            chromium,
            *_FLAGS,
            f"--user-data-dir={folder}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(30):
                while not (address := _address(Path(folder) / "DevToolsActivePort")):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            port, path = address
            async with (
                aiohttp.ClientSession() as http,
                http.ws_connect(f"http://127.0.0.1:{port}{path}", max_msg_size=0) as socket,
            ):
                browser = Browser(socket)
                try:
                    yield browser
                    await browser.send("Browser.close")
                finally:
                    await browser.close()
        finally:
            if process.returncode is None:
                try:
                    async with asyncio.timeout(5):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()


def _address(file: Path) -> list[str]:
    """Port and path of the browser's socket; nothing until it has written them down."""
    return file.read_text("utf-8").split() if file.exists() else []
