// A browser and the page of a folder that accepts uploads: the form without a script, and with the script.
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { browser, open, overlaps } from "./browser.mjs";
import { behindPrefix, start, through } from "./starting.mjs";
import { check, digest, given, same, tellAll } from "./telling.mjs";

const { inbox, away, shots, modest, users } = given;
const axe = readFileSync(given.axe, "utf8");

// The upload: files, and a folder with other folders in it, some of which the script leaves out.
const file = (name, content) => (writeFileSync(join(away, name), content), join(away, name));
const one = file("one file.txt", "one");
const two = file("Grüße 50% #2.txt", "two");
const large = file("large.bin", Buffer.alloc(8 << 20, 7));
const tree = join(away, "album");
mkdirSync(join(tree, "deep", "deeper"), { recursive: true });
for (const name of ["a.jpg", ".DS_Store", "Thumbs.db", "deep/._b.jpg", "deep/deeper/b.jpg"]) writeFileSync(join(tree, name), name);

const stored = () => readdirSync(inbox, { recursive: true }).filter((name) => !name.includes(".modest-upload-")).sort();
const empty = (...names) => {
  readdirSync(inbox).forEach((name) => rmSync(join(inbox, name), { recursive: true }));
  names.forEach((name) => (name.endsWith("/") ? mkdirSync(join(inbox, name), { recursive: true }) : writeFileSync(join(inbox, name), "there")));
};
const until = async (condition, what) => {
  for (const begun = Date.now(); !(await condition()); await new Promise((then) => setTimeout(then, 20))) {
    if (Date.now() - begun > 20_000) throw new Error(`${what}: ${JSON.stringify(stored())}`);
  }
};
const listed = (page) => page.locator("tbody:not(#up) tr td:first-child a").allInnerTexts();
const rows = (page, wanted) =>
  page.waitForFunction((wanted) => JSON.stringify([...document.querySelectorAll("tbody:not(#up) td:first-child a")].map((a) => a.textContent)) === wanted, JSON.stringify(wanted));
const status = (page, text) => page.locator("output", { hasText: text }).waitFor();
const choose = (page, files) => page.getByLabel("Files", { exact: true }).setInputFiles(files);
const act = async (page, name, action) => {
  await page.getByRole("button", { name: `Rename, move or delete ${name}`, exact: true }).click();
  await page.locator("#k button", { hasText: action }).click();
};
const slow = async (page, bytes) => {
  const network = await page.context().newCDPSession(page);
  const set = (offline, uploadThroughput) => network.send("Network.emulateNetworkConditions", { offline, latency: 0, downloadThroughput: -1, uploadThroughput });
  await set(false, bytes);
  return set;
};

async function accessible(page, what) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  same(found.violations.map((it) => `${it.id}: ${it.nodes.slice(0, 3).map((node) => node.html)}`), [], `axe, ${what}`);
}

// A check with a separate server and a page of it.
function served(name, words, run, options = {}) {
  check(name, async () => {
    const server = await start(modest, inbox, "-b", "127.0.0.1", "-p", "0", "--upload", ...words);
    const opened = await open(options);
    try {
      await run({ ...opened, server, url: server.url });
    } finally {
      await opened.close();
      await server.stop("SIGKILL").catch(() => {});
    }
  });
}

const phone = { viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true };
const desktop = { viewport: { width: 1280, height: 900 } };
for (const [look, options] of Object.entries({
  "320 px, light": phone,
  "320 px, dark": { ...phone, colorScheme: "dark" },
  "1280 px, light": desktop,
  "1280 px, dark": { ...desktop, colorScheme: "dark" },
  "1280 px, forced colours": { ...desktop, forcedColors: "active" },
  "200 % zoom": { viewport: { width: 640, height: 450 }, deviceScaleFactor: 2 },
  "a default font of 32 px": { viewport: { width: 320, height: 640 }, fontSize: 32 },
})) {
  served(`${look}: it fits the window and has no violation, empty, with a queue, a question and a menu`, ["--allow-delete", "--upload-limit", "1m"], async ({ page, url }) => {
    empty();
    await page.goto(url);
    await accessible(page, "empty");
    empty("one file.txt", "folder/");
    await page.reload();
    const shoot = async (what) => {
      await page.screenshot({ path: join(shots, `uploads-${look.replace(/\W+/g, "-")}-${what}.png`) });
      same(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, `it fits, ${what}`);
      same(await overlaps(page), [], `texts above others, ${what}`);
      await accessible(page, what);
    };
    await choose(page, [one, two, large]);
    await page.getByText("already exists").waitFor();
    await shoot("question");
    await page.getByRole("button", { name: "Keep both" }).click();
    await page.getByText("Stored as one file (1).txt").waitFor();
    await shoot("queue");
    same(await page.locator("#u button:visible, #q button:visible").evaluateAll((all) => all.filter((it) => it.getBoundingClientRect().height < 40).length), 0, "what is too low to be touched");
    const blank = (all) => all.filter((it) => getComputedStyle(it).color === getComputedStyle(it).backgroundColor).map((it) => it.textContent);
    same(await page.locator("button:visible").evaluateAll(blank), [], "buttons that can't be read");
    await page.getByRole("link", { name: "folder/", exact: true }).scrollIntoViewIfNeeded();
    await page.getByRole("button", { name: "Rename, move or delete folder/" }).click();
    await shoot("menu");
  }, options);
}

served("without script: two files and a folder by the form, and back to the page of the folder", [], async ({ page, trouble, url }) => {
  empty();
  await page.goto(url);
  await page.getByLabel("Files").setInputFiles([one, two]);
  await page.getByLabel("New folder").fill("new");
  await page.getByRole("button", { name: "Upload" }).click();
  await page.waitForURL(`${url}/`);
  same(stored(), ["Grüße 50% #2.txt", "new", "one file.txt"].sort(), "what is stored");
  same(await listed(page), ["new/", "Grüße 50% #2.txt", "one file.txt"], "what is listed");
  await page.getByLabel("Files").setInputFiles([one]);
  await page.getByRole("button", { name: "Upload" }).click();
  await page.getByText("one file.txt: That name is taken").waitFor();
  same(trouble.filter((line) => !line.includes("409") && !line.includes("favicon")), [], "trouble");
}, { javaScriptEnabled: false });

served("chosen files are stored and listed, below a folder too", [], async ({ page, trouble, url }) => {
  empty("sub folder/");
  await page.goto(`${url}/sub%20folder/`);
  await choose(page, [one, two]);
  await rows(page, ["Grüße 50% #2.txt", "one file.txt"]);
  await page.getByText("2 files uploaded").waitFor();
  same(stored(), ["sub folder", "sub folder/Grüße 50% #2.txt", "sub folder/one file.txt"], "what is stored");
  same(await page.locator("#n").innerText(), "2 files", "the count");
  same(readFileSync(join(inbox, "sub folder", "Grüße 50% #2.txt"), "utf8"), "two", "its content");
  same(trouble, [], "trouble");
});

served("a whole folder, without the hidden files of operating systems", [], async ({ page, trouble, url }) => {
  empty();
  await page.goto(url);
  await page.getByLabel("A whole folder").setInputFiles(tree);
  await page.getByText("2 files uploaded").waitFor();
  await page.getByText("3 hidden or system items left out").waitFor();
  same(stored(), ["album", "album/a.jpg", "album/deep", "album/deep/deeper", "album/deep/deeper/b.jpg"], "what is stored");
  await rows(page, ["album/"]);
  same(trouble, [], "trouble");
});

