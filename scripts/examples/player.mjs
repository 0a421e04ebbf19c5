#!/usr/bin/env node
// A player for Node: one call of the REST API V2, through tvpassd's gateway.
// Nothing but the standard library.
//
//   player.mjs SOCKET APP PATH [BODY]
import http from "node:http";

function die(message) {
  console.error(`player: ${message}`);
  process.exit(1);
}

const [socketPath, app, path, body] = process.argv.slice(2);
if (!path) die("usage: player.mjs SOCKET APP PATH [BODY]");
const headers = { Prefer: "wait=60" };
if (body) headers["Content-Type"] = body.startsWith("{") ? "application/json" : "application/x-www-form-urlencoded";

// tvpassd adds the token, waits for the throttle, and repeats what may be repeated.
const options = { socketPath, method: body ? "POST" : "GET", path: `/v1/apps/${app}/api/v2/${path}`, headers };
const request = http.request(options, (answer) => show(answer).catch((e) => request.emit("error", e)));
async function show(answer) {
  const parts = [];
  for await (const part of answer) parts.push(part);
  const content = Buffer.concat(parts).toString();
  if (answer.statusCode < 300) return process.stdout.write(content);
  const said = /json/.test(answer.headers["content-type"]) ? JSON.parse(content) : {};
  const todo = answer.statusCode === 401 ? "have the app checked in the TVE Dashboard" :
    "docs/players.md says what to do";
  die(`${answer.statusCode} ${said.code}: ${said.detail ?? said.message}: ${todo}`);
}
request.on("error", (e) =>
  die(`${e.message}: start tvpassd (tvpassd start), or see who may open ${socketPath} (ls -l)`));
request.setTimeout(120_000, () => request.destroy(new Error("no answer within two minutes"))).end(body);
