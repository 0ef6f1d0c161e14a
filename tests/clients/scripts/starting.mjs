// Servers that a script starts and stops itself.
import { spawn } from "node:child_process";
import { once } from "node:events";
import * as http from "node:http";
import * as https from "node:https";
import { connect, createServer } from "node:net";
import { given } from "./telling.mjs";

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

// A server, once it has printed its address.
export async function start(program, ...words) {
  const secured = program === given.modest ? given.tls : [];
  const child = spawn(program, [...words, ...secured], { stdio: ["ignore", "pipe", process.env.SERVERS ? "inherit" : "ignore"] });
  running.add(child);
  const [said] = await Promise.race([once(child.stdout, "data"), once(child, "exit").then(() => [`nothing: ${words}`])]);
  const url = /https?:\/\/[^/ )]+/.exec(said)?.[0];
  if (!url) throw new Error(`no address but ${said}`);
  const stop = async (signal = "SIGTERM") => {
    child.kill(signal);
    const [status] = await once(child, "exit");
    running.delete(child);
    return status;
  };
  return { url, address: url.split("//")[1], port: url.split(":").pop(), stop };
}

// A proxy that only removes a prefix from paths: fields with URLs are unchanged.
export async function behindPrefix(server, prefix) {
  const { request: ask } = server.url.startsWith("https") ? https : http;
  const proxy = http.createServer((request, response) => {
    if (!request.url.startsWith(`${prefix}/`)) return response.writeHead(404).end();
    const { method, headers, url } = request;
    const inner = ask({ host: "127.0.0.1", port: server.port, method, headers, path: url.slice(prefix.length), rejectUnauthorized: false }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    request.pipe(inner.on("error", () => response.destroy()));
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  return { url: `http://127.0.0.1:${proxy.address().port}${prefix}`, close: () => (proxy.closeAllConnections(), proxy.close()) };
}

// A proxy that simulates a broken network: `cut` breaks all connections and rejects new ones until `mend`. `lose` breaks a connection
// instead of passing on bytes of the server for which the function returns true.
export async function through(server) {
  const sockets = new Set();
  let isCut = false;
  let isLost = () => false;
  const proxy = createServer((socket) => {
    if (isCut) return socket.destroy();
    const other = connect(server.port, "127.0.0.1");
    other.on("data", (bytes) => isLost(bytes) && (socket.destroy(), other.destroy()));
    for (const [one, end] of [[socket, other], [other, socket]]) {
      sockets.add(one);
      one.pipe(end);
      one.on("error", () => end.destroy()).on("close", () => (sockets.delete(one), end.destroy()));
    }
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  const cut = () => ((isCut = true), sockets.forEach((socket) => socket.destroy()));
  return { url: `${server.url.split(":")[0]}://127.0.0.1:${proxy.address().port}`, cut, mend: () => (isCut = false), lose: (which) => (isLost = which), close: () => (cut(), proxy.close()) };
}
