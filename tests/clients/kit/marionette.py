"""Firefox, driven by its own protocol (Marionette): a script runs in a page, and its result is returned. Needs no separate driver.

Each message is its length, a colon, and JSON: [0, number, command, parameters] to Firefox, [1, number, error, result] back.
"""

import base64
import json
import socket
import time

from . import commands

PATIENCE = 60
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "Down": "\ue015"}


class Firefox:
    """One headless Firefox, with a separate profile in this folder."""

    def __init__(self, folder, *, dark=False, scripts=True):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        settings = {
            "marionette.port": self.port,
            "ui.systemUsesDarkTheme": int(dark),
            "layout.css.prefers-color-scheme.content-override": 0 if dark else 1,
            "javascript.enabled": scripts,
            "browser.shell.checkDefaultBrowser": False,
            "datareporting.policy.dataSubmissionEnabled": False,
            "toolkit.telemetry.enabled": False,
            "app.update.enabled": False,
            "network.captive-portal-service.enabled": False,
            "network.connectivity-service.enabled": False,
            "browser.startup.homepage": "about:blank",
        }
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in settings.items())
        (folder / "user.js").write_text("".join(lines))
        self.log = open(folder / "firefox.log", "w")
        words = ["firefox-esr", "--headless", "--no-remote", "--marionette", "--remote-allow-system-access", "--profile", folder]
        home = commands.plain_environment(HOME=str(folder), MOZ_HEADLESS="1")
        self.process = commands.start(words, env=home, stdout=self.log, stderr=self.log)
        self.number = 0

    def __enter__(self):
        try:
            self.connect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        commands.end(self.process)
        self.log.close()

    def connect(self):
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
                break
            except OSError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise
                time.sleep(0.05)  # there is no notification when Firefox listens
        self.receive()  # the version of the protocol
        self("WebDriver:NewSession", acceptInsecureCerts=True)  # other clients verify the certificate

    def receive(self):
        length = b""
        while (byte := self.socket.recv(1)) != b":":
            if not byte:
                raise AssertionError("Firefox has gone")
            length += byte
        text = b""
        while len(text) < int(length):
            piece = self.socket.recv(int(length) - len(text))
            if not piece:
                raise AssertionError("Firefox has gone")
            text += piece
        return json.loads(text)

    def __call__(self, command, **parameters):
        self.number += 1
        text = json.dumps([0, self.number, command, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(text), text))
        _, _, error, result = self.receive()
        if error:
            raise AssertionError(f"{command}: {error['message']}")
        return result.get("value") if isinstance(result, dict) else result

    def open(self, url):
        self("WebDriver:Navigate", url=url)

    def run(self, script, *given):
        """The value of a function's body in the page."""
        return self("WebDriver:ExecuteScript", script=script, args=list(given))

    def wait(self, script, what):
        """Waits until the condition holds in the page."""
        until = time.monotonic() + PATIENCE
        while not self.run(script):
            if time.monotonic() > until:
                raise AssertionError(f"not within {PATIENCE} s: {what}")
            time.sleep(0.02)  # there is no notification

    def element(self, selector):
        """The first element with this selector. Works also in a page without scripts."""
        (reference,) = self("WebDriver:FindElement", using="css selector", value=selector).values()
        return reference

    def texts(self, selector):
        """The visible text of each element with this selector. Works also in a page without scripts."""
        found = self("WebDriver:FindElements", using="css selector", value=selector)
        return [self("WebDriver:GetElementText", id=next(iter(one.values()))) for one in found]

    def click(self, selector):
        self("WebDriver:ElementClick", id=self.element(selector))

    def enter(self, selector, text):
        """Enters text into a field, or chooses files by their paths, one per line."""
        self("WebDriver:ElementSendKeys", id=self.element(selector), text=str(text))

    def keys(self, *keys):
        """Presses and releases each key, a character or one of `KEYS`, where the focus is."""
        actions = [{"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")]
        self("WebDriver:PerformActions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def will_log_in(self, user, password):
        """Fills in the next dialog of the browser that asks for a login. `answer` ends it."""
        self("Marionette:SetContext", value="chrome")
        script = """
            let [user, password] = arguments;
            let fill = ({ document }) => {
                Services.obs.removeObserver(fill, "common-dialog-loaded");
                document.getElementById("loginTextbox").value = user;
                document.getElementById("password1Textbox").value = password;
            };
            Services.obs.addObserver(fill, "common-dialog-loaded");"""
        self("WebDriver:ExecuteScript", script=script, args=[user, password], sandbox="system")
        self("Marionette:SetContext", value="content")

    def answer(self, how):
        """Waits for a dialog of the browser, and ends it: `Accept` or `Dismiss`."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return self(f"WebDriver:{how}Alert")
            except AssertionError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)  # there is no notification

    def shot(self, path):
        path.write_bytes(base64.b64decode(self("WebDriver:TakeScreenshot", full=False)))
