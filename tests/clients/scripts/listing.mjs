// A browser and the page of a folder: every control, by width, by colours, with and without script.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { browser, open } from "./browser.mjs";
import { start } from "./starting.mjs";
import { check, given, same, tellAll } from "./telling.mjs";

const { site, shots } = given;
const shelf = `${site}/shelf%20of%20all%20kinds/`;
const axe = readFileSync(given.axe, "utf8");

const windows = [];
for (const width of [320, 390, 1280]) {
  for (const colorScheme of ["light", "dark"]) {
    for (const javaScriptEnabled of [true, false]) {
      const phone = width < 1000;
      const options = { viewport: { width, height: phone ? 844 : 900 }, colorScheme, javaScriptEnabled, timezoneId: "Asia/Kathmandu" };
      if (phone) Object.assign(options, { deviceScaleFactor: 2, isMobile: true, hasTouch: true });
      windows.push({ name: `${width}-${colorScheme}${javaScriptEnabled ? "" : "-plain"}`, phone, options });
    }
  }
}
const names = (page) => page.locator("tbody:not(#up) tr:visible td:first-child").allInnerTexts();
const [small, ...larger] = ["Annual report 2024.txt", "annual report 2025.txt", "film.mp4", "packed.tar.gz", "picture.PNG", "photo\ufffdgpj.exe", "Grüße 你好 שלום.txt", `${"x".repeat(200)}.txt`];
const kinds = ["README.md", ..."png jpg jpeg gif webp avif svg mp3 mp4 m4a mkv mov webm flac ogg wav zip gz 7z xz zst bz2 txt pdf".split(" ").map((end) => `a.${end}`)];
const bySize = [small, ...larger];

// axe needs the script of the page. The page without script has the same structure, so it is not checked.
async function accessible(page, { javaScriptEnabled = true } = {}) {
  if (!javaScriptEnabled) return;
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  same(found.violations.map((it) => `${it.id}: ${it.nodes.slice(0, 3).map((node) => node.html)}`), [], "axe");
}

// The pictures of README.md, in docs/images.
for (const [name, width, height] of [["desktop", 720, 500], ["phone", 320, 500]]) {
  for (const colorScheme of ["light", "dark"]) {
    check(`the picture of README.md: ${name}, ${colorScheme}`, async () => {
      const { page, close } = await open({ viewport: { width, height }, colorScheme, timezoneId: "UTC" });
      await page.goto(`${site}/holidays/`);
      await page.getByText("local").waitFor();
      same(await names(page).then((all) => all.length), 10, "rows");
      await page.screenshot({ path: join(shots, `readme-${name}-${colorScheme}.png`) });
      await close();
    });
  }
}