served("a screen reader is told the result of uploads, once, and not each step", ["--upload-limit", "2m"], async ({ page, url }) => {
  empty();
  await page.goto(url);
  await page.evaluate(() => {
    window.told = [];
    new MutationObserver((all) => {
      for (const { target } of all) {
        const live = (target.closest ? target : target.parentElement)?.closest("output, [role=status], [aria-live]");
        if (live && live.ariaLive !== "off") window.told.push(live.textContent.replaceAll("\xa0", " "));
      }
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
  });
  await choose(page, [one, large, two]);
  await page.getByText("2 files uploaded").waitFor();
  await rows(page, ["Grüße 50% #2.txt", "one file.txt"]);
  await page.evaluate(() => dispatchEvent(new Event("visibilitychange"))); // the state is computed again
  same(await page.evaluate(() => window.told), ["2 files uploaded", "1 failed"], "what is told");
});

served("what is dropped; a folder that can't be read costs itself alone", [], async ({ page, trouble, url }) => {
  empty();
  await page.goto(url);
  await page.evaluate(() => {
    // A folder as browsers represent it, whose first subfolder can't be read.
    const entry = (name, more) => ({ name, isDirectory: !("file" in more), ...more });
    const folder = (name, ...inside) => entry(name, { createReader: () => ({ readEntries: (then) => then(inside.splice(0)) }) });
    const locked = entry("locked", { createReader: () => ({ readEntries: (_, no) => no(new DOMException("no", "NotReadableError")) }) });
    const plain = (name) => entry(name, { file: (then) => then(new File([name], name)) });
    const dropped = folder("tree", locked, folder("sub", plain("b.txt")), plain("a.txt"), plain(".DS_Store"), folder("nothing"));
    const dataTransfer = new DataTransfer();
    for (const name of ["dropped 1", "tree"]) dataTransfer.items.add(new File([name], name));
    DataTransferItem.prototype.webkitGetAsEntry = function () {
      return this.getAsFile().name === "tree" ? dropped : null;
    };
    for (const type of ["dragover", "drop"]) document.body.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
  });
  await page.getByText("This computer can't read the file.").waitFor();
  await rows(page, ["tree/", "dropped 1"]);
  await until(() => stored().length === 6, "what is stored");
  same(stored(), ["dropped 1", "tree", "tree/a.txt", "tree/nothing", "tree/sub", "tree/sub/b.txt"], "what is stored");
  same(await page.locator("#q .bad b").allInnerTexts(), ["tree/locked"], "what is not");
  same(trouble, [], "trouble");
});

served("a file that is too large, or refused, costs itself alone: what is stored shows", ["--upload-limit", "1m"], async ({ page, url }) => {
  empty();
  await page.goto(url);
  await choose(page, [large, one, file("a\\b.txt", "x"), two]);
  await page.getByText("Too large: at most 1.0 MiB.").waitFor();
  await page.getByText("Names can't contain slashes or backslashes.").waitFor();
  await rows(page, ["Grüße 50% #2.txt", "one file.txt"]);
  await page.getByText("2 failed").waitFor();
  same(await page.locator("#q .bad button:visible").count(), 0, "buttons that would fail again");
});

const project = join(away, "project");
mkdirSync(join(project, ".git", "objects"), { recursive: true });
for (const name of ["a.txt", ".git/HEAD", ".git/objects/00"]) writeFileSync(join(project, name), name);

served("hidden names, which the server rejects, are only counted", [], async ({ page, trouble, url }) => {
  empty();
  await page.goto(url);
  await choose(page, [file(".profile", "x")]);
  await page.getByText("1 hidden or system item left out").waitFor();
  await page.getByRole("button", { name: "Close" }).click();
  await page.getByLabel("A whole folder").setInputFiles(project);
  await page.getByText("1 file uploaded").waitFor();
  await page.getByText("2 hidden or system items left out").waitFor();
  same([await page.locator("#q li").count(), stored()], [1, ["project", "project/a.txt"]], "rows, and what is stored");
  same(trouble, [], "trouble");
});

served("hidden names, which the server accepts, are stored", ["--hidden"], async ({ page, url }) => {
  empty();
  await page.goto(url);
  await page.getByLabel("A whole folder").setInputFiles(project);
  await page.getByText("3 files uploaded").waitFor();
  same(stored(), ["project", "project/.git", "project/.git/HEAD", "project/.git/objects", "project/.git/objects/00", "project/a.txt"], "what is stored");
});

served("a folder that is refused is requested once for all its files, and again for files chosen later", [], async ({ page, url }) => {
  empty();
  let requests = 0;
  await page.route("**/album", (route) => (requests++, route.fulfill({ status: 403, body: "No." })));
  await page.goto(url);
  for (const expected of [1, 2]) {
    await page.getByLabel("A whole folder").setInputFiles(tree);
    await page.getByText(`${2 * expected} failed`).waitFor();
    same(requests, expected, "requests");
  }
});

served("a folder that could not be created is tried again", [], async ({ page, url }) => {
  empty("album");
  await page.goto(url);
  await page.getByLabel("A whole folder").setInputFiles(tree);
  await page.getByText("2 failed").waitFor();
  empty();
  await page.getByRole("button", { name: "Retry all" }).click();
  await page.getByText("2 files uploaded").waitFor();
  same(stored(), ["album", "album/a.jpg", "album/deep", "album/deep/deeper", "album/deep/deeper/b.jpg"], "what is stored");
});

served("progress, pause, go on where it stopped, cancel: nothing of that stays, and the others go on", ["--resumable"], async ({ page, url }) => {
  empty();
  await page.goto(url);
  const ranges = [];
  page.on("request", (request) => request.method() === "PUT" && ranges.push(request.headers()["content-range"]));
  const set = await slow(page, 1_000_000);
  await choose(page, [large, one]);
  await page.waitForFunction(() => document.querySelector("li progress")?.value > 500_000);
  await page.getByText(/iB\/s/).first().waitFor();
  same(stored().includes("large.bin"), false, "nothing is there before it is whole");
  await accessible(page, "while it is sent");
  await page.getByRole("button", { name: "Pause large.bin" }).click();
  await page.getByText("Paused", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Resume large.bin" }).click();
  await page.waitForFunction(() => document.querySelector("li progress")?.value > 1_000_000);
  await page.getByRole("button", { name: "Pause all" }).click();
  await page.getByText("Paused", { exact: true }).waitFor();
  await set(false, -1);
  await page.getByRole("button", { name: "Resume all" }).click();
  await page.getByText("2 files uploaded").waitFor();
  same(digest(readFileSync(join(inbox, "large.bin"))), digest(readFileSync(large)), "its content");
  const last = ranges.filter((range) => range && !range.includes("*")).pop();
  same(+/bytes (\d+)-/.exec(last)[1] > 0, true, `where the last part began: ${ranges}`);
  await set(false, 1_000_000);
  await choose(page, [file("other.bin", Buffer.alloc(4 << 20, 1))]);
  await page.waitForFunction(() => [...document.querySelectorAll("li progress")].pop().value > 100_000);
  await page.getByRole("button", { name: "Cancel other.bin" }).click();
  await page.getByText("Cancelled").waitFor();
  same(stored(), ["large.bin", "one file.txt"], "what is stored");
});

served("after Pause all: one resumed file continues, new files begin, and the others wait for Resume all", ["--resumable"], async ({ page, url }) => {
  empty();
  await page.goto(url);
  // The network is slow all the time: if it became fast after a pause, an aborted request could still be sent to its end.
  const set = await slow(page, 500_000);
  const files = (...names) => names.map((name) => file(name, Buffer.alloc(2 << 20, 1)));
  const small = (name) => [file(name, Buffer.alloc(2_000, 1))];
  const button = (name) => page.getByRole("button", { name, exact: true });
  const begun = (name) => page.waitForFunction((name) => [...document.querySelectorAll("li")].some((it) => it.textContent.includes(name) && it.querySelector("progress")?.value > 50_000), name);
  await choose(page, files("a.bin", "b.bin"));
  await begun("a.bin");
  await button("Pause all").click();
  await page.getByText("Paused: 0 of 2 files").waitFor();
  await button("Resume a.bin").click();
  await until(() => stored().includes("a.bin"), "the resumed file");
  await choose(page, small("c.bin"));
  await until(() => stored().includes("c.bin"), "the new file");
  await page.getByText("Paused: 2 of 3 files").waitFor();
  same(stored(), ["a.bin", "c.bin"], "the other file is paused");
  await button("Resume all").click();
  await page.getByText("3 files uploaded").waitFor();
  // Everything that was paused is cancelled, or fails.
  await choose(page, files("d.bin", "e.bin"));
  await begun("d.bin");
  await button("Pause all").click();
  for (const name of ["d.bin", "e.bin"]) await button(`Cancel ${name}`).click();
  await choose(page, small("f.bin"));
  await until(() => stored().includes("f.bin"), "a file after Cancel of all that were paused");
  await page.route("**/g.bin*", (route) => route.fulfill({ status: 403, body: "No." }));
  await choose(page, small("g.bin"));
  await page.getByText("No.", { exact: true }).waitFor();
  await page.unroute("**/g.bin*");
  await set(false, 100_000);
  await choose(page, files("h.bin"));
  await begun("h.bin");
  await button("Pause all").click();
  await button("Retry g.bin").click();
  await until(() => stored().includes("g.bin"), "a retry while others are paused");
  same(stored().includes("h.bin"), false, "the paused file");
});

served("Pause, Cancel and Close while a folder is being created: no file of it is sent afterwards", [], async ({ page, url }) => {
  empty();
  await page.goto(url);
  const puts = [];
  page.on("request", (request) => request.method() === "PUT" && puts.push(request.url()));
  let release;
  await page.route("**/album", (route) => new Promise((then) => (release = then)).then(() => route.continue()));
  const button = (name) => page.getByRole("button", { name, exact: true });
  const begin = async () => {
    release = null;
    await page.getByLabel("A whole folder").setInputFiles(tree);
    await until(() => release, "the request for the folder");
  };
  await begin();
  await button("Pause album/a.jpg").click();
  await button("Cancel album/deep/deeper/b.jpg").click();
  release();
  await until(() => existsSync(join(inbox, "album")), "the folder");
  await page.waitForTimeout(300);
  same(puts, [], "files that were sent");
  release = null;
  await button("Resume album/a.jpg").click();
  await until(() => release, "the second request for the folder");
  release();
  await page.getByText("1 file uploaded").waitFor();
  await button("Close").click();
  empty();
  await begin();
  await button("Cancel all").click();
  await button("Close").click();
  release();
  await until(() => existsSync(join(inbox, "album")), "the folder");
  await page.waitForTimeout(300);
  same([puts, await page.locator("#q li").count()], [[`${url}/album/a.jpg`], 0], "what was sent, and rows after Close");
});

for (const words of [["--resumable"], []]) {
  check(`the connection breaks and the server restarts: uploads go on by themselves, ${words[0] ?? "from the beginning"}`, async () => {
    empty();
    const first = await start(modest, inbox, "-b", "127.0.0.1", "-p", "0", "--upload", ...words);
    const way = await through(first);
    const { page, close } = await open();
    await page.goto(way.url);
    const set = await slow(page, 2_000_000);
    await choose(page, [large]);
    const ranges = [];
    const come = (bytes) => page.waitForFunction((bytes) => document.querySelector("li progress")?.value > bytes, bytes);
    await come(1_000_000);
    page.on("request", (request) => request.method() === "PUT" && ranges.push(request.headers()["content-range"]));
    way.cut();
    await page.getByText("Waiting for a network connection.").waitFor();
    way.mend();
    await page.evaluate(() => dispatchEvent(new Event("online")));
    await come(2_000_000);
    if (words.length) same(+/bytes (\d+)-/.exec(ranges.find((range) => range && !range.includes("*")))[1] > 0, true, `it went on: ${ranges}`);
    way.cut();
    await first.stop("SIGKILL");
    await page.getByText("Waiting for a network connection.").waitFor();
    const second = await start(modest, inbox, "-b", "127.0.0.1", "-p", first.port, "--upload", ...words);
    way.mend();
    await set(false, -1);
    await page.getByText("1 file uploaded").waitFor({ timeout: 20_000 });
    same(digest(readFileSync(join(inbox, "large.bin"))), digest(readFileSync(large)), "its content");
    await close();
    way.close();
    await second.stop();
  });
}

check("a response that is lost: the file is stored once, and nobody is asked", async () => {
  empty();
  const server = await start(modest, inbox, "-b", "127.0.0.1", "-p", "0", "--upload", "--resumable");
  const way = await through(server);
  const { page, close } = await open();
  await page.goto(way.url);
  let lost = 0;
  way.lose((bytes) => lost < 2 && bytes.toString("latin1").startsWith("HTTP/1.1 201") && ++lost);
  await choose(page, [large, one]);
  await page.getByText("2 files uploaded").waitFor({ timeout: 20_000 });
  same([lost, stored()], [given.tls.length ? 0 : 2, ["large.bin", "one file.txt"]], "how many were lost, and what is stored");
  same(digest(readFileSync(join(inbox, "large.bin"))), digest(readFileSync(large)), "its content");
  await close();
  way.close();
  await server.stop();
});

const six = () => Array.from({ length: 6 }, (_, number) => file(`${number}.txt`, `number ${number}`));
served("as many at once as the server allows, and 503 is waited for", ["--uploads-each", "1"], async ({ page, url }) => {
  empty();
  await page.goto(url);
  let answers = [];
  page.on("response", (answer) => answers.push(answer.status()));
  await choose(page, six());
  await page.getByText("6 files uploaded").waitFor();
  same(answers.filter((status) => status === 503), [], "refusals");
  empty();
  await page.reload();
  let refusals = 0;
  await page.route(/\d\.txt$/, (route) => (refusals++ < 2 ? route.fulfill({ status: 503, headers: { "retry-after": "1" }, body: "busy" }) : route.continue()));
  await choose(page, six());
  await page.getByText("The server is busy. Trying again.").first().waitFor();
  await page.getByText("6 files uploaded").waitFor();
  same(stored().length, 6, "what is stored");
});

served("a quota: the reason is shown, only stored bytes count, and a long wait is a failure", ["--upload-quota", "10m"], async ({ page, url }) => {
  empty();
  await page.goto(url);
  const row = (name) => page.locator("#q li", { hasText: name });
  const button = (name) => page.getByRole("button", { name, exact: true });
  // While another upload is in progress, nobody knows when there is room.
  const why = "Each client can add 10 MiB per 24 hours: your other uploads use the rest.";
  await page.route("**/short.bin", (route) => route.fulfill({ status: 429, headers: { "retry-after": "60" }, body: why }));
  await choose(page, [file("short.bin", Buffer.alloc(4 << 20)), file("whole.bin", Buffer.alloc(11 << 20)), large]);
  await row("short.bin").getByText(why).waitFor();
  await row("large.bin").getByText("Stored").waitFor();
  await page.getByText("8.0 MiB of 12 MiB").waitFor();
  same(await row("short.bin").locator("progress").evaluate((it) => it.value), 0, "the progress of a file that waits");
  await row("whole.bin").getByText("this is longer").waitFor();
  same(await button("Retry whole.bin").isVisible(), false, "Retry of a file that is longer than the quota");
  await button("Cancel short.bin").click();
  await choose(page, [file("long.bin", Buffer.alloc(4 << 20))]);
  await row("long.bin").getByText("Each client can add 10 MiB per 24 hours: try again in 2").waitFor();
  await page.getByText("1 file uploaded").waitFor();
  await page.getByText("2 failed").waitFor();
  await button("Retry long.bin").waitFor();
  await page.goto("about:blank"); // asks nothing, because nothing waits
});

check("neither speed nor time left while the server is unreachable", async () => {
  empty();
  const server = await start(modest, inbox, "-b", "127.0.0.1", "-p", "0", "--upload");
  const { page, close } = await open();
  await page.goto(server.url);
  await slow(page, 1_000_000);
  await choose(page, [large]);
  await page.locator("#q div small", { hasText: "left" }).waitFor();
  await server.stop("SIGKILL");
  await page.getByText("Waiting for a network connection.").waitFor();
  await page.waitForFunction(() => !/\/s|left/.test(document.querySelector("#q div small").textContent), null, { timeout: 2_000 });
  await close();
});

served("neither speed nor time left while a question waits for its answer", [], async ({ page, url }) => {
  empty("large.bin");
  await page.goto(url);
  await slow(page, 4_000_000);
  await choose(page, [large]);
  await page.locator("#q div small", { hasText: "left" }).waitFor();
  await page.getByText("already exists").waitFor();
  await page.waitForFunction(() => !/\/s|left|%/.test(document.querySelector("#q").textContent), null, { timeout: 2_000 });
  await page.getByRole("button", { name: "Keep both" }).click();
  await page.locator("#q div small", { hasText: "left" }).waitFor();
});

served("a list that scrolls can be scrolled by keys", [], async ({ page, url }) => {
  empty();
  await page.goto(url);
  await choose(page, [one, two]);
  await page.getByText("2 files uploaded").waitFor();
  same(await page.locator("#q ul").getAttribute("tabindex"), "-1", "a short list");
  await choose(page, Array.from({ length: 12 }, (_, number) => ({ name: `${number}.txt`, mimeType: "text/plain", buffer: Buffer.alloc(1) })));
  await page.getByText("14 files uploaded").waitFor();
  same(await page.locator("#q ul").getAttribute("tabindex"), "0", "a long list");
  await accessible(page, "a long list");
});

served("nothing covers the headings, and a message covers no name that has the focus", ["--allow-delete"], async ({ page, url }) => {
  empty(...Array.from({ length: 60 }, (_, at) => `${100 + at}.txt`));
  await page.goto(url);
  await act(page, "100.txt", "Delete");
  await page.evaluate(() => scrollTo(0, 900));
  await page.waitForFunction(() => {
    const { left, right, top, bottom } = document.querySelector("thead").getBoundingClientRect();
    const seen = (x, y) => document.elementFromPoint(x, y).closest("thead");
    return top < 200 && [left + 9, right - 18].every((x) => [top + 2, (top + bottom) / 2, bottom - 2].every((y) => seen(x, y)));
  });
  await page.evaluate(() => {
    const links = [...document.querySelectorAll("td a")];
    links.at(-1).focus();
    links.find((a) => a.textContent === "110.txt").focus();
  });
  same(await page.evaluate(() => {
    const box = document.activeElement.getBoundingClientRect();
    return document.elementFromPoint(box.left + 40, box.top + 2) === document.activeElement;
  }), true, "the link can be seen");
  await page.getByRole("button", { name: "Undo" }).click();
});

served("an open menu stays beside its name while the page scrolls", ["--allow-delete"], async ({ page, url }) => {
  empty(...Array.from({ length: 60 }, (_, at) => `${100 + at}.txt`));
  await page.goto(url);
  await page.evaluate(() => scrollTo(0, 500));
  const button = page.getByRole("button", { name: "Rename, move or delete 120.txt" });
  await button.click();
  const gap = async () => Math.round((await page.locator("#k").boundingBox()).y - (await button.boundingBox()).y);
  const before = await gap();
  await page.mouse.wheel(0, 150);
  await page.waitForFunction(() => scrollY > 600);
  same(await gap(), before, "between the button and its menu");
});

served("a filter: what was uploaded, renamed or created is visible, and the focus stays in the list", ["--allow-delete"], async ({ page, trouble, url }) => {
  const shown = async () => [await page.locator("tbody:not(#up) tr:visible a").allInnerTexts(), await page.locator("[type=search]").inputValue()];
  const focused = (name) => page.waitForFunction((name) => document.activeElement.textContent === name, name);
  empty("f1.txt", "f2.txt", "other.txt");
  await page.goto(`${url}/?q=f`);
  await act(page, "f2.txt", "Delete"); // the next name is hidden
  await focused("f1.txt");
  same(await shown(), [["f1.txt"], "f"], "after a deletion");
  await act(page, "f1.txt", "Rename");
  await page.getByLabel("New name").fill("zz.txt");
  await page.keyboard.press("Enter");
  await focused("zz.txt");
  same(await shown(), [["other.txt", "zz.txt"], ""], "after the new name");
  await page.goto(`${url}/?q=zz`);
  await choose(page, [one]);
  await rows(page, ["one file.txt", "other.txt", "zz.txt"]);
  same([await shown(), page.url()], [[["one file.txt", "other.txt", "zz.txt"], ""], `${url}/`], "after an upload");
  same(trouble.filter((line) => !line.includes("ERR_ABORTED")), [], "trouble");
});

served("printed: names, without controls; in forced colours, buttons look like links", ["--archive", "--allow-delete"], async ({ page, url }) => {
  empty("a.txt", "folder/");
  await page.goto(url);
  await choose(page, [one]);
  await page.getByText("Stored").waitFor();
  await page.emulateMedia({ media: "print" });
  same(await page.locator("button:visible, input:visible, #q:visible").allInnerTexts(), ["Name", "Size", "Modified local"], "controls on paper");
  same(await page.locator("#n").isVisible(), true, "the count");
  await page.emulateMedia({ media: "screen", forcedColors: "active" });
  const colour = (locator) => locator.first().evaluate((it) => getComputedStyle(it).color);
  const link = await colour(page.locator("td a"));
  for (const name of ["zip", "Folder sizes"]) same(await colour(page.getByRole("button", { name, exact: true })), link, name);
});

for (const [policy, answers] of [
  ["refuse", ["Keep both", "Skip"]],
  ["replace", ["Keep both", "Replace", "Skip"]],
]) {
  served(`names that are taken, ${policy}: asked about once`, ["--overwrite", policy], async ({ page, url }) => {
    for (const answer of answers) {
      const names = ["0.txt", "1.txt", "2.txt"];
      empty(...names);
      await page.goto(url);
      await choose(page, six());
      const dialog = page.getByRole("dialog");
      await dialog.waitFor();
      same(await dialog.getByRole("button").allInnerTexts(), answers, "the answers");
      await page.getByLabel("Do the same for all").check();
      await page.getByRole("button", { name: answer }).click();
      await page.getByText(`${answer === "Skip" ? 3 : 6} files uploaded`).waitFor();
      const more = answer === "Keep both" ? ["0 (1).txt", "1 (1).txt", "2 (1).txt"] : [];
      same(stored(), [...more, ...names, "3.txt", "4.txt", "5.txt"].sort(), answer);
      same(readFileSync(join(inbox, "0.txt"), "utf8"), answer === "Replace" ? "number 0" : "there", answer);
    }
  });
}

served("rename: nothing is asked, and the page says the name", ["--overwrite", "rename"], async ({ page, url }) => {
  empty("one file.txt");
  await page.goto(url);
  await choose(page, [one]);
  await rows(page, ["one file (1).txt", "one file.txt"]);
  await page.getByText("Stored as one file (1).txt").waitFor();
});

for (const words of [[], ["--resumable"]]) {
  served(`keep both is one question, one more request, and a name that is free and short enough ${words}`, words, async ({ page, url }) => {
    const [packed, long, plain] = ["a.tar.gz", `${"x".repeat(251)}.txt`, "v1.2 notes.txt"];
    empty(packed, "a (1).tar.gz", "a (2).tar.gz", long, plain);
    await page.goto(url);
    const puts = [];
    page.on("request", (request) => request.method() === "PUT" && puts.push(request.url()));
    for (const [name, other] of [[packed, "a (3).tar.gz"], [long, `${"x".repeat(247)} (1).txt`], [plain, "v1.2 notes (1).txt"]]) {
      await choose(page, [{ name, mimeType: "text/plain", buffer: Buffer.alloc(2 << 20, 1) }]);
      await page.getByRole("button", { name: "Keep both" }).click();
      await page.getByText(`Stored as ${other}`, { exact: true }).waitFor();
      same(stored().includes(other), true, other);
      // With --resumable, one asks whether the file is the page's own, whose response was lost.
      same(puts.splice(0).length, 2 + words.length, `requests for ${name}`);
      await page.getByRole("button", { name: "Close" }).click();
    }
  });
}

served("the answer for all names is that of the files chosen together", ["--overwrite", "replace"], async ({ page, url }) => {
  empty("0.txt", "1.txt", "2.txt");
  await page.goto(url);
  const [zero, first, second] = six();
  const set = await slow(page, 300_000);
  await choose(page, [zero, first, large]);
  await page.getByLabel("Do the same for all").check();
  await page.getByRole("button", { name: "Replace" }).click();
  await until(() => readFileSync(join(inbox, "1.txt"), "utf8") === "number 1", "both are replaced");
  await choose(page, [second]);
  await page.getByText("“2.txt” already exists.").waitFor();
  const facts = await page.locator("dialog p").textContent();
  same(/^There: 5 B, 2\d{3}-\d\d-\d\d \d\d:\d\d\. Yours: 8 B, 2\d{3}-\d\d-\d\d \d\d:\d\d\.$/.test(facts), true, facts);
  same(readFileSync(join(inbox, "2.txt"), "utf8"), "there", "a file that was chosen later");
  await page.keyboard.press("Escape");
  await page.getByText("Skipped: that name already exists.").waitFor();
  await set(false, -1);
});

served("a new folder, by keys; a slash in its name is a slash, and leads nowhere", ["--allow-delete"], async ({ page, trouble, url }) => {
  empty("sub/", "sub/x/");
  await page.goto(`${url}/sub/`);
  await page.getByRole("button", { name: "New folder" }).focus();
  await page.keyboard.press("Enter");
  await page.keyboard.type("../y");
  same(await page.getByLabel("Name", { exact: true }).inputValue(), "../y", "what was typed");
  await page.keyboard.press("Enter");
  same(await page.getByRole("dialog").count(), 1, "questions that are still open");
  for (let key = 0; key < 4; key++) await page.keyboard.press("Backspace");
  await page.keyboard.type("by keys");
  await page.keyboard.press("Enter");
  await rows(page, ["by keys/", "x/"]);
  same(stored(), ["sub", "sub/by keys", "sub/x"], "what is there");
  await page.waitForFunction(() => document.activeElement.textContent === "by keys/");
  await page.getByRole("button", { name: "New folder" }).click();
  await page.keyboard.type("x");
  await page.keyboard.press("Enter");
  await status(page, "x: That name is taken.");
  same(trouble.filter((line) => !line.includes("405")), [], "trouble");
});

served("rename and move, by the menu and by dragging, each undone", ["--allow-delete"], async ({ page, trouble, url }) => {
  empty("a b.txt", "folder/", "other/");
  await page.goto(url);
  await act(page, "a b.txt", "Rename");
  same(await page.evaluate(() => document.getSelection().toString()), "a b", "what is selected");
  await page.getByLabel("New name").fill("c#d.txt");
  await page.keyboard.press("Enter");
  await rows(page, ["folder/", "other/", "c#d.txt"]);
  await page.getByRole("button", { name: "Undo" }).click();
  await rows(page, ["folder/", "other/", "a b.txt"]);
  await act(page, "folder/", "Move");
  await page.getByLabel("To the folder").selectOption("other/");
  await page.getByRole("button", { name: "Move", exact: true }).click();
  await rows(page, ["other/", "a b.txt"]);
  same(stored(), ["a b.txt", "other", "other/folder"], "what is there");
  await page.getByRole("link", { name: "a b.txt" }).dragTo(page.getByRole("link", { name: "other/" }));
  await rows(page, ["other/"]);
  await status(page, "“a b.txt” is now in “other”.");
  await page.getByRole("button", { name: "Undo" }).click();
  await rows(page, ["other/", "a b.txt"]);
  await page.goto(`${url}/other/`);
  await page.getByRole("link", { name: "folder/" }).dragTo(page.locator("nav").getByRole("link", { name: "/", exact: true }));
  await rows(page, []);
  same(stored(), ["a b.txt", "folder", "other"], "what is there");
  same(trouble, [], "trouble");
});

served("an upload that ends during a drag leaves the drag alone; the next file that is dropped is uploaded", ["--allow-delete"], async ({ page, trouble, url }) => {
  empty("a.txt", "folder/");
  await page.goto(`${url}/`);
  const middle = async (name) => {
    const at = await page.getByRole("link", { name, exact: true }).boundingBox();
    return [at.x + 5, at.y + at.height / 2];
  };
  await page.mouse.move(...(await middle("a.txt")));
  await page.mouse.down();
  await page.mouse.move(...(await middle("folder/")), { steps: 5 });
  await choose(page, one);
  await until(() => stored().includes("one file.txt"), "it is stored");
  await page.waitForTimeout(1000); // the rows would be replaced in this time
  same(await listed(page), ["folder/", "a.txt"], "rows during the drag");
  await page.mouse.move(5, 5, { steps: 3 });
  await page.mouse.up();
  await rows(page, ["folder/", "a.txt", "one file.txt"]);
  await page.evaluate(() => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File(["dropped"], "dropped.txt"));
    const at = [...document.querySelectorAll("td a")].find((a) => a.textContent === "folder/");
    for (const name of ["dragover", "drop"]) at.dispatchEvent(new DragEvent(name, { bubbles: true, cancelable: true, dataTransfer }));
  });
  await rows(page, ["folder/", "a.txt", "dropped.txt", "one file.txt"]);
  same(stored(), ["a.txt", "dropped.txt", "folder", "one file.txt"], "what is there");
  same(trouble, [], "trouble");
});

served("a link to a full folder is renamed and deleted, and not the folder", ["--allow-delete", "--follow-symlinks", "anywhere"], async ({ page, trouble, url }) => {
  empty("full/");
  writeFileSync(join(inbox, "full", "kept"), "kept");
  symlinkSync("full", join(inbox, "link"));
  symlinkSync(away, join(inbox, "outside"));
  await page.goto(`${url}/`);
  await act(page, "link/", "Rename");
  await page.getByLabel("New name").fill("Ann's (1)");
  await page.keyboard.press("Enter");
  await rows(page, ["Ann's (1)/", "full/", "outside/"]);
  same(await page.evaluate(() => document.activeElement.textContent), "Ann's (1)/", "what has the focus");
  await act(page, "Ann's (1)/", "Delete");
  await status(page, "Deleted “Ann's (1)”.");
  await page.goto(`${url}/outside/`);
  same(await page.locator("#u").count(), 0, "controls where nothing can be written");
  await until(() => readdirSync(inbox).length === 2, "the link is deleted");
  same([existsSync(join(inbox, "full", "kept")), readdirSync(inbox).sort()], [true, ["full", "outside"]], "what is there");
  rmSync(join(inbox, "outside"));
  same(trouble.filter((line) => !line.includes("ERR_ABORTED")), [], "trouble"); // the list, on leaving the page
});

served("messages stay in view, Ctrl+Z undoes, and a refresh does not scroll", ["--allow-delete"], async ({ page, trouble, url }) => {
  empty(...Array.from({ length: 200 }, (_, at) => `${100 + at}.txt`));
  await page.goto(`${url}/`);
  await page.getByRole("link", { name: "250.txt" }).scrollIntoViewIfNeeded();
  await act(page, "250.txt", "Delete");
  const undo = page.getByRole("button", { name: "Undo" });
  await undo.waitFor();
  const top = await undo.evaluate((it) => it.getBoundingClientRect().top);
  same(top >= 0 && top < 200, true, `where Undo is: ${top}`);
  await page.keyboard.press("Control+z");
  await status(page, "Undone.");
  await page.waitForFunction(() => document.activeElement.textContent === "250.txt"); // the rows are replaced
  await page.getByRole("link", { name: "101.txt" }).focus();
  await page.evaluate(() => scrollTo(0, 3000));
  await choose(page, one);
  await until(async () => (await listed(page)).length === 201, "the rows are replaced");
  const at = await page.evaluate(() => scrollY);
  same(Math.abs(at - 3000) < 400, true, `where the page is: ${at}`);
  same(trouble, [], "trouble");
});

served("an index page that is stored meanwhile does not replace the rows", ["--allow-delete"], async ({ page, trouble, url }) => {
  empty("a.txt", "b.txt");
  await page.goto(`${url}/`);
  const table = `<table><tr><td><a href=b.txt>a.txt</a></table>`;
  writeFileSync(join(inbox, "index.html"), `<i id=n></i><form action="?log-out"></form><meta http-equiv=refresh content="0;url=/elsewhere">${table}`);
  await choose(page, one);
  await status(page, "Stored").catch(() => {});
  await until(() => stored().includes("one file.txt"), "it is stored");
  await act(page, "a.txt", "Rename");
  await page.getByLabel("New name").fill("c.txt");
  await page.keyboard.press("Enter");
  await until(() => stored().includes("c.txt"), "it is renamed");
  await status(page, "“a.txt” is now called “c.txt”.");
  await page.waitForLoadState("networkidle");
  same(await page.locator("table a").evaluateAll((all) => all.filter((a) => a.textContent == "a.txt").map((a) => a.pathname)), ["/a.txt"], "the rows");
  same([await page.locator("meta[http-equiv], form[action*=log-out]").count(), page.url()], [0, `${url}/`], "the page");
  same(trouble, [], "trouble");
});

served("links of a README are neither dragged nor places to drop files", ["--allow-delete"], async ({ page, trouble, url }) => {
  empty("a.txt", "folder/", "other/");
  writeFileSync(join(inbox, "README.md"), "| Name |\n|------|\n| [archive/](/other/) |\n| [x.txt](/a.txt) |\n");
  await page.goto(`${url}/`);
  const article = page.locator("article");
  await article.getByRole("link", { name: "archive/" }).waitFor();
  await page.locator("main table").first().getByRole("link", { name: "a.txt" }).dragTo(article.getByRole("link", { name: "archive/" }));
  await article.getByRole("link", { name: "x.txt" }).dragTo(page.locator("main table").first().getByRole("link", { name: "folder/" }));
  await page.waitForLoadState("networkidle");
  same(stored(), ["README.md", "a.txt", "folder", "other"], "what is there");
  same(trouble, [], "trouble");
});

served("names that mislead, and a README that would cover the page", ["--allow-delete"], async ({ page, trouble, url }) => {
  empty("photo\u202egpj.exe", "folder/");
  writeFileSync(join(inbox, "README.md"), "```x\to\nboo\n```\n");
  await page.goto(`${url}/`);
  await page.locator("article").waitFor();
  same(await page.locator("article code").getAttribute("class"), "language-x", "the class of the code");
  await page.getByPlaceholder("Filter (/)").fill("photo");
  await page.getByRole("button", { name: "Search subfolders" }).click();
  await page.locator("#r li").waitFor();
  const row = await page.locator("tbody:not(#up) button").first().getAttribute("aria-label");
  const shown = [await page.locator("body").innerText(), row].join();
  same([shown.includes("\u202e"), shown.includes("photo\ufffdgpj.exe")], [false, true], "what is shown");
  same(trouble, [], "trouble");
});

served("names that mislead, in the queue, in questions and in messages", ["--allow-delete", "--webdav"], async ({ page, url }) => {
  const [odd, seen] = ["photo\u202egpj.exe", "photo\ufffdgpj.exe"];
  empty(odd, `${odd} 2/`, `${odd} 2/x`);
  await page.goto(`${url}/`);
  const shown = async (what, wanted) => {
    const texts = () => page.evaluate(() => [document.title, document.body.innerText, ...[...document.querySelectorAll("[aria-label], [title]")].flatMap((it) => [it.ariaLabel, it.title]), ...[...document.querySelectorAll("input")].map((it) => it.value)].join("\n"));
    await until(async () => (await texts()).includes(wanted), `${what}: ${wanted}`);
    const marks = (await texts()).match(/[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069].*/g);
    same(marks, null, what);
    // Each name in a sentence is isolated from the text around it.
    same(await page.evaluate((seen) => [...document.querySelectorAll("h2, #m, #q b")].filter((it) => it.textContent.includes(seen) && !it.querySelector("bdi")).map((it) => it.outerHTML), seen), [], `${what}: not isolated`);
  };
  await choose(page, [{ name: odd, mimeType: "text/plain", buffer: Buffer.from("x") }]);
  await shown("the queue", seen);
  await page.getByText("1 failed").waitFor();
  await act(page, seen, "Rename");
  await shown("the question for a name", `Rename “${seen}”`);
  await page.getByLabel("New name").fill("a\u202e.txt");
  await page.keyboard.press("Enter");
  await shown("a name that is rejected", `${seen}: `);
  await act(page, seen, "Rename");
  await page.getByLabel("New name").fill("שלום (1).txt");
  await page.keyboard.press("Enter");
  await shown("after Rename", `“${seen}” is now called “שלום (1).txt”.`);
  await page.getByRole("button", { name: "Undo" }).click();
  await shown("an Undo that is rejected", "שלום (1).txt: Names can't contain");
  await act(page, `${seen} 2/`, "Move");
  await page.keyboard.press("Escape");
  await act(page, `${seen} 2/`, "Delete");
  await shown("before the deletion", `Delete “${seen} 2” and everything in it?`);
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await shown("the deletion", `Deleted “${seen} 2”.`);
  await page.getByRole("button", { name: "New folder" }).click();
  await page.getByLabel("Name", { exact: true }).fill("\u202enew");
  await page.keyboard.press("Enter");
  await shown("a new folder", "\ufffdnew: ");
});

served("a README that is uploaded, changed, renamed and deleted: the page shows the current one", ["--allow-delete", "--overwrite", "replace"], async ({ page, trouble, url }) => {
  empty("a.txt");
  await page.goto(`${url}/`);
  const shown = page.getByRole("region", { name: "README.md" }).locator("article");
  await choose(page, [{ name: "README.md", mimeType: "text/plain", buffer: Buffer.from("# First") }]);
  await shown.getByText("First").waitFor();
  writeFileSync(join(inbox, "README.md"), "# Other");
  await choose(page, [one]);
  await shown.getByText("Other").waitFor();
  same(await page.locator("article").count(), 1, "how many are shown");
  await act(page, "README.md", "Rename");
  await page.getByLabel("New name").fill("old.md");
  await page.keyboard.press("Enter");
  await shown.waitFor({ state: "hidden" });
  await page.getByRole("button", { name: "Undo" }).click();
  await shown.getByText("Other").waitFor();
  await act(page, "README.md", "Delete");
  await shown.waitFor({ state: "hidden" });
  await page.getByRole("button", { name: "Undo" }).click();
  await shown.getByText("Other").waitFor();
  same(trouble, [], "trouble");
});

served("a folder with an index page is deleted only after a question", ["--allow-delete", "--webdav"], async ({ page, trouble, url }) => {
  empty("site/");
  writeFileSync(join(inbox, "site", "index.html"), "a page");
  await page.goto(`${url}/`);
  await act(page, "site/", "Delete");
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.evaluate(() => dispatchEvent(new Event("pagehide"))); // sends the deletion
  await until(() => !stored().length, "it is deleted");
  same(trouble, [], "trouble");
});

check("behind a proxy that removes a prefix: rename, move and undo stay there; a file that took the name stays", async () => {
  empty("a b.txt", "folder/", "folder/inner/");
  const server = await start(modest, inbox, "-b", "127.0.0.1", "-p", "0", "--upload", "--allow-delete");
  const way = await behindPrefix(server, "/files");
  const { page, trouble, close } = await open();
  await page.goto(`${way.url}/`);
  await act(page, "a b.txt", "Rename");
  await page.getByLabel("New name").fill("c#d.txt");
  await page.keyboard.press("Enter");
  await rows(page, ["folder/", "c#d.txt"]);
  await page.getByRole("button", { name: "Undo" }).click();
  await rows(page, ["folder/", "a b.txt"]);
  await page.getByRole("link", { name: "a b.txt" }).dragTo(page.getByRole("link", { name: "folder/" }));
  await rows(page, ["folder/"]);
  same(stored(), ["folder", "folder/a b.txt", "folder/inner"], "what is there");
  writeFileSync(join(inbox, "folder", "a b.txt"), "of somebody else");
  await page.getByRole("button", { name: "Undo" }).click();
  await page.locator("output", { hasText: "a b.txt: " }).waitFor();
  same(stored(), ["folder", "folder/a b.txt", "folder/inner"], "another file is not moved");
  await page.goto(`${way.url}/folder/`);
  await act(page, "inner/", "Move");
  await page.getByLabel("To the folder").selectOption({ index: 0 });
  await page.getByRole("button", { name: "Move", exact: true }).click();
  await rows(page, ["a b.txt"]);
  await page.getByRole("button", { name: "Undo" }).click();
  await rows(page, ["inner/", "a b.txt"]);
  same(trouble.filter((line) => !line.includes("412")), [], "trouble");
  await close();
  way.close();
  await server.stop();
});

served("delete of a file that is sent compressed: not of what was stored there since", ["--allow-delete", "--compress"], async ({ page, url }) => {
  empty();
  writeFileSync(join(inbox, "text.txt"), "compressible ".repeat(1000));
  const deletions = [];
  page.on("request", (request) => request.method() === "DELETE" && deletions.push(request.headers()["if-match"]));
  await page.goto(url);
  await page.clock.install();
  // After a compressed response, HEAD has the tag of that form, unless the request is for the uncompressed file.
  await until(async () => (await page.evaluate(() => fetch("text.txt").then((it) => it.headers.get("content-encoding")))) === "gzip", "compressed");
  const looked = page.waitForResponse((answer) => answer.request().headers().range === "bytes=0-0");
  await act(page, "text.txt", "Delete");
  await (await looked).finished();
  writeFileSync(join(inbox, "text.txt"), "of somebody else");
  await page.clock.runFor(9000);
  await status(page, "text.txt: The file has changed, so it was not deleted.");
  same([deletions.length, /^"/.test(deletions[0])], [1, true], `the conditions: ${deletions}`);
  same(readFileSync(join(inbox, "text.txt"), "utf8"), "of somebody else", "what is there");
});

check("rows of mounts have no menu, and are no place to move files to", async () => {
  empty("a.txt", "real/");
  const server = await start(modest, inbox, `/elsewhere=${away}`, "-b", "127.0.0.1", "-p", "0", "--upload", "--allow-delete");
  const { page, trouble, close } = await open();
  await page.goto(`${server.url}/`);
  await page.getByRole("button", { name: "Rename, move or delete a.txt" }).waitFor();
  same(await page.locator(".m").evaluateAll((all) => all.map((it) => it.ariaLabel.split(" ").pop())), ["real/", "a.txt"], "menus");
  await act(page, "a.txt", "Move");
  same(await page.getByLabel("To the folder").locator("option").allInnerTexts(), ["real/"], "folders to move to");
  await page.keyboard.press("Escape");
  await page.getByRole("link", { name: "a.txt" }).dragTo(page.getByRole("link", { name: "elsewhere/" }));
  same([stored(), await page.locator("#m").innerText()], [["a.txt", "real"], ""], "after a drag to another folder");
  same(trouble, [], "trouble");
  await close();
  await server.stop();
});

served("delete, with undo; the count is right and the focus is kept", ["--allow-delete"], async ({ page, trouble, url }) => {
  const deletions = [];
  page.on("request", (request) => request.method() === "DELETE" && deletions.push(request.url()));
  empty("a.txt", "b.txt", "c.txt", "full/", "full/x");
  await page.goto(url);
  await act(page, "b.txt", "Delete");
  await status(page, "Deleted “b.txt”.");
  same([await page.locator("#n").innerText(), await listed(page)], ["1 folder, 2 files", ["full/", "a.txt", "c.txt"]], "what is shown");
  same(await page.evaluate(() => document.activeElement.textContent), "c.txt", "what has the focus");
  await page.getByRole("button", { name: "Undo" }).click();
  await rows(page, ["full/", "a.txt", "b.txt", "c.txt"]);
  same([deletions.length, await page.locator("#n").innerText()], [0, "1 folder, 3 files"], "after Undo");
  await act(page, "b.txt", "Delete");
  await act(page, "c.txt", "Delete");
  await until(() => !existsSync(join(inbox, "b.txt")), "b.txt goes when another one does");
  same(existsSync(join(inbox, "c.txt")), true, "c.txt can still be undone");
  // Another file that has the name by now is not deleted.
  await choose(page, [file("c.txt", "new")]);
  await page.getByText("1 file uploaded").waitFor();
  same(readFileSync(join(inbox, "c.txt"), "utf8"), "new", "what was uploaded since");
  await act(page, "a.txt", "Delete");
  await page.goto("about:blank");
  await until(() => !existsSync(join(inbox, "a.txt")), "a.txt goes with the page");
  // A folder that gets contents before its deletion is sent.
  empty("full/");
  await page.goto(url);
  await page.clock.install();
  await page.reload();
  const looked = page.waitForResponse((answer) => answer.url().includes("format=json"));
  await act(page, "full/", "Delete");
  await (await looked).finished();
  await rows(page, []);
  writeFileSync(join(inbox, "full", "x"), "there");
  await page.clock.runFor(9000);
  await status(page, "full: The folder is not empty. Delete its contents first.");
  await rows(page, ["full/"]);
  // Chromium reports the deletion that goes with the page as aborted.
  const expected = (line) => line.includes("409") || line.includes("/a.txt net::ERR_ABORTED");
  same(trouble.filter((line) => !expected(line)), [], "trouble");
});

served("a deleted name stays away while uploads update the list: before, during and after the deletion", ["--allow-delete", "--uploads-each", "1"], async ({ page, url }) => {
  empty("deleted.txt", "kept.txt");
  await page.goto(url);
  await page.route("**/deleted.txt", async (route) => {
    if (route.request().method() === "DELETE") await new Promise((then) => setTimeout(then, 6000));
    await route.continue();
  });
  const lists = [];
  page.on("request", (request) => request.resourceType() === "fetch" && request.url() === `${url}/` && lists.push(request.url()));
  const set = await slow(page, 100_000);
  await choose(page, Array.from({ length: 12 }, (_, number) => ({ name: `${number}.bin`, mimeType: "text/plain", buffer: Buffer.alloc(100_000) })));
  await act(page, "deleted.txt", "Delete");
  await page.evaluate(() => {
    window.back = [];
    new MutationObserver(() => document.querySelector('td a[href="deleted.txt"]') && window.back.push(performance.now())).observe(document.querySelector("table"), { childList: true, subtree: true });
  });
  const before = lists.length;
  await until(() => lists.length > before + 1, "the list is updated while the deletion waits");
  same(await page.evaluate(() => window.back), [], "when the name was back, before the deletion is sent");
  await page.evaluate(() => dispatchEvent(new Event("pagehide"))); // sends the deletion
  same(await page.locator("#m button").count(), 0, "Undo, once the deletion is sent");
  const during = lists.length;
  await until(() => lists.length > during, "the list is updated while the deletion is sent");
  await until(() => !existsSync(join(inbox, "deleted.txt")), "it is deleted");
  await set(false, -1);
  await page.getByText("12 files uploaded").waitFor();
  same([await page.evaluate(() => window.back), await page.locator("#n").innerText()], [[], "13 files"], "when the name was back, and the count");
});

served("a menu that is open while the list is updated is about the new row", ["--allow-delete"], async ({ page, url }) => {
  empty("a.txt", "b.txt");
  await page.goto(url);
  await page.getByRole("button", { name: "Rename, move or delete a.txt", exact: true }).click();
  await choose(page, [one]);
  await rows(page, ["a.txt", "b.txt", "one file.txt"]);
  await page.locator("#k button", { hasText: "Delete" }).click();
  same(await listed(page), ["b.txt", "one file.txt"], "what is shown");
});

served("deletions in quick succession, slowly answered: all are sent, and only the last can be undone", ["--allow-delete"], async ({ page, url }) => {
  empty("a.txt", "b.txt", "c.txt", "d.txt");
  await page.goto(url);
  await page.route("**/*.txt", async (route) => {
    if (route.request().method() === "DELETE") await new Promise((then) => setTimeout(then, 1000));
    await route.continue();
  });
  for (const name of ["a.txt", "b.txt", "c.txt"]) await act(page, name, "Delete");
  await page.getByRole("button", { name: "Undo" }).click();
  await until(() => stored().length === 2, "two are deleted");
  await rows(page, ["c.txt", "d.txt"]);
  await page.waitForTimeout(500);
  same(stored(), ["c.txt", "d.txt"], "what is there");
});

served("a folder with contents: a message at once without WebDAV", ["--allow-delete"], async ({ page, trouble, url }) => {
  empty("empty/", "full/", "full/x");
  await page.goto(url);
  await act(page, "full/", "Delete");
  await status(page, "full: The folder is not empty. Delete its contents first.");
  same(await listed(page), ["empty/", "full/"], "what is shown");
  await act(page, "empty/", "Delete");
  await page.evaluate(() => dispatchEvent(new Event("pagehide")));
  await until(() => stored().length === 2, "the empty one is deleted");
  same(trouble, [], "trouble");
});

served("a folder with contents: with WebDAV it is deleted after a question, and with undo", ["--allow-delete", "--webdav"], async ({ page, trouble, url }) => {
  empty("full/", "full/x");
  await page.goto(url);
  await act(page, "full/", "Delete");
  await page.getByText("Delete “full” and everything in it?").waitFor();
  await accessible(page, "the question");
  await page.keyboard.press("Escape");
  same([await listed(page), stored()], [["full/"], ["full", "full/x"]], "after Escape");
  await act(page, "full/", "Delete");
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await rows(page, []);
  await page.getByRole("button", { name: "Undo" }).click();
  await rows(page, ["full/"]);
  await act(page, "full/", "Delete");
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await rows(page, []);
  await page.evaluate(() => dispatchEvent(new Event("pagehide")));
  await until(() => stored().length === 0, "it is deleted");
  await status(page, "Deleted “full”.");
  same(trouble, [], "trouble");
});

const rights = ["--auth", users, "--allow", "/=*:read,list", "--allow", "/=ada:all", "--allow", "/box=*:write", "--allow", "/box=ada:all", "--allow-delete"];
served("who is not logged in sees Log in, and no form; then the name and Log out", rights, async ({ page, url }) => {
  empty("sub/", "sub/a.txt");
  await page.goto(`${url}/sub/`);
  same(await page.locator("#u, .m").count(), 0, "forms and menus");
  await accessible(page, "logged out");
  await page.getByRole("button", { name: "Log in to upload" }).click();
  await page.waitForURL(`${url}/sub/`);
  await page.getByText("ada").waitFor();
  await page.getByRole("button", { name: "Upload files" }).waitFor();
  await accessible(page, "logged in");
  // Also at the root, where the login was.
  await page.goto(`${url}/`);
  await page.getByText("ada").waitFor();
  await choose(page, [one]);
  await rows(page, ["sub/", "one file.txt"]);
}, { httpCredentials: { username: "ada", password: "a long secret", send: "unauthorized" } });

check("log out: the browser forgets the password, other sites can't do it", async () => {
  empty("a.txt");
  const server = await start(modest, inbox, "-b", "127.0.0.1", "-p", "0", "--upload", ...rights);
  const { page, close } = await open({ httpCredentials: { username: "ada", password: "a long secret", send: "unauthorized" } });
  await page.goto(server.url);
  await page.getByRole("button", { name: "Log in to upload" }).click();
  await page.getByText("ada").waitFor();
  const answer = await fetch(`${server.url}/?log-out`, { method: "POST", headers: { "sec-fetch-site": "cross-site", authorization: `Basic ${btoa("ada:a long secret")}` } });
  same(answer.status, 403, "for another site");
  await act(page, "a.txt", "Delete");
  await status(page, "Deleted “a.txt”.");
  const asked = [];
  page.on("request", (request) => !["GET", "HEAD"].includes(request.method()) && asked.push(request.method()));
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("button", { name: "Log in to upload" }).waitFor();
  same(asked[0], "DELETE", "what is sent first: later the browser has no password");
  await until(() => !stored().includes("a.txt"), "the deleted file is there");
  same(await page.locator("#u").count(), 0, "forms");
  await close();
  await server.stop();
});

check("log out during uploads or a rename: a question comes first, and the password is kept until its answer", async () => {
  empty("a.txt");
  const server = await start(modest, inbox, "-b", "127.0.0.1", "-p", "0", "--upload", ...rights);
  const { page, close } = await open({ httpCredentials: { username: "ada", password: "a long secret", send: "unauthorized" } });
  page.on("dialog", (dialog) => dialog.dismiss()); // the browser's own question: the user stays
  await page.goto(server.url);
  await page.getByRole("button", { name: "Log in to upload" }).click();
  await page.getByText("ada").waitFor();
  const asked = [];
  page.on("request", (request) => asked.push(`${request.method()} ${new URL(request.url()).search}`));
  const logOut = () => page.getByRole("button", { name: "Log out", exact: true }).click();
  const question = page.getByRole("dialog", { name: "Your changes are not finished" });
  const set = await slow(page, 1_000_000);
  await choose(page, [large, one]);
  await page.waitForFunction(() => document.querySelector("li progress")?.value > 500_000);
  await logOut();
  await question.getByRole("button", { name: "Cancel" }).click();
  await set(false, -1);
  await page.getByText("2 files uploaded").waitFor();
  same(asked.filter((it) => it.includes("log-out")), [], "requests that log out");
  let release;
  await page.route("**/a.txt", (route) => new Promise((then) => (release = then)).then(() => route.continue()));
  await act(page, "a.txt", "Rename");
  await page.getByLabel("New name").fill("b.txt");
  await page.keyboard.press("Enter");
  await until(() => release, "the request for the new name");
  await logOut();
  await question.getByRole("button", { name: "Cancel" }).click();
  release();
  await until(() => stored().includes("b.txt"), "it is renamed");
  await status(page, "“a.txt” is now called “b.txt”.");
  await page.unroute("**/a.txt");
  await set(false, 100_000);
  await choose(page, [file("more.bin", Buffer.alloc(2 << 20, 1))]);
  await page.waitForFunction(() => [...document.querySelectorAll("li progress")].pop().value > 50_000);
  await logOut();
  await question.getByRole("button", { name: "Log out anyway" }).click();
  await page.getByRole("button", { name: "Log in to upload" }).waitFor();
  same(stored(), ["b.txt", "large.bin", "one file.txt"], "what is stored");
  await close();
  await server.stop();
});

served("a folder that one comes back to shows what was moved there meanwhile", ["--allow-delete"], async ({ page, trouble, url }) => {
  empty("sub/", "sub/x.txt");
  await page.goto(`${url}/`);
  await page.getByRole("link", { name: "sub/" }).click();
  await page.waitForURL(`${url}/sub/`);
  await act(page, "x.txt", "Move");
  await page.getByRole("button", { name: "Move", exact: true }).click();
  await status(page, "“x.txt” is now in “/”.");
  await page.goBack();
  await rows(page, ["sub/", "x.txt"]);
  same(trouble.filter((line) => !line.includes("ERR_ABORTED")), [], "trouble");
});

served("a question about a name that is taken waits until an open dialog is closed", [], async ({ page, trouble, url }) => {
  empty("one file.txt");
  await page.goto(`${url}/`);
  const answered = page.waitForResponse((answer) => answer.status() === 412);
  await page.getByRole("button", { name: "New folder" }).click();
  await choose(page, [one]);
  await page.keyboard.type("ne");
  await (await answered).finished();
  await page.waitForTimeout(300); // the question would be opened in this time
  await page.keyboard.type("w");
  same([await page.getByLabel("Name", { exact: true }).inputValue(), await page.getByRole("dialog").count()], ["new", 1], "the name, and open dialogs");
  await page.keyboard.press("Enter");
  await page.getByText("“one file.txt” already exists.").waitFor();
  await page.getByRole("button", { name: "Skip" }).click();
  await rows(page, ["new/", "one file.txt"]);
  same(trouble.filter((line) => !line.includes("412")), [], "trouble");
});

served("an archive is downloaded during an upload without a question, and leaving the page still asks", ["--archive"], async ({ page, trouble, url }) => {
  empty("a.txt");
  const questions = [];
  page.on("dialog", (dialog) => (questions.push(dialog.type()), dialog.dismiss()));
  await page.goto(url);
  const set = await slow(page, 500_000);
  await choose(page, [large]);
  await page.waitForFunction(() => document.querySelector("li progress")?.value > 100_000);
  for (const name of ["zip", "tar.gz"]) {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name, exact: true }).click()]);
    same([download.suggestedFilename().endsWith(name), questions], [true, []], name);
  }
  await page.getByRole("link", { name: "a.txt" }).click();
  await until(() => questions.length, "the question");
  await set(false, -1);
  await page.getByText("1 file uploaded").waitFor();
  same(questions, ["beforeunload"], "questions");
  same(trouble.filter((line) => !line.includes("ERR_ABORTED")), [], "trouble");
});

