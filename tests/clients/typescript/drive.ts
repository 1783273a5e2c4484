// One booking through the TypeScript client: `node drive.js URL`. Type-checked with `tsc --strict`.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Problem = components["schemas"]["Problem"];

const account = { email: "typescript@example.com", password: "correct horse battery" };
const seats = 3;

/** What an answer brought; a problem ends the run. */
function expect<Data>(answer: { data?: Data; error?: Problem | undefined; response: Response }): Data {
  assert(answer.data !== undefined, `${answer.response.url}: ${JSON.stringify(answer.error)}`);
  return answer.data;
}

async function drive(baseUrl: string): Promise<void> {
  const client = createClient<paths>({ baseUrl });
  const user = expect(await client.POST("/api/v1/auth/register", { body: account }));
  assert.equal(user.email, account.email);
  const tokens = expect(await client.POST("/api/v1/auth/login", { body: account }));
  client.use({
    onRequest({ request }) {
      request.headers.set("Authorization", `${tokens.token_type} ${tokens.access_token}`);
      return request;
    },
  });

  const event = expect(
    await client.POST("/api/v1/events", {
      params: { header: { "Idempotency-Key": "from-typescript" } },
      body: {
        title: "From TypeScript",
        event_date: "2099-06-15",
        sections: [{ name: "Floor", capacity: 100, price: 2500, currency: "EUR" }],
      },
    }),
  );
  const query = { q: "from typescript", from: "2099-01-01" };
  const found = expect(await client.GET("/api/v1/events", { params: { query } }));
  assert.deepEqual(found.items.map((item) => item.event_id), [event.event_id]);
  assert.equal(found.next, null);

  const hold = expect(
    await client.POST("/api/v1/bookings/hold", {
      params: { header: { "Idempotency-Key": "hold-1" } },
      body: { event_id: event.event_id, section_id: "Floor", seats_requested: seats },
    }),
  );
  assert.equal(hold.status, "HOLD");
  const params = { path: { booking_id: hold.booking_id } };
  const sold = expect(await client.POST("/api/v1/bookings/{booking_id}/confirm", { params }));
  assert.equal(sold.status, "CONFIRMED");
  assert.equal(sold.total_price, seats * 2500);

  const read = expect(await client.GET("/api/v1/bookings/{booking_id}", { params }));
  assert.equal(read.version, sold.version);
  const mine = expect(
    await client.GET("/api/v1/bookings", { params: { query: { status: "CONFIRMED" } } }),
  );
  assert.deepEqual(mine.items.map((booking) => booking.booking_id), [hold.booking_id]);
  const left = expect(
    await client.GET("/api/v1/events/{event_id}/availability", {
      params: { path: { event_id: event.event_id } },
    }),
  );
  assert.equal(left.sections[0]?.available_seats, 100 - seats);

  const refused = await client.POST("/api/v1/bookings/hold", {
    body: { event_id: event.event_id, section_id: "Floor", seats_requested: 51 },
  });
  const code: components["schemas"]["ProblemCode"] | undefined = refused.error?.code;
  assert.equal(code, "too_many_seats");
  assert.equal(refused.error?.limit, 50);
}

const url = process.argv[2];
assert(url !== undefined, "usage: node drive.js URL");
await drive(url);