for (const colorScheme of ["light", "dark"]) {
  check(`the picture of README.md: uploads in progress, ${colorScheme}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "modest-upload-"));
    cpSync(join(given.root, "holidays"), join(folder, "holidays"), { recursive: true, preserveTimestamps: true });
    const server = await start(given.modest, "-p", "0", folder, "--upload");
    const { page, close } = await open({ viewport: { width: 800, height: 556 }, colorScheme, timezoneId: "UTC" });
    await page.goto(`${server.url}/holidays/`);
    await page.getByText("local").waitFor();
    const network = await page.context().newCDPSession(page);
    await network.send("Network.enable");
    await network.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 1_500_000 });
    const sizes = { "sunset.jpg": 900_000, "boat trip.mp4": 9_400_000, "recipes.pdf": 240_000 };
    const files = Object.entries(sizes).map(([name, size]) => ({ name, mimeType: "application/octet-stream", buffer: Buffer.alloc(size) }));
    await page.locator("input[type=file]").first().setInputFiles(files);
    await page.waitForFunction(() => document.body.innerText.match(/Stored/g)?.length === 2 && Number(/(\d+) %/.exec(document.body.innerText)?.[1]) > 50);
    await page.screenshot({ path: join(shots, `readme-upload-${colorScheme}.png`) });
    await close();
    await server.stop();
    rmSync(folder, { recursive: true });
  });
}

for (const { name, phone, options } of windows) {
  check(`${name}: sorted by each heading, up and down a folder, nothing wider than the window, no violation`, async () => {
    const { page, trouble, close } = await open(options);
    await page.goto(shelf);
    if (options.javaScriptEnabled) await page.getByText("local").waitFor();
    await page.screenshot({ path: join(shots, `listing-${name}.png`) });
    same(await page.title(), "shelf of all kinds/ – Index of /shelf of all kinds/", "the title");
    same(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "it fits the window");
    await accessible(page, options);
    const heights = await page.locator("tbody tr").evaluateAll((rows) => rows.map((row) => row.getBoundingClientRect().height));
    same(heights.filter((height) => height < (phone ? 44 : 36)), [], "rows that are too low");
    for (const [heading, query, sorted, wanted] of [
      ["Size", "?sort=-size", "descending", [...bySize].reverse()],
      ["Size", "?sort=size", "ascending", bySize],
      ["Modified", "?sort=-time", "descending", bySize],
      ["Modified", "?sort=time", "ascending", [...bySize].reverse()],
      ["Name", "?sort=name", "ascending", null],
      ["Name", "?sort=-name", "descending", null],
    ]) {
      await page.locator("thead").getByRole("button", { name: heading }).click();
      await page.waitForURL(shelf + query);
      same(await page.locator("[aria-sort]").evaluateAll((all) => all.map((it) => [it.innerText.split(" ")[0].trim(), it.ariaSort])), [[heading, sorted]], query);
      const seen = await names(page);
      same(seen.slice(0, 2).sort(), ["deeper/", "other/"], `folders first, ${query}`);
      if (wanted) same(seen.slice(2), wanted, query);
    }
    // On a phone the whole row is the link: the check taps its date.
    const row = page.locator("tr", { hasText: "other/" });
    await (phone ? row.locator("time") : row.locator("a")).click({ force: true });
    await page.waitForURL(`${shelf}other/?sort=-name`);
    await page.getByRole("link", { name: "nothing/" }).click();
    same(await page.locator("p").innerText().then((text) => text.trim()), "This folder is empty.", "an empty folder");
    await accessible(page, options);
    await page.getByRole("link", { name: "..", exact: true }).click();
    await page.waitForURL(`${shelf}other/?sort=-name`);
    await page.locator("nav").getByRole("link", { name: "shelf of all kinds/" }).click();
    await page.waitForURL(`${shelf}?sort=-name`);
    same(await page.locator("nav [aria-current]").innerText(), "shelf of all kinds/", "where one is");
    same(trouble, [], "trouble");
    await close();
  });
}

check("without script: times in UTC, and no filter that would do nothing", async () => {
  const { page, trouble, close } = await open({ javaScriptEnabled: false, timezoneId: "Asia/Kathmandu" });
  await page.goto(shelf);
  same(await page.locator("th").allInnerTexts().then((all) => all.map((text) => text.replace(/[▴▾]/, "").trim())), ["Name", "Size", "Modified UTC"], "headings");
  same(await page.locator("tr", { hasText: small }).locator("td").allInnerTexts(), [small, "7 B", "2026-01-02 23:30"], "a row");
  same(await page.locator("input").count(), 0, "filters");
  same(trouble, [], "trouble");
  await close();
});

check("with script: local times, and exact bytes to point at", async () => {
  const { page, trouble, close } = await open({ timezoneId: "Asia/Kathmandu", locale: "en-GB" });
  await page.goto(shelf);
  await page.getByText("local").waitFor();
  const row = page.locator("tr", { hasText: "xxxx" });
  same((await row.locator("td").allInnerTexts()).slice(1), ["5.5 MiB", "2025-12-27 05:15"], "a row");
  same(await row.locator("td").nth(1).getAttribute("title"), "5,764,801 bytes", "a size");
  same(await row.locator("time").evaluate((it) => [it.dateTime, it.title]), ["2025-12-26T23:30Z", "2025-12-26T23:30Z"], "a time");
  same(trouble, [], "trouble");
  await close();
});

check("the filter: words in any order, a count, / and Escape, by keys alone", async () => {
  const { page, trouble, close } = await open();
  await page.goto(shelf);
  await page.keyboard.press("/");
  same(await page.evaluate(() => document.activeElement.type), "search", "what has the focus");
  for (const [typed, count, wanted] of [
    ["REPORT", "2 shown", bySize.slice(0, 2)],
    [" 2025", "1 shown", bySize.slice(1, 2)],
    [" ann", "1 shown", bySize.slice(1, 2)],
    ["/", "0 shown", []],
  ]) {
    await page.keyboard.type(typed);
    same(await page.locator("output").innerText(), count, typed);
    same(await names(page), wanted, typed);
  }
  await accessible(page);
  await page.keyboard.press("Escape");
  same([await page.locator("output").innerText(), (await names(page)).length], ["", 10], "after Escape");
  await page.keyboard.type("deep");
  // From the field, over the headings and `..`, to the remaining rows.
  const focused = () => page.evaluate(() => document.activeElement.innerText.trim());
  for (let tabs = 0; tabs < 8 && (await focused()) !== "deeper/"; tabs++) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForURL(`${shelf}deeper/`);
  same(trouble, [], "trouble");
  await close();
});

check("many names: the height is right before they are laid out, all are printed, and a key is quick", async () => {
  for (const width of [390, 1280]) {
    const { page, trouble, close } = await open({ viewport: { width, height: 900 } });
    await page.goto(`${site}/many/`);
    const heights = () => page.locator("tbody.b").evaluateAll((all) => [all.length, ...new Set(all.map((it) => Math.round(it.getBoundingClientRect().height)))]);
    same(await heights(), [100, width < 1000 ? 6000 : 3600], "blocks, and their height before");
    const laidOut = await page.locator("tbody.b").nth(50).evaluate(async (it) => {
      it.scrollIntoView();
      await new Promise((then) => requestAnimationFrame(() => setTimeout(then)));
      return [it.rows[50], it].map((one) => Math.round(one.getBoundingClientRect().height));
    });
    same(laidOut, width < 1000 ? [60, 6000] : [36, 3600], "a row, and its block");
    await page.emulateMedia({ media: "print" });
    same(await page.locator("tbody.b").first().evaluate((it) => getComputedStyle(it).contentVisibility), "visible", "in print");
    await page.emulateMedia({ media: "screen" });
    await page.locator("input").focus();
    // In CPU time, which other programs don't change as much.
    const profiler = await page.context().newCDPSession(page);
    await profiler.send("Performance.enable", { timeDomain: "threadTicks" });
    const busy = async () => 1000 * (await profiler.send("Performance.getMetrics")).metrics.find(({ name }) => name === "TaskDuration").value;
    const type = async (words) => {
      const begun = await busy();
      await page.evaluate(async (words) => {
        const box = document.querySelector("input");
        box.value = words;
        box.dispatchEvent(new Event("input"));
        await new Promise((then) => requestAnimationFrame(() => setTimeout(then)));
      }, words);
      return (await busy()) - begun;
    };
    // Each filter starts from the result of the previous one: also from no rows to all rows.
    for (const words of ["no such name", "", "9 number"]) {
      const took = await type(words);
      if (took > 1000) throw new Error(`${JSON.stringify(words)} took ${took} ms`);
    }
    const nines = Array.from({ length: 10_050 }, (_, number) => `${number}`).filter((digits) => digits.includes("9")).length;
    same(await page.locator("output").innerText(), `${nines.toLocaleString("en")} shown`, "names with a 9");
    same(trouble, [], "trouble");
    await close();
  }
});

check("the filter stays while the page is sorted, reloaded, left and come back to", async () => {
  const { page, trouble, close } = await open();
  await page.goto(shelf);
  const state = async () => [await page.locator("input").inputValue(), await page.locator("output").innerText(), (await names(page)).length];
  await page.locator("input").fill("report");
  same(await state(), ["report", "2 shown", 2], "typed");
  await page.locator("thead").getByRole("button", { name: "Size" }).click();
  await page.waitForURL(/sort=-size/);
  same(await state(), ["report", "2 shown", 2], "sorted");
  await page.getByRole("link", { name: small }).click();
  await page.goBack();
  same(await state(), ["report", "2 shown", 2], "come back to");
  await page.reload();
  same(await state(), ["report", "2 shown", 2], "reloaded");
  await page.locator("input").fill("");
  await page.locator("thead").getByRole("button", { name: "Name" }).click();
  await page.waitForURL(`${shelf}?sort=name`);
  same(await state(), ["", "", 10], "without a filter");
  // A plain text file can't declare that it has no icon, so a browser may request one.
  same(trouble.filter((it) => !it.includes("/favicon.ico")), [], "trouble");
  await close();
});

check("what has the focus is not behind the headings", async () => {
  const { page, close } = await open({ viewport: { width: 1280, height: 400 } });
  await page.goto(`${site}/many/`);
  await page.getByText("local").waitFor();
  await page.evaluate(() => (scrollTo(0, 2000), document.elementFromPoint(200, 300).closest("tr").querySelector("a").focus()));
  for (let key = 0; key < 30; key++) {
    await page.keyboard.press("Shift+Tab");
    const [top, bottom] = await page.evaluate(() => [document.activeElement.getBoundingClientRect().top, document.querySelector("thead").getBoundingClientRect().bottom]);
    same(top >= bottom, true, `after ${key}: ${top} below ${bottom}`);
  }
  await close();
});

check("icons: by the kind of a file, and in forced colours, too", async () => {
  const icons = async (options) => {
    const { page, close } = await open(options);
    await page.goto(`${site}/kinds/`);
    const found = await page.locator("tbody:not(#up) td a").evaluateAll((all) => Object.fromEntries(all.map((a) => {
      const style = getComputedStyle(a, ":before");
      return [a.textContent, [style.clipPath, style.backgroundColor, getComputedStyle(document.body).backgroundColor]];
    })));
    await page.screenshot({ path: join(shots, `kinds-${options.forcedColors ?? "plain"}.png`) });
    await close();
    return found;
  };
  const shapes = await icons({});
  for (const kind of ["png jpg jpeg gif webp avif svg", "mp3 mp4 m4a mkv mov webm flac ogg wav", "zip gz 7z xz zst bz2", "txt pdf"]) {
    const all = kind.split(" ").map((end) => shapes[`a.${end}`][0]);
    same(new Set(all).size, 1, `shapes of ${kind}`);
  }
  same(new Set(Object.values(shapes).map(([shape]) => shape)).size, 5, "shapes");
  for (const [name, [, icon, page]] of Object.entries(await icons({ forcedColors: "active" }))) {
    if (icon === page || icon === "rgba(0, 0, 0, 0)") throw new Error(`${name}: ${icon} on ${page}`);
  }
});

check("a README below the names: Markdown as HTML in which nothing acts, other text as it is", async () => {
  for (const [name, options] of [["desktop", {}], ["phone", { viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true }], ["dark", { colorScheme: "dark" }]]) {
    const { page, trouble, close } = await open(options);
    await page.goto(`${site}/read%20me/`);
    const shown = page.getByRole("region", { name: "README.md" }).locator("article");
    same(await shown.getByRole("heading", { level: 3 }).innerText(), "Read <b>me</b>", "the heading");
    same(await shown.locator("em, strong, code, td").allInnerTexts(), ["one", "two", "three", "four", "5", ...Array(10).fill("")], "its parts");
    same(await shown.getByRole("link", { name: "a link" }).evaluate((a) => [a.href, getComputedStyle(a, ":before").content]), [`${site}/read%20me/a.txt`, "none"], "a link");
    same(await shown.getByText("no link").getAttribute("href"), "", "a script in a link");
    same(await shown.getByText("<script>").count(), 1, "raw HTML is text");
    await page.waitForFunction(() => document.querySelector("article img[alt='a picture']")?.naturalWidth > 0);
    same(await shown.getByText("of another folder").count() + (await shown.locator("img").count()), 2, "pictures, and the text of one that is not loaded");
    same(await page.title(), "read me/ – Index of /read me/", "no script of it ran");
    same(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "it fits the window");
    await page.screenshot({ path: join(shots, `readme-rendered-${name}.png`), fullPage: true });
    await accessible(page);
    same(trouble, [], "trouble");
    await page.goto(`${site}/plain%20readme/`);
    same(await page.getByRole("region", { name: "README" }).locator("pre").innerText(), "# Read <b>me</b>", "plain text");
    await close();
  }
});

check("a README with a wide table and a long line of code: words stay whole, keys can scroll it, a link leads to its heading, and it is printed whole", async () => {
  const { page, trouble, close } = await open({ viewport: { width: 320, height: 640 } });
  await page.goto(`${site}/wide%20readme/`);
  const shown = page.getByRole("region", { name: "README.md" }).locator("article");
  await accessible(page);
  same(await shown.locator("th, td").evaluateAll((all) => all.filter((it) => it.offsetHeight > 48).length), 0, "cells with a broken word");
  await page.getByRole("link", { name: "README.md" }).focus();
  await page.keyboard.press("Tab");
  for (let presses = 0; presses < 3; presses++) await page.keyboard.press("ArrowRight");
  await page.waitForFunction(() => document.querySelector("article").scrollLeft > 0);
  const headed = async (what) => {
    await page.waitForFunction(() => document.querySelector("article h3")?.getBoundingClientRect().top < innerHeight).catch(() => {
      throw new Error(`${what}: the heading is not in the window`);
    });
    same(await page.evaluate(() => document.querySelector("article h3").getBoundingClientRect().top > 0), true, what);
  };
  await page.goto("about:blank");
  await page.goto(`${site}/wide%20readme/#readme-the-end`);
  await headed("opened");
  await page.evaluate(() => scrollTo(0, 300));
  await page.reload();
  await shown.waitFor();
  same(await page.evaluate(() => scrollY <= 300), true, "after a reload it does not go there again");
  await page.emulateMedia({ media: "print" });
  await page.setViewportSize({ width: 1000, height: 700 });
  same(await shown.evaluate((it) => [it, ...it.querySelectorAll("pre")].filter((part) => part.scrollWidth > part.clientWidth).map((part) => part.localName)), [], "what a printed page cuts off");
  same(trouble, [], "trouble");
  await close();
});

