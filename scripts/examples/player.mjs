#!/usr/bin/env node
// A player for Node: one protected call with what tvpassd hands out. Nothing but the standard library.
//
//   player.mjs SOCKET APP URL [CA_FILE]
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { setTimeout as sleep } from "node:timers/promises";

function die(message) {
  console.error(`player: ${message}`);
  process.exit(1);
}

function exchange(client, url, options, body) {
  return new Promise((resolve, reject) => {
    const request = client.request(url, options, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part)).on("error", reject);
      answer.on("end", () => resolve({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(parts).toString() }));
    });
    request.on("timeout", () => request.destroy(new Error("no answer within a minute")));
    request.on("error", reject).setTimeout(60_000).end(body);
  });
}

// Asks the daemon, again where it says when.
async function ask(method, name, body) {
  const todo = `start tvpassd (tvpassd start), or see who may open ${socket} (ls -l)`;
  for (let tries = 1; ; tries++) {
    const answer = await exchange(http, `http://tvpassd/v1/apps/${app}/${name}`, { socketPath: socket, method }, body)
      .catch((e) => die(`${e.message}: ${todo}`));
    const told = JSON.parse(answer.body);
    const pause = told.retry_after_ms ?? 1000;
    if (answer.status < 300) return told;
    if (answer.status !== 503 || pause > 60_000 || tries === 5) die(`tvpassd answered ${told.code}: ${told.detail}: see tvpassd status`);
    await sleep(pause);
  }
}

const [socket, app, url, caFile] = process.argv.slice(2);
if (!url) die("usage: player.mjs SOCKET APP URL [CA_FILE]");
const ca = caFile && readFileSync(caFile);
let answer;
for (let pause = 1, reported = false; ; ) {
  const { headers } = await ask("GET", "headers"); // each time: it costs nothing, and is sure to be good
  answer = await exchange(https, url, { headers, ca })
    .catch((e) => die(`${url}: ${e.message}: check the network and the certificate (tvpassd doctor)`));
  const wait = Math.max(pause, Number(answer.headers["retry-after"]) || 0);
  if (answer.status === 429 && pause <= 4 && wait <= 60) { // the throttle: wait 1, 2 and 4 s, or what it asks for
    await sleep(wait * 1000);
    pause *= 2;
  } else if (answer.status === 401 && !reported) { // the daemon fetches another token, and has the next call wait for it
    reported = true;
    await ask("POST", "report", JSON.stringify({ access_token: headers.Authorization.slice("Bearer ".length), status: 401 }));
  } else {
    break;
  }
}
if (answer.status >= 300) {
  const todo = { 401: "have the app checked in the TVE Dashboard", 429: "too many calls from this address, try again in a minute" };
  const text = answer.body.slice(0, 300).replaceAll("\n", " ");
  die(`${url} answered ${answer.status} ${text}: ${todo[answer.status] ?? 'see Adobe\'s page "Enhanced error codes"'}`);
}
process.stdout.write(answer.body);
