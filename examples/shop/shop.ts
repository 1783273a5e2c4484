// A shop's server that sells seats to its own customers: hold, authorise the money, confirm, capture.
//
//     node shop.js sell ORDER CUSTOMER EVENT SECTION SEATS    sells, or goes on with an order that was not finished
//     node shop.js map EVENT SECTION                          shows which seats of a section are free
//
// RESERVIX_URL says where the server is, RESERVIX_KEY is a key with the scopes `event.read`, `booking.read` and
// `booking.sell`. Orders and the ledger of the payment provider are kept in the folder SHOP_DIR. `sell` ends with
// code 0 when the order is sold or refused for good, and with 75 when it has to be run again. It needs nothing but
// Node 18 or newer.

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const setting = (name: string, otherwise: string) => process.env[name] ?? otherwise;
const API = setting("RESERVIX_URL", "http://127.0.0.1:8080") + "/api/v1";
const KEY = setting("RESERVIX_KEY", "");
const FOLDER = setting("SHOP_DIR", ".");
// How long one request may take, and how long a call is repeated.
const TIMEOUT_MS = 10_000;
const PATIENCE_MS = 1_000 * Number(setting("SHOP_PATIENCE_SECONDS", "30"));
// Stands for the time that a customer spends with the payment provider.
const PAYING_MS = 1_000 * Number(setting("SHOP_PAYING_SECONDS", "0"));
// How often an order whose hold has expired is given new seats.
const HOLDS_MAX = 2;
const TRY_AGAIN = 75;

/** The server could not be asked for so long that somebody else has to try again. */
class Unknown extends Error {}

interface Booking {
  booking_id: string;
  reference: string;
  total_price: number;
  currency: string;
  expires_at: string;
  server_time: string;
}
interface Refusal {
  code: string;
}
interface Status {
  layout_version: number;
  held: string[];
  sold: string[];
  blocked: string[];
}
interface Drawing {
  rows: { label: string; seats: { number: string }[] }[];
}
interface Answer {
  status: number;
  body: unknown;
}

/**
 * Status and body of an answer.
 *
 * A request that got no answer, or one that says *later*, is sent again, the same each time. That is safe for every
 * call of this program: reads change nothing, a hold has an `Idempotency-Key`, and a booking that is confirmed or
 * cancelled twice is answered as the first time.
 */
