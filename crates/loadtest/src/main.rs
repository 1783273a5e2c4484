//! `reservix-load`: puts load on a Reservix from the outside, and proves afterwards that nothing was
//! sold twice. It speaks HTTP alone and shares no code with the server.

mod report;

fn main() {}
