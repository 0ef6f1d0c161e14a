// Chromium, started with the settings in `given`, and an observed page in it.
import { given } from "./telling.mjs";

const { chromium } = (await import(given.playwright)).default;
// The browser itself sends nothing out of this machine.
const flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
export const browser = await chromium.launch({ executablePath: given.chromium, args: [...flags.split(" "), "--autoplay-policy=no-user-gesture-required", ...(given.tls.length ? ["--ignore-certificate-errors"] : [])] });

// An observed page in a separate context: errors of the console and the network are in `trouble`.
export async function open(options = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: given.tls.length > 0, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const trouble = [];
  page.on("console", (said) => ["error", "warning"].includes(said.type()) && trouble.push(`console: ${said.text()} ${said.location().url}`));
  page.on("pageerror", (error) => trouble.push(`error: ${error}`));
  page.on("requestfailed", (asked) => trouble.push(`failed: ${asked.url()} ${asked.failure()?.errorText}`));
  page.on("response", (answer) => answer.status() >= 400 && trouble.push(`${answer.status()}: ${answer.url()}`));
  return { page, trouble, close: () => context.close() };
}

export const looks = {
  desktop: { viewport: { width: 1280, height: 900 } },
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
  dark: { viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
  "dark-phone": { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: "dark" },
};
