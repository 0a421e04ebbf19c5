// Signs a viewer in and asks for a decision, with types that openapi-typescript
// generates from ipc/openapi.yaml.
//
//   player.js SOCKET APP
import createClient from "openapi-fetch";
import { setTimeout as sleep } from "node:timers/promises";
import { Agent, setGlobalDispatcher } from "undici";
import type { paths } from "./tvpassd.js";

const serviceProvider = "REF30";
const mvpd = "Cablevision";

function die(message: string): never {
  console.error(`player: ${message}`);
  process.exit(1);
}

const [socketPath, app] = process.argv.slice(2);
if (!socketPath || !app) die("usage: player.js SOCKET APP");
setGlobalDispatcher(new Agent({ connect: { socketPath }, headersTimeout: 120_000 }));
const tvpassd = createClient<paths>({ baseUrl: "http://tvpassd" });
const path = { app, serviceProvider };

// What a problem of the daemon and an error of the server have in common.
function refusal(error: { code?: string; detail?: string; message?: string } | string | undefined): never {
  if (typeof error !== "object") die(error ?? "no answer");
  die(`${error.code}: ${error.detail ?? error.message}`);
}

const session = await tvpassd.POST("/v1/apps/{app}/api/v2/{serviceProvider}/sessions", {
  params: { path, header: { Prefer: "wait=60" } },
  body: { mvpd, domainName: "adobe.com", redirectUrl: "https://tv.example/done" },
  headers: { "Content-Type": "application/x-www-form-urlencoded" }, // which the body follows
});
if (!session.data) refusal(session.error);
const code = session.data.code;
if (code) {
  console.log("code", code);
  for (;;) {
    const poll = await tvpassd.GET("/v1/apps/{app}/api/v2/{serviceProvider}/profiles/code/{code}", {
      params: { path: { ...path, code } },
    });
    if (!poll.data) refusal(poll.error);
    if (Object.keys(poll.data.profiles).length > 0) break;
    await sleep(3000);
  }
}
const decided = await tvpassd.POST("/v1/apps/{app}/api/v2/{serviceProvider}/decisions/authorize/{mvpd}", {
  params: { path: { ...path, mvpd } },
  body: { resources: [serviceProvider] },
});
if (!decided.data) refusal(decided.error);
for (const d of decided.data.decisions) console.log(d.resource, d.authorized);