async function call(method: string, path: string, body?: unknown, key?: string): Promise<Answer> {
  const headers: Record<string, string> = KEY ? { Authorization: `Bearer ${KEY}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  const until = Date.now() + PATIENCE_MS;
  let why = "nothing was tried";
  while (Date.now() < until) {
    let pauseMs = 200;
    try {
      const sent = body === undefined ? {} : { body: JSON.stringify(body) };
      const answer = await fetch(API + path, { method, headers, signal: AbortSignal.timeout(TIMEOUT_MS), ...sent });
      const found: unknown = await answer.json();
      const isLater = [429, 503].includes(answer.status) || (found as Refusal).code === "idempotency_in_flight";
      if (!isLater) return { status: answer.status, body: found };
      pauseMs = 1_000 * Number(answer.headers.get("Retry-After") ?? "1");
      why = JSON.stringify(found);
    } catch (error) {
      // The answer was lost: whether it happened is found out by asking again.
      why = String(error);
    }
    await sleep(Math.min(pauseMs, Math.max(0, until - Date.now())));
  }
  throw new Unknown(`${method} ${path}: ${why}`);
}

// ---- The payment provider. Put yours here: each call has the number of the order as its own idempotency key. ----

/** Authorises, captures or voids the payment of an order; the same step again has no second effect. */
function payment(order: string, step: string, amount = 0, currency = ""): void {
  const file = join(FOLDER, `payment-${order}.json`);
  const ledger: { steps: string[]; amount?: number; currency?: string } = existsSync(file) ? load(file) : { steps: [] };
  if (!ledger.steps.includes(step)) ledger.steps.push(step);
  if (step === "authorised") Object.assign(ledger, { amount, currency });
  save(file, ledger);
}

function load<T>(file: string): T {
  return JSON.parse(readFileSync(file, "utf8")) as T;
}

/** Whole or not at all, so that a crash leaves what was there before. */
function save(file: string, value: unknown): void {
  writeFileSync(`${file}.draft`, JSON.stringify(value));
  renameSync(`${file}.draft`, file);
}

// ---- An order ----

interface Order {
  order: string;
  state: "begun" | "sold" | "refused";
  holds: number;
  booking_id?: string;
  reference?: string;
  code?: string;
}

/** Sells an order, from where it was left. Captured means confirmed; what is refused costs nothing. */
async function sell(order: string, customer: string, event: string, section: string, seats: number): Promise<Order> {
  const file = join(FOLDER, `order-${order}.json`);
  // What is intended is stored before anything happens outside.
  if (!existsSync(file)) save(file, { order, state: "begun", holds: 1 } satisfies Order);
  const state = load<Order>(file);
  const wanted = { event_id: event, section_id: section, seats_requested: seats, buyer: { ref: customer } };
  while (state.state === "begun") {
    // The same key gets the same booking, however often this is run.
    const held = await call("POST", "/bookings/hold", wanted, `${order}-${state.holds}`);
    if (held.status === 409) {
      // Sold out, or beyond what one customer may have. Its `code` says which; offer something else.
      refuse(state, (held.body as Refusal).code);
      break;
    }
    expect(held.status === 201, held);
    const booking = held.body as Booking;
    Object.assign(state, { booking_id: booking.booking_id, reference: booking.reference });
    console.error(`seats are held for ${Math.round(secondsLeft(booking))} s`);
    payment(order, "authorised", booking.total_price, booking.currency);
    await sleep(PAYING_MS);
    const confirmed = await call("POST", `/bookings/${booking.booking_id}/confirm`);
    const code = (confirmed.body as Refusal).code;
    if (confirmed.status === 200) {
      payment(order, "captured");
      state.state = "sold";
    } else if (confirmed.status === 410 && state.holds < HOLDS_MAX) {
      // The customer took too long. The money is authorised yet: try for other seats.
      state.holds += 1;
    } else {
      expect([409, 410].includes(confirmed.status), confirmed);
      refuse(state, code);
    }
    save(file, state);
  }
  save(file, state);
  return state;
}

/** Anything else is a mistake of ours, such as a key without a scope: the order waits until it is mended. */
function expect(isRight: boolean, answer: Answer): void {
  if (!isRight) throw new Error(`the server says ${JSON.stringify(answer)}`);
}

function refuse(state: Order, code: string): void {
  payment(state.order, "void");
  Object.assign(state, { state: "refused", code });
}

/** For a countdown: by the clock of the server, since that of a customer may be wrong by hours. */
function secondsLeft(booking: Booking): number {
  return (Date.parse(booking.expires_at) - Date.parse(booking.server_time)) / 1_000;
}

// ---- A seat map ----

/** One line a row: the numbers of free seats, and `.` for each that is not. */
async function showMap(event: string, section: string): Promise<string[]> {
  const path = `/events/${event}/sections/${encodeURIComponent(section)}/seats`;
  const read = await call("GET", `${path}/status`);
  expect(read.status === 200, read);
  const status = read.body as Status;
  // The drawing changes only with its version, so a page keeps it and asks for the status each second.
  const drawing = (await call("GET", `${path}?v=${status.layout_version}`)).body as Drawing;
  const taken = new Set([...status.held, ...status.sold, ...status.blocked]);
  return drawing.rows.map((row) => {
    const seats = row.seats.map((seat) => (taken.has(`${row.label}-${seat.number}`) ? "." : seat.number));
    return `${row.label.padStart(3)} ${seats.join(" ")}`;
  });
}

async function main([what, ...rest]: string[]): Promise<number> {
  const [first, second, third, fourth, fifth] = rest;
  if (what === "sell" && first && second && third && fourth && fifth) {
    try {
      console.log(JSON.stringify(await sell(first, second, third, fourth, Number(fifth))));
    } catch (error) {
      if (!(error instanceof Unknown)) throw error;
      console.error(`${first} is not finished, run it again: ${error.message}`);
      return TRY_AGAIN;
    }
    return 0;
  }
  if (what === "map" && first && second) {
    console.log((await showMap(first, second)).join("\n"));
    return 0;
  }
  console.error("usage: sell ORDER CUSTOMER EVENT SECTION SEATS | map EVENT SECTION");
  return 2;
}

process.exitCode = await main(process.argv.slice(2));