served("a box that can only be written to has a page, which shows nothing of it", rights, async ({ page, trouble, url }) => {
  empty("box/", "box/secret.txt");
  await page.goto(`${url}/box`);
  await page.waitForURL(`${url}/box/`);
  await page.getByText("The contents of this folder are not shown.").waitFor();
  same((await page.content()).includes("secret.txt"), false, "the name of what is in it");
  await accessible(page, "a box");
  await choose(page, [one]);
  await page.getByText("1 file uploaded").waitFor();
  await page.getByText("Stored").waitFor();
  await page.screenshot({ path: join(shots, "uploads-box.png") });
  same(stored(), ["box", "box/one file.txt", "box/secret.txt"], "what is stored");
  for (const path of ["secret.txt", "none.txt", "none/", "?format=json", "?archive=zip"]) {
    const answer = await fetch(`${url}/box/${path}`, { headers: { accept: "text/html" } });
    same([path, answer.status === 200 ? (await answer.text()).includes("secret.txt") : answer.status], [path, path === "?format=json" ? false : 401], "reading");
  }
  same(trouble.filter((line) => !line.includes("401")), [], "trouble");
});

check("pages of another site, and pages that were uploaded, can store and delete nothing", async () => {
  empty("kept.txt");
  const server = await start(modest, inbox, "-b", "127.0.0.1", "-p", "0", "--upload", "--allow-delete");
  const attack = `(async () => {
    const tries = [];
    for (const [method, path, mode] of [["PUT", "evil", "cors"], ["DELETE", "kept.txt", "cors"], ["MKCOL", "evil", "cors"], ["POST", "", "no-cors"]]) {
      const body = method === "POST" ? new FormData() : method === "PUT" ? "evil" : undefined;
      if (method === "POST") body.append("file", new File(["evil"], "evil.txt"));
      tries.push(await fetch("${server.url}/" + path, { method, mode, body, credentials: mode === "cors" ? "omit" : "include" }).then((it) => it.status, () => "blocked"));
    }
    document.title = "tried " + tries;
  })()`;
  writeFileSync(join(inbox, "page.html"), `<!DOCTYPE html><title>waits</title><script>${attack}</script>`);
  for (const place of [given.hello, `${server.url}/page.html`]) {
    const { page, close } = await open();
    await page.goto(place);
    if (place === given.hello) await page.evaluate(attack);
    await page.waitForFunction(() => document.title.startsWith("tried"));
    same(await page.title(), "tried blocked,blocked,blocked,0", place);
    same(stored(), ["kept.txt", "page.html"], `after ${place}`);
    await close();
  }
  await server.stop();
});