check("pictures as a grid, which stays while the page is sorted", async () => {
  for (const [name, options] of [["desktop", {}], ["phone", { viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true }], ["dark", { colorScheme: "dark" }]]) {
    const { page, trouble, close } = await open(options);
    await page.goto(`${site}/pictures/`);
    await page.getByRole("button", { name: "Pictures" }).click();
    await page.waitForFunction(() => [...document.querySelectorAll("td img")].filter((it) => it.complete && it.naturalWidth).length === 3);
    await page.screenshot({ path: join(shots, `grid-${name}.png`) });
    same(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "it fits");
    await accessible(page);
    await page.locator("thead").getByRole("button", { name: "Size" }).click();
    await page.waitForURL(/view=grid/);
    await page.locator("td img").first().waitFor();
    await page.getByRole("button", { name: "Pictures" }).click();
    same(await page.locator("td img").count(), 0, "pictures in the list");
    same(trouble, [], "trouble");
    await close();
  }
});

check("names in subfolders are found, and folders have sizes, on request", async () => {
  const { page, trouble, close } = await open();
  await page.goto(`${site}/kinds/`);
  await page.keyboard.press("/");
  await page.keyboard.type("needle");
  await page.keyboard.press("Enter");
  await page.getByText("2 found").waitFor();
  same(await page.locator("#r li a").allInnerTexts().then((all) => all.sort()), ["sub/deep/second needle.txt", "sub/needle <i>.txt"], "what is found");
  await accessible(page);
  await page.screenshot({ path: join(shots, "search.png") });
  await page.getByRole("link", { name: "second needle" }).click();
  same(await page.locator("body").innerText(), "12345", "where it leads");
  await page.goBack();
  await page.locator("input").fill("");
  await page.getByRole("button", { name: "Folder sizes" }).click();
  await page.locator("tr", { hasText: "sub/" }).getByText("10 B", { exact: true }).waitFor();
  same(trouble.filter((line) => !line.includes("favicon")), [], "trouble"); // for the opened file
  await close();
});

