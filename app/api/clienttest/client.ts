// A stranger's client: its types come from openapi-typescript alone. It creates,
// edits and lists, and says at each step what it found.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Schedule = components["schemas"]["Schedule"];

const [base, token] = [process.argv[2], process.env["RIVERBEAT_TOKEN"]];
if (base === undefined) throw new Error("usage: node client.js URL");
const api = createClient<paths>({ baseUrl: base, headers: token ? { Authorization: `Bearer ${token}` } : {} });

function must<T>(what: string, answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.data === undefined) throw new Error(`${what}: ${answer.response.status} ${JSON.stringify(answer.error)}`);
  return answer.data;
}

const made = await api.POST("/v1/schedules", {
  body: { name: "from typescript", labels: { team: "growth" }, spec: { cron: "0 3 * * 1-5", timezone: "Asia/Tokyo" }, job: { kind: "report" } },
});
const created: Schedule = must("create", made) as Schedule;
if (made.response.status !== 201) throw new Error(`create: ${made.response.status}`);
console.log("created", created.name, created.state, created.spec.description);

const path = { id: `name:${created.name}` };
const edited = await api.PATCH("/v1/schedules/{id}", {
  params: { path, header: { "If-Match": made.response.headers.get("ETag") ?? "" } },
  body: { spec: { cron: null, every: "15m" } },
});
const after = must("edit", edited) as Schedule;
console.log("edited", after.spec.every, after.version);

// The version that it was made with is gone by now.
const stale = await api.PATCH("/v1/schedules/{id}", { params: { path, header: { "If-Match": '"1"' } }, body: { description: "late" } });
console.log("stale", stale.response.status, stale.error?.title);

const wrong = await api.POST("/v1/schedules", { body: { name: "", spec: { cron: "x" }, job: { kind: "report" } } });
for (const e of wrong.error?.errors ?? []) console.log("wrong", e.field);

let next: string | undefined;
let seen = 0;
do {
  const page = must("list", await api.GET("/v1/schedules", {
    params: { query: { label: ["team:growth"], page_size: 2, ...(next === undefined ? {} : { page_token: next }) } },
  }));
  seen += page.schedules.length;
  next = page.next_page_token || undefined;
} while (next !== undefined);
console.log("listed", seen);

const gone = await api.DELETE("/v1/schedules/{id}", { params: { path, header: { "If-Match": edited.response.headers.get("ETag") ?? "" } } });
console.log("deleted", gone.response.status);