served("names do nothing but be names", ["--allow-delete"], async ({ page, trouble, url }) => {
  const names = ["<img src=x onerror=alert(1)>.png", "a&lt;b.txt", "javascript:alert(1)", '"onclick="x', "%2e%2e"];
  empty(...names);
  writeFileSync(join(inbox, names[0]), "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");
  page.on("dialog", (dialog) => (trouble.push(`dialog: ${dialog.message()}`), dialog.dismiss()));
  await page.goto(url);
  await page.getByRole("button", { name: `Rename, move or delete %2e%2e` }).waitFor();
  same((await listed(page)).sort(), [...names].sort(), "what is listed");
  for (const name of names.slice(0, 4)) {
    await act(page, name, "Rename");
    same(await page.getByLabel("New name").inputValue(), name, "the name in the question");
    await page.keyboard.press("Escape");
  }
  await act(page, "%2e%2e", "Delete");
  await page.getByRole("button", { name: "Pictures" }).click();
  await page.locator("td img").waitFor();
  same(trouble.filter((line) => !line.includes("failed")), [], "trouble");
});

// Also what decoding twice, a query, a fragment, a shell or HTML would change.
const odd = ["100%.txt", "%41.txt", "q?x=y&z.txt", "#hash.txt", "'single' \"double\".txt", "<b>bold.txt", "&amp;.txt", "semi;colon.txt", "+plus.txt", " leading.txt", "trailing ", "dot.", "~t[a]{b}|c^d`e.txt", "Grüße 你好.txt", "e\u0301.txt", "🦀.txt", "שלום.txt", "a:b*c.txt", "__proto__", "constructor", `${"x".repeat(240)}.txt`];

