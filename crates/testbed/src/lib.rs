//! Private servers, and what can go wrong between them, for the tests of Reservix.