check("several folders: the first page links to all of them, in the same style", async () => {
  for (const [words, expected] of [
    [["/a b/c=$/sub", "/other=$/sub/deep"], ["a b/c/", "other/"]],
    [["$", "/sub/deep=$/sub/deep", "/needle=$/sub"], ["needle/", "sub/deep/", "sub/", ...kinds]],
    [["$", "/sub=$/sub/deep"], ["sub/", ...kinds]],
    [["--prefix", "/pre fix", "/other=$/sub/deep"], ["other/"]],
  ]) {
    const server = await start(given.modest, "-p", "0", ...words.map((word) => word.replace("$", join(given.root, "kinds"))));
    const { page, trouble, close } = await open();
    await page.goto(`${server.url}/${words[0] === "--prefix" ? "pre%20fix/" : ""}`);
    same((await names(page)).sort(), [...expected].sort(), words.join(" "));
    await accessible(page);
    await page.getByRole("link", { name: expected[0], exact: true }).click();
    await page.waitForURL(/\/$/);
    same(await page.getByRole("link").count() > 0, true, "links there");
    same(trouble, [], "trouble");
    await close();
    await server.stop();
  }
});

check("folders that can't be read make a size a lower bound; mounts are searched and counted once", async () => {
  const away = join(given.root, "kinds", "sub", "deep");
  const site = mkdtempSync(join(tmpdir(), "modest-walk-"));
  for (const [name, content] of [["pages/index.html", "<p>pages"], ["pages/hidden needle.txt", "12345"], ["sub/needle.txt", "1234567"], ["sub/deep/shadowed needle.txt", "x".repeat(5000)]]) {
    mkdirSync(dirname(join(site, name)), { recursive: true });
    writeFileSync(join(site, name), content);
  }
  const server = await start(given.modest, "-p", "0", site, `/sub/deep=${away}`);
  const { page, trouble, close } = await open();
  await page.goto(server.url);
  await page.getByRole("button", { name: "Folder sizes" }).click();
  const size = (name) => page.locator("tr", { has: page.getByRole("link", { name, exact: true }) });
  for (const [name, expected] of [["sub/deep/", "5 B"], ["pages/", "≥ 0 B"], ["sub/", "12 B"]]) {
    await size(name).getByText(expected, { exact: true }).waitFor();
  }
  await page.locator("input").fill("needle");
  await page.keyboard.press("Enter");
  await page.getByText("2 found").waitFor();
  await page.getByText("not every folder was read").waitFor();
  same(await page.locator("#r li a").allInnerTexts().then((all) => all.sort()), ["sub/deep/second needle.txt", "sub/needle.txt"], "what is found");
  same(trouble, [], "trouble");
  await close();
  await server.stop();
  const overview = await start(given.modest, "-p", "0", `/a=${away}`, `/b=${site}`);
  const other = await open();
  await other.page.goto(overview.url);
  await other.page.locator("input").fill("needle");
  await other.page.keyboard.press("Enter");
  await other.page.getByText("3 found").waitFor();
  same(other.trouble, [], "trouble");
  await other.close();
  await overview.stop();
});

check("the policy: a style and a script of somebody else do nothing", async () => {
  const { page, trouble, close } = await open();
  await page.goto(shelf);
  await page.evaluate(() => {
    for (const [tag, text] of [["style", "p { color: rgb(1, 2, 3) }"], ["script", "window.got = true"]]) {
      document.body.append(Object.assign(document.createElement(tag), { textContent: text }));
    }
  });
  same(await page.evaluate(() => [getComputedStyle(document.querySelector("p")).color === "rgb(1, 2, 3)", window.got === true]), [false, false], "what they did");
  same(trouble.map((line) => line.includes("Content Security Policy")), [true, true], "what the browser says");
  await close();
});

await tellAll();
await browser.close();