check("odd names: uploaded, renamed, moved, deleted, each undone, found and packed; below a prefix, beside a mount", async () => {
  empty("to #1%/");
  const server = await start(modest, inbox, `/other mount=${away}`, "-b", "127.0.0.1", "-p", "0", "--upload", "--allow-delete", "--archive", "--prefix", "/pre fix%");
  const { page, trouble, close } = await open();
  const home = `${server.url}/pre%20fix%25/`;
  const menu = async (name, action) => {
    // In one step, because the rows are replaced after each change.
    await page.waitForFunction((name) => {
      const link = [...document.querySelectorAll("tbody:not(#by,#up) a")].find((a) => a.textContent === name);
      link?.scrollIntoView();
      link?.nextElementSibling?.click();
      return link?.nextElementSibling;
    }, name);
    await page.locator("#k button", { hasText: action }).click();
  };
  const undo = () => page.locator("#m").getByRole("button", { name: "Undo" }).click();
  const there = (path) => until(() => existsSync(join(inbox, path)), path);
  const gone = (path) => until(() => !existsSync(join(inbox, path)), `${path} is gone`);
  await page.goto(home);
  await page.getByLabel("Files", { exact: true }).setInputFiles(odd.map((name) => ({ name, mimeType: "text/plain", buffer: Buffer.from(name) })));
  await page.getByText(`${odd.length} files uploaded`).waitFor();
  same(stored(), ["to #1%", ...odd].sort(), "what is stored");
  for (const name of odd) {
    const other = `r${name.slice(1)}`;
    await menu(name, "Rename");
    same(await page.getByLabel("New name").inputValue(), name, "the name in the question");
    await page.getByLabel("New name").fill(other);
    await page.keyboard.press("Enter");
    await there(other.trim());
    await undo();
    await there(name);
    await menu(name, "Move");
    await page.getByLabel("To the folder").selectOption("to #1%/");
    await page.getByRole("button", { name: "Move", exact: true }).click();
    await there(`to #1%/${name}`);
    await undo();
    await there(name);
    await menu(name, "Delete");
    await undo();
  }
  same(stored(), ["to #1%", ...odd].sort(), "what is there after all of it");
  same(new Set(odd.map((name) => readFileSync(join(inbox, name), "utf8") === name)), new Set([true]), "contents");
  for (const name of odd) await menu(name, "Move").then(() => page.getByLabel("To the folder").selectOption("to #1%/")).then(() => page.getByRole("button", { name: "Move", exact: true }).click()).then(() => there(`to #1%/${name}`));
  await rows(page, ["other mount/", "to #1%/"]);
  await page.locator("[type=search]").fill("e");
  await page.keyboard.press("Enter");
  await page.getByText("folders read.").waitFor();
  const found = await page.locator("#r li a").evaluateAll((all) => all.map((a) => [a.textContent, a.href]));
  for (const [shown, href] of found.filter(([shown]) => shown.startsWith("to #1%/"))) {
    same(await page.evaluate((href) => fetch(href).then((it) => it.text()), href), shown.slice("to #1%/".length), "the file that a result leads to");
  }
  same(found.filter(([shown]) => shown.startsWith("to #1%/")).length, odd.filter((name) => name.normalize().toLowerCase().includes("e")).length, "results");
  const packed = await page.evaluate(() => fetch("to%20%231%25/?archive=zip").then((it) => it.arrayBuffer()).then((it) => it.byteLength));
  same(packed > 100 * odd.length, true, `a zip of ${packed} bytes`);
  await page.goto(`${home}to%20%231%25/`);
  for (const name of odd.slice(0, 4)) {
    await menu(name, "Delete");
    await page.evaluate(() => dispatchEvent(new Event("pagehide")));
    await gone(`to #1%/${name}`);
  }
  same(trouble, [], "trouble");
  await close();
  await server.stop();
});

await tellAll(180_000);
await browser.close();
