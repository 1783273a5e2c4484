//! The API as its users meet it: a real server, real requests.

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod addresses;
mod alarms;
mod bad_input;
mod bookings;
mod cancelling;
mod clock;
mod commands;
mod connections;
mod customers;
mod demo;
mod document;
mod event_lists;
mod events;
mod heads;
mod idempotency;
mod leaving;
mod log;
mod matrix;
mod operations;
mod operators;
mod organizations;
mod pages;
mod processes;
mod protocol;
mod queries;
mod rate_limits;
mod refusals;
mod seats;
mod seats_input;
mod sections;
mod selling;
mod series;
mod shutdown;
mod slow_readers;
mod start_up;
mod teams;
mod text;
mod tokens;
mod transfers;
mod upkeep;
mod visitors;
